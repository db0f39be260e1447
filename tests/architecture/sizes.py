"""How large the files and folders of the checkout are, tests and measurements included."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.architecture.imports import FOLDERS, ROOT

ALL_FOLDERS = (*FOLDERS, "tests", "bench")
SUFFIXES = {".py", ".c", ".h"}
MAXIMUM_LINES = 500


def file_sizes(root: Path = ROOT) -> dict[str, int]:
    """Return the lines of every source file, the largest first."""
    sizes = {
        path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ALL_FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    }
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def folder_sizes(sizes: dict[str, int]) -> list[tuple[str, int, int]]:
    """Return folder, files and lines, the largest first; what lies deeper is not counted."""
    files: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    for name, count in sizes.items():
        folder = Path(name).parent.as_posix()
        files[folder] += 1
        lines[folder] += count
    return sorted(
        ((folder, files[folder], lines[folder]) for folder in files),
        key=lambda row: (-row[2], row[0]),
    )
