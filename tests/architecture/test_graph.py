"""The graph sees every way in which one source depends on another."""

from __future__ import annotations

from pathlib import Path

from tests.architecture import imports, native
from tests.architecture.__main__ import graphs, outdated, unexplained
from tests.architecture.graph import Graph
from tests.architecture.imports import FOUND, LATE, TYPES
from tests.architecture.tables import BIG_FILES, CIRCLES, Kind


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_circles_are_found_and_nothing_else() -> None:
    graph = Graph()
    for source, target in ("ab", "bc", "ca", "cd", "de", "ed", "ef", "ff"):
        graph.add(source, target)
    assert graph.circles() == [("a", "b", "c"), ("d", "e")]
    assert [edge[:2] for edge in graph.inside(("d", "e"))] == [("d", "e"), ("e", "d")]


def test_rooms_depend_as_what_lies_in_them_does() -> None:
    graph = Graph()
    graph.add("a.1", "b.1")
    graph.add("b.2", "a.2")
    rooms = graph.merged(lambda node: node[0])
    assert rooms.circles() == [("a", "b")]
    assert rooms.edges["a", "b"] == {"a.1 -> b.1"}


def test_every_import_counts_and_is_marked(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "scsi2nvme/__init__.py": "",
            "scsi2nvme/low.py": "",
            "scsi2nvme/types_only.py": "",
            "scsi2nvme/late.py": "",
            "scsi2nvme/rows/__init__.py": "x = rows(__name__, 'ROWS')",
            "scsi2nvme/rows/one.py": "from ..low import thing",
            "scsi2nvme/all.py": "from . import rows\nx = submodules(rows.__name__)",
            "target/__init__.py": "",
            "target/portal.py": (
                "import scsi2nvme.low\n"
                "from scsi2nvme import rows\n"
                "if TYPE_CHECKING:\n    from scsi2nvme import types_only\n"
                "def f():\n    from scsi2nvme.late import thing\n"
            ),
        },
    )
    assert imports.import_graph(tmp_path).edges == {
        ("scsi2nvme.all", "scsi2nvme.rows"): {""},
        ("scsi2nvme.all", "scsi2nvme.rows.one"): {FOUND},
        ("scsi2nvme.rows", "scsi2nvme.rows.one"): {FOUND},
        ("scsi2nvme.rows.one", "scsi2nvme.low"): {""},
        ("scsi2nvme.target.portal", "scsi2nvme.low"): {""},
        ("scsi2nvme.target.portal", "scsi2nvme.rows"): {""},
        ("scsi2nvme.target.portal", "scsi2nvme.types_only"): {TYPES},
        ("scsi2nvme.target.portal", "scsi2nvme.late"): {LATE},
    }


def test_symbols_and_includes_of_c_files_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "drivers/csrc/a.h": (
                "struct thing {\n    int second;\n};\n"
                "int first(void);\nint second(void);\n"
                "static inline int quick(void)\n{\n    return first();\n}\n"
            ),
            "drivers/csrc/a.c": '#include "a.h"\nint first(void)\n{\n    return 1;\n}\n',
            "drivers/csrc/b.c": (
                '#include "a.h"\nint table[] = {1};\nint second(void)\n{\n    return quick();\n}\n'
            ),
            "target/csrc/c.c": (
                '#include "a.h"\n/* first() */\nstatic int first(void)\n{\n    return 2;\n}\n'
                'int third(struct thing *t)\n{\n    return t->second + first() + "second"[0];\n}\n'
            ),
            "target/csrc/d.c": "int fourth(void)\n{\n    return table[0] + use(second);\n}\n",
        },
    )
    assert native.symbol_graph(tmp_path).edges == {
        ("drivers/csrc/a.h", "drivers/csrc/a.c"): {"first"},
        ("drivers/csrc/b.c", "drivers/csrc/a.h"): {"quick"},
        ("target/csrc/d.c", "drivers/csrc/b.c"): {"second", "table"},
    }
    assert set(native.include_graph(tmp_path).edges) == {
        ("drivers/csrc/a.c", "drivers/csrc/a.h"),
        ("drivers/csrc/b.c", "drivers/csrc/a.h"),
        ("target/csrc/c.c", "drivers/csrc/a.h"),
    }


def test_the_program_is_all_there() -> None:
    modules = imports.import_graph()
    assert "scsi2nvme.commands" in modules.after("scsi2nvme.engine")
    folders = {path.relative_to(imports.ROOT).parts[0] for _, path in imports.sources()}
    assert folders == set(imports.FOLDERS)
    rooms = native.symbol_graph().merged(native.room_of)
    assert "scsi2nvme/csrc" in rooms.after("target/tcmu/csrc")


def test_the_tables_explain_what_there_is_and_nothing_else() -> None:
    found = graphs()
    assert list(unexplained(found)) == []
    assert list(outdated(found)) == []
    assert all(circle.reason for circle in CIRCLES)
    assert all(BIG_FILES.values())


def test_what_is_new_or_gone_is_told() -> None:
    graph = Graph()
    graph.add("a", "b")
    graph.add("b", "a")
    assert [*unexplained({Kind.MODULES: graph})] == [
        "a new circle of Python modules, by imports: a, b"
    ]
    assert sum("circle" in line for line in outdated({})) == len(CIRCLES)


def test_the_page_lists_every_circle_with_its_reason() -> None:
    page = (imports.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("\n## Circles\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert lines == [circle.line for circle in CIRCLES]
