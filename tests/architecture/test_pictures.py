"""Pictures are what their sources say, and their sources name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture import ways
from tests.architecture.imports import ROOT
from tests.architecture.pictures import SOURCES, is_stale, pictures

WAYS = sorted(SOURCES.glob("*.toml"))


def test_pictures_are_up_to_date() -> None:
    # Not when tests are collected: each worker would read all sources for that.
    stale = [path.name for path, digest, _ in pictures() if is_stale(path, digest)]
    assert not stale, "run `make docs` and commit them"


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.stem)
def test_what_a_way_names_is_there(path: Path) -> None:
    missing = [
        f"{step.file}: {call}"
        for step in ways.load(path).steps
        for call in step.calls
        if not defines(ROOT / step.file, call)
    ]
    assert not missing


def defines(path: Path, name: str) -> bool:
    """Whether a file defines a function, or a class, of that name."""
    if not path.is_file():
        return False
    pattern = rf"^\s*(?:async )?(?:def|class) {name}\b"
    if path.suffix == ".c":
        pattern = rf"^[a-z].*\b{name}\([^;]*\n\{{"
    return re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize(
    ("file", "name", "there"),
    [
        ("scsi2nvme/executor.py", "play", True),
        ("scsi2nvme/executor.py", "NvmeExecutor", True),
        ("scsi2nvme/executor.py", "first", False),
        ("drivers/nvme/csrc/qpair.c", "s2n_qpair_place_spans", True),
        ("target/iscsi/csrc/iscsi_command.c", "complete", True),
        ("target/iscsi/csrc/iscsi_command.c", "s2n_transmit", False),
        ("drivers/nvme/csrc/no.c", "s2n_qpair_poll", False),
    ],
)
def test_definitions_are_told_from_uses(file: str, name: str, there: bool) -> None:
    assert defines(ROOT / file, name) is there


@pytest.mark.parametrize("path", WAYS, ids=lambda path: path.stem)
def test_a_way_fits_its_picture(path: Path) -> None:
    for step in ways.load(path).steps:
        for words, kind in step.lines:
            assert len(words) <= (ways.CODE_COLUMNS if kind == "code" else ways.FILE_COLUMNS)
        assert len(step.passes) <= ways.TEXT_COLUMNS
