"""Draw who depends on whom, from the sources, by Graphviz: the rooms, and the C files.

What an arrow says by way of others is left out: below a box stands all that it may use.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.architecture import imports, native
from tests.architecture.graph import Graph

# What only builds, documents or starts the program, and its version.
NOT_DRAWN = (
    "scsi2nvme",
    "scsi2nvme.__main__",
    "scsi2nvme._dataplane_ffi",
    "scsi2nvme.ctables",
    "scsi2nvme.documentation",
    "scsi2nvme.drivers",
    "scsi2nvme.manual",
)

STYLE = """
text { font-family: "DejaVu Sans", Verdana, sans-serif; fill: #1f2328; }
.ground { fill: #ffffff; }
.node path { fill: #ffffff; stroke: #8c959f; }
.program path { fill: #ddf4ff; stroke: #54aeff; }
.target path { fill: #dafbe1; stroke: #4ac26b; }
.drivers path { fill: #fff1e5; stroke: #fb8f44; }
.edge path { stroke: #818b98; }
.edge polygon { fill: #818b98; stroke: #818b98; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ground { fill: #0d1117; }
  .node path { fill: #212830; stroke: #656c76; }
  .program path { fill: #0c2d6b; stroke: #388bfd; }
  .target path { fill: #033a16; stroke: #2ea043; }
  .drivers path { fill: #5a1e02; stroke: #db6d28; }
}
"""

HEAD = """\
digraph {
  rankdir=TB; ranksep=0.42; nodesep=0.22; bgcolor="transparent"; splines=true;
  node [shape=box, style="rounded,filled", fontname="DejaVu Sans", fontsize=11,
        height=0.34, margin="0.12,0.06"];
  edge [arrowsize=0.6];
"""


def rooms() -> str:
    """Return the drawing of the Python rooms in Graphviz' language."""
    packages = imports.packages()
    whole = imports.import_graph().merged(lambda name: imports.room_of(name, packages))
    graph = Graph()
    for source, target in whole.edges:
        if source not in NOT_DRAWN and target not in NOT_DRAWN:
            graph.add(source, target)
    return _drawing(graph, lambda room: room.removeprefix("scsi2nvme."), _room_kind)


def c_files() -> str:
    """Return the drawing of the C files; those of a circle share a box."""
    whole = native.symbol_graph()
    graph = Graph()
    for source, target in whole.edges:
        if source.endswith(".c") and target.endswith(".c"):
            graph.add(source, target)
    boxes = {name: "\n".join(circle) for circle in graph.circles() for name in circle}
    merged = graph.merged(lambda name: boxes.get(name, name))
    return _drawing(merged, _file_names, lambda name: name.partition("/")[0])


def _room_kind(room: str) -> str:
    first = room.removeprefix("scsi2nvme.").partition(".")[0]
    return "program" if first in ("cli", "fuzz") else first


def _file_names(files: str) -> str:
    """Return what a box says: file names, and whose where that is not plain."""
    names = []
    for file in files.split("\n"):
        path = Path(file)
        parent = path.parent.parent.name
        names.append(f"{parent}: {path.name}" if path.parts[0] == "drivers" else path.name)
    return "\\n".join(names)


def _drawing(graph: Graph, label: Callable[[str], str], kind: Callable[[str], str]) -> str:
    """Return a graph in Graphviz' language: what a picture is made from, and no more."""
    edges = reduced(graph)
    lines = [
        f'  "{_quoted(node)}" [label="{label(node)}", class="{kind(node)}"];'
        for node in sorted({node for edge in edges for node in edge})
    ]
    lines += [f'  "{_quoted(start)}" -> "{_quoted(end)}";' for start, end in edges]
    return HEAD + "\n".join([*lines, "}"]) + "\n"


def _quoted(node: str) -> str:
    return node.replace("\n", " ")


def reduced(graph: Graph) -> list[tuple[str, str]]:
    """Return the edges that no other way stands for; those within a circle all stay."""
    circles = [set(circle) for circle in graph.circles()]
    edges = set(graph.edges)
    for edge in sorted(edges):
        if not any(set(edge) <= circle for circle in circles) and _reaches(edges - {edge}, *edge):
            edges.discard(edge)
    return sorted(edges)


def _reaches(edges: set[tuple[str, str]], start: str, goal: str) -> bool:
    seen, to_do = {start}, [start]
    while to_do:
        node = to_do.pop()
        for source, target in edges:
            if source == node and target not in seen:
                seen.add(target)
                to_do.append(target)
    return goal in seen


def digest(text: str) -> str:
    """Return the hash that a picture carries of its source."""
    return hashlib.sha256((text + STYLE).encode()).hexdigest()


def draw(text: str) -> str:
    """Return the picture, in light and dark."""
    svg = subprocess.run(
        ["dot", "-Tsvg"], input=text, capture_output=True, text=True, check=True
    ).stdout
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n|<title>.*?</title>\n", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (fill|stroke)="(?!none)[^"]*"', "", svg)
    svg = re.sub(r' font-family="[^"]*"', "", svg)
    head, body = svg.split(">", 1)
    ground = '<rect width="100%" height="100%" class="ground"/>'
    return f"{head}>\n<!-- source sha256 {digest(text)} -->\n<style>{STYLE}</style>\n{ground}{body}"
