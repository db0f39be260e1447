"""Draw the rooms and who depends on whom, from the sources, by Graphviz.

What an arrow says by way of others is left out: below a room stands all that it may use.
"""

from __future__ import annotations

import hashlib
import re
import subprocess

from tests.architecture import imports
from tests.architecture.graph import Graph

# What only builds, documents or starts the program, and its version.
NOT_DRAWN = (
    "scsi2nvme",
    "scsi2nvme.__main__",
    "scsi2nvme._dataplane_ffi",
    "scsi2nvme.ctables",
    "scsi2nvme.documentation",
)

STYLE = """
text { font-family: "DejaVu Sans", Verdana, sans-serif; fill: #1f2328; }
.ground { fill: #ffffff; }
.node path, .node polygon { fill: #ffffff; stroke: #8c959f; }
.program path { fill: #ddf4ff; stroke: #54aeff; }
.target path { fill: #dafbe1; stroke: #4ac26b; }
.drivers path { fill: #fff1e5; stroke: #fb8f44; }
.edge path { stroke: #818b98; }
.edge polygon { fill: #818b98; stroke: #818b98; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ground { fill: #0d1117; }
  .node path, .node polygon { fill: #212830; stroke: #656c76; }
  .program path { fill: #0c2d6b; stroke: #388bfd; }
  .target path { fill: #033a16; stroke: #2ea043; }
  .drivers path { fill: #5a1e02; stroke: #db6d28; }
}
"""


def rooms_graph() -> Graph:
    """Return the rooms that are drawn, and who depends on whom."""
    packages = imports.packages()
    whole = imports.import_graph().merged(lambda name: imports.room_of(name, packages))
    drawn = Graph()
    for source, target in whole.edges:
        if source not in NOT_DRAWN and target not in NOT_DRAWN:
            drawn.add(source, target)
    return drawn


def reduced(graph: Graph) -> list[tuple[str, str]]:
    """Return the edges that no other way stands for; those within a circle all stay."""
    circles = [set(circle) for circle in graph.circles()]
    edges = set(graph.edges)

    def reaches(start: str, goal: str, without: tuple[str, str]) -> bool:
        seen, open_nodes = {start}, [start]
        while open_nodes:
            node = open_nodes.pop()
            for edge in edges:
                if edge[0] != node or edge == without or edge[1] in seen:
                    continue
                if edge[1] == goal:
                    return True
                seen.add(edge[1])
                open_nodes.append(edge[1])
        return False

    for edge in sorted(edges):
        if not any(set(edge) <= circle for circle in circles) and reaches(*edge, edge):
            edges.discard(edge)
    return sorted(edges)


def short(room: str) -> str:
    """Return a room's name as the drawing has it."""
    return room.removeprefix("scsi2nvme.")


def kind(room: str) -> str:
    """Return which part of the house a room belongs to."""
    first = short(room).partition(".")[0]
    if first in ("target", "drivers"):
        return first
    return "program" if first in ("cli", "fuzz") else ""


def source() -> str:
    """Return the drawing in Graphviz' language: what it is made from, and no more."""
    graph = rooms_graph()
    edges = reduced(graph)
    drawn = {node for edge in edges for node in edge}
    lines = [
        "digraph rooms {",
        '  rankdir=TB; ranksep=0.42; nodesep=0.22; bgcolor="transparent"; splines=true;',
        '  node [shape=box, style="rounded,filled", fontname="DejaVu Sans", fontsize=11,',
        '        height=0.34, margin="0.12,0.06"];',
        "  edge [arrowsize=0.6];",
    ]
    lines += [
        f'  "{room}" [label="{short(room)}", class="{kind(room)}"];' for room in sorted(drawn)
    ]
    lines += [f'  "{start}" -> "{end}";' for start, end in edges]
    return "\n".join([*lines, "}"]) + "\n"


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
