"""Each C header says by itself all that it needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scsi2nvme import ctables

ROOT = Path(__file__).parent.parent
FOLDERS = ("scsi2nvme", "drivers", "target", "tests/c")
HEADERS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.h"))
INCLUDES = sorted({path.parent for path in HEADERS})


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_header_compiles_alone(header: Path, tmp_path: Path) -> None:
    (tmp_path / "constants_gen.h").write_text(ctables.constants())
    options = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    options += [f"-I{path}" for path in (*INCLUDES, tmp_path)]
    subprocess.run(["cc", *options, "-include", header, "-xc", "/dev/null"], check=True)
