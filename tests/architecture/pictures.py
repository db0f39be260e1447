"""Write the pictures of docs/: `python -m tests.architecture.pictures`, run by `make docs`.

A picture is drawn again only when its source has changed: another version of
Graphviz may place the same rooms elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.architecture import rooms, ways
from tests.architecture.imports import ROOT

SOURCES = ROOT / "docs" / "drawings"


def pictures() -> Iterator[tuple[Path, str, Callable[[], str]]]:
    """Yield every picture: its file, the hash of its source, and who draws it."""
    for name, text in (("rooms", rooms.rooms()), ("c-files", rooms.c_files())):
        yield SOURCES / f"{name}.svg", rooms.digest(text), partial(rooms.draw, text)
    for path in sorted(SOURCES.glob("*.toml")):
        way = ways.load(path)
        yield path.with_suffix(".svg"), way.digest, partial(ways.draw, way)


def is_stale(path: Path, digest: str) -> bool:
    """Whether a picture is missing, or was drawn from another source."""
    return not path.exists() or f"source sha256 {digest} " not in path.read_text(encoding="utf-8")


def main() -> int:
    """Draw what is stale."""
    for path, digest, draw in pictures():
        if is_stale(path, digest):
            path.write_text(draw(), encoding="utf-8")
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
