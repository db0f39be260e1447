"""Who uses whom among the C sources: by includes, and by the symbols of other files.

A small reader of our own style, clang-format's: a definition begins in the first
column. What it finds is what the linker sees, and inline functions besides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.graph import Graph
from tests.architecture.imports import FOLDERS, ROOT

_NOISE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
_WORD = re.compile(r"(?<![\w.>])[A-Za-z_]\w*")  # members of a struct apart
# From the first column to the parameters' end, and then a body.
_FUNCTION = re.compile(
    r"^(?P<head>[A-Za-z_][^;{}()=#\n]*?)\b(?P<name>\w+)\((?P<rest>[^;{}]*)\)\s*\n?\{",
    re.MULTILINE,
)
_VARIABLE = re.compile(
    r"^(?P<head>[A-Za-z_][^;{}()#\n]*?)\b(?P<name>\w+)(?:\[[^\]]*\])* = ", re.MULTILINE
)


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Yield every C file of the program."""
    for folder in FOLDERS:
        yield from sorted(path for path in (root / folder).rglob("*.[ch]"))


def defined(text: str) -> tuple[set[str], set[str]]:
    """Return the functions and variables that a file defines: for others, and for itself."""
    public: set[str] = set()
    private: set[str] = set()
    for pattern in (_FUNCTION, _VARIABLE):
        for match in pattern.finditer(text):
            (private if "static" in match["head"].split() else public).add(match["name"])
    return public, private


def include_graph(root: Path = ROOT) -> Graph:
    """Return who includes whom, of our own headers."""
    files = {path.relative_to(root).as_posix(): path for path in sources(root)}
    graph = Graph(set(files))
    for name, path in files.items():
        for include in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            for other in _found(include, name, set(files)):
                graph.add(name, other)
    return graph


def _found(include: str, by: str, files: set[str]) -> Iterator[str]:
    """Yield the file of ours that an include names: beside the file, else on the path."""
    beside = f"{Path(by).parent.as_posix()}/{include}"
    if beside in files:
        yield beside
        return
    yield from (name for name in files if name.endswith(f"csrc/{include}"))


def symbol_graph(root: Path = ROOT) -> Graph:
    """Return whose functions and variables a file uses: calls them, or hands them on."""
    texts = {
        path.relative_to(root).as_posix(): _NOISE.sub(" ", path.read_text(encoding="utf-8"))
        for path in sources(root)
    }
    owners: dict[str, str] = {}
    own: dict[str, set[str]] = {}
    for name, text in texts.items():
        public, own[name] = defined(text)
        if name.endswith(".h"):
            public |= own[name]
        owners |= dict.fromkeys(public, name)
    graph = Graph(set(texts))
    for name, text in texts.items():
        used = _used_in_header(text) if name.endswith(".h") else set(_WORD.findall(text))
        for symbol in (used & set(owners)) - own[name]:
            graph.add(name, owners[symbol], symbol)
    return graph


def _used_in_header(text: str) -> set[str]:
    """Return the symbols in the bodies of a header's functions: a prototype uses nothing."""
    used: set[str] = set()
    for match in _FUNCTION.finditer(text):
        end = text.find("\n}", match.end())
        used |= set(_WORD.findall(text, match.end(), end))
    return used


def room_of(file: str) -> str:
    """Return the folder in which a C file lies."""
    return Path(file).parent.as_posix()
