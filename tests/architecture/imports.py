"""What Python modules import, anywhere in them."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.graph import Graph

ROOT = Path(__file__).parent.parent.parent
# In the checkout `target/` and the others stand beside the package that they belong to.
FOLDERS = ("scsi2nvme", "target", "drivers", "fuzz")
NO_ROOMS = ("scsi2nvme", "scsi2nvme.drivers")
FOLDERS_OF_ROOMS = (*NO_ROOMS, "scsi2nvme.cli", "scsi2nvme.target")

# Of `scsi2nvme.tables`: their first argument is the name of a package.
FINDERS = ("submodules", "subpackages", "rows")
TYPES, LATE, FOUND = "for types only", "inside a function", "by discovery"


def module_name(path: Path) -> str:
    """Return the import name of a file of the program; its path is relative to the checkout."""
    parts = path.with_suffix("").parts
    name = ".".join(parts if parts[0] == "scsi2nvme" else ("scsi2nvme", *parts))
    return name.removesuffix(".__init__")


def sources(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Yield every module of the program: its import name and file."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            yield module_name(path.relative_to(root)), path


@dataclass(frozen=True)
class Import:
    """One statement: `import base`, or `from base import names`; `where` is "", TYPES or LATE."""

    base: str
    names: tuple[str, ...]
    where: str

    def candidates(self) -> Iterator[str]:
        """Yield every full name that may be a module."""
        yield self.base
        yield from (f"{self.base}.{name}" for name in self.names)

    def modules(self, known: Container[str]) -> Iterator[str]:
        """Yield the modules of `known` that are meant: a package, or modules that lie in it."""
        for name in self.names or ("",):
            inner = f"{self.base}.{name}"
            module = inner if inner in known else self.base
            if module in known:
                yield module


def imported(module: str, source: str) -> Iterator[Import]:
    """Yield what a module imports, anywhere in it."""
    yield from _imported(module, ast.parse(source), "")


def _imported(module: str, node: ast.AST, where: str) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, (), where) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = ".".join([*module.split(".")[: -node.level], *base.split(".")]).rstrip(".")
        yield Import(base, tuple(alias.name for alias in node.names), where)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for statement in node.body:
            yield from _imported(module, statement, TYPES)
        for statement in node.orelse:
            yield from _imported(module, statement, where)
    elif not isinstance(node, ast.expr):  # in which there are no statements
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = LATE
        for child in ast.iter_child_nodes(node):
            yield from _imported(module, child, where)


def discovered(module: str, source: str) -> Iterator[str]:
    """Yield the packages whose modules are found by a look into their folder: by FINDERS."""
    if not any(f"{finder}(" in source for finder in FINDERS):
        return
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in FINDERS:
            continue
        for argument in node.args[:1]:
            if isinstance(argument, ast.Name) and argument.id == "__name__":
                yield module
            elif isinstance(argument, ast.Attribute) and argument.attr == "__name__":
                name = ast.unparse(argument.value)
                yield next(
                    (
                        f"{each.base}.{name}"
                        for each in imported(module, source)
                        if name in each.names
                    ),
                    name,
                )


def import_graph(root: Path = ROOT) -> Graph:
    """Return who imports whom; what is found by looking into a folder counts, too."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in sources(root)}
    graph = Graph(set(texts))
    for module, source in texts.items():
        for each in imported(module, source):
            for name in each.modules(texts):
                graph.add(module, name, each.where)
        for package in discovered(module, source):
            for name in texts:
                if name.rpartition(".")[0] == package:
                    graph.add(module, name, FOUND)
    return graph


def room_of(module: str, packages: Container[str]) -> str:
    """Return the room in which a module lies: a package, with the packages in it.

    The packages of FOLDERS_OF_ROOMS hold rooms. What lies in those of NO_ROOMS itself stands
    at every height, from the field language to the daemon's service, and from what a
    transport is to the table of them all: each module there is a room of its own.
    """
    room = module if module in packages else module.rpartition(".")[0]
    if room in NO_ROOMS:
        return module
    while (parent := room.rpartition(".")[0]) not in FOLDERS_OF_ROOMS:
        room = parent
    return room


def packages(root: Path = ROOT) -> set[str]:
    """Return the names of all packages of the program."""
    return {name for name, path in sources(root) if path.name == "__init__.py"}
