"""Print circles, sizes, and who depends on whom; fail on what no table explains."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.architecture import imports, native, sizes
from tests.architecture.graph import Graph
from tests.architecture.tables import BIG_FILES, CIRCLES, Kind

SHOWN = 12  # of what is largest
NOTES = 4  # of why one depends on another


def graphs() -> dict[Kind, Graph]:
    """Return the graph of each kind."""
    modules = imports.import_graph()
    packages = imports.packages()
    return {
        Kind.MODULES: modules,
        Kind.ROOMS: modules.merged(lambda name: imports.room_of(name, packages)),
        Kind.INCLUDES: native.include_graph(),
        Kind.SYMBOLS: native.symbol_graph(),
    }


def unexplained(found: dict[Kind, Graph]) -> Iterator[str]:
    """Yield what is in the house and in no table."""
    known = {(circle.kind, frozenset(circle.members)) for circle in CIRCLES}
    for kind, graph in found.items():
        for members in graph.circles():
            if (kind, frozenset(members)) not in known:
                yield f"a new circle of {kind.value}: {', '.join(members)}"
    for name, lines in sizes.file_sizes().items():
        if lines > sizes.MAXIMUM_LINES and name not in BIG_FILES:
            yield f"{name} has {lines} lines, over {sizes.MAXIMUM_LINES}: split it or name its idea"


def outdated(found: dict[Kind, Graph]) -> Iterator[str]:
    """Yield what is in a table and no longer in the house."""
    present = {(kind, frozenset(each)) for kind, graph in found.items() for each in graph.circles()}
    for circle in CIRCLES:
        if (circle.kind, frozenset(circle.members)) not in present:
            yield f"there is no such circle any more: {', '.join(circle.members)}"
    lines = sizes.file_sizes()
    for name in BIG_FILES:
        if lines.get(name, 0) <= sizes.MAXIMUM_LINES:
            yield f"{name} is not over {sizes.MAXIMUM_LINES} lines any more"


def _circles(found: dict[Kind, Graph]) -> Iterator[str]:
    for kind, graph in found.items():
        circles = graph.circles()
        yield f"Circles of {kind.value}: {len(circles) or 'none'}"
        for members in circles:
            yield f"  {' <-> '.join(members)}"
            for source, target, notes in graph.inside(members):
                yield f"    {source} -> {target}" + (f" ({_brief(notes)})" if notes else "")
        yield ""


def _brief(notes: str) -> str:
    """Return the first few of many notes."""
    some = notes.split(", ")
    more = f" and {len(some) - NOTES} more" if len(some) > NOTES else ""
    return ", ".join(some[:NOTES]) + more


def _sizes() -> Iterator[str]:
    lines = sizes.file_sizes()
    over = {name: count for name, count in lines.items() if count > sizes.MAXIMUM_LINES}
    yield "Largest folders: files, lines"
    for folder, files, count in sizes.folder_sizes(lines)[:SHOWN]:
        yield f"  {folder:32}{files:6}{count:8}"
    yield f"\nFiles over {sizes.MAXIMUM_LINES} lines: {len(over)}"
    for name, count in over.items():
        yield f"  {name:48}{count:6}  {BIG_FILES.get(name, '?')}"
    yield ""


def _rooms(title: str, rooms: Graph) -> Iterator[str]:
    yield f"{title}, and what they depend on"
    for room in sorted(rooms.nodes):
        others = (f"{other} ({len(rooms.edges[room, other])})" for other in rooms.after(room))
        yield f"  {room:32} {', '.join(others) or '-'}"
    yield ""


def report(found: dict[Kind, Graph]) -> Iterator[str]:
    """Yield the lines that show the house."""
    yield from _circles(found)
    yield from _sizes()
    yield from _rooms("Python rooms", found[Kind.ROOMS])
    yield from _rooms("C rooms", found[Kind.SYMBOLS].merged(native.room_of))


def main(arguments: list[str]) -> int:
    """Print everything, or with --quiet only what is wrong; return 1 if anything is."""
    found = graphs()
    if "--quiet" not in arguments:
        print(*report(found), sep="\n")
    errors = [*unexplained(found), *outdated(found)]
    for line in errors:
        print(f"tests/architecture/tables.py: {line}", file=sys.stderr)
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
