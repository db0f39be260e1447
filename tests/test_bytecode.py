"""What is kept of what Python compiles is used, and never instead of what a test plants."""

from __future__ import annotations

import importlib.util
import os
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from tests import bytecode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "target/module.py"
    path.parent.mkdir()
    path.write_text("value = 1\n")
    return path


def value(source: Path) -> int:
    """Return what a module says, loaded as a program does."""
    spec = importlib.util.spec_from_file_location("module", source)
    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: int = module.value
    return found


def kept(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source)))


def test_what_is_kept_is_what_the_source_says(source: Path, tmp_path: Path) -> None:
    bytecode.keep(tmp_path)
    content = kept(source).read_bytes()
    assert value(source) == 1
    assert kept(source).read_bytes() == content
    source.write_text("value = 2\n")
    later = kept(source).stat().st_mtime_ns + 1
    os.utime(source, ns=(later, later))
    bytecode.keep(tmp_path)
    assert kept(source).read_bytes() != content


def test_a_planted_fault_counts_though_neither_time_nor_size_tells(
    source: Path, tmp_path: Path
) -> None:
    bytecode.keep(tmp_path)
    status = source.stat()
    source.write_text("value = 2\n")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert value(source) == 2


def test_what_is_as_it_was_is_not_compiled_again(source: Path, tmp_path: Path) -> None:
    bytecode.keep(tmp_path)
    before = kept(source).stat().st_mtime_ns
    bytecode.keep(tmp_path)
    assert kept(source).stat().st_mtime_ns == before
