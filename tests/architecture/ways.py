"""Draw the way of a command through the program: lanes, and steps from top to bottom.

A way is a TOML file of docs/drawings: `lanes` (key, name, folder) and `steps`. A step
has its lane, what happens (`text`), and where: `file`, and `calls` that stand in it;
`passes` is what goes on to the next step. Out comes an SVG of our own, in light and
dark, that carries the hash of its source.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from textwrap import wrap

LANE = 232  # pixels, as all of these
BOX = 208
MARGIN = 20
HEAD = 52
LINE = 17
PAD = 9
GAP = 24
TEXT_COLUMNS, CODE_COLUMNS, FILE_COLUMNS = 30, 26, 36  # characters that fit into a box

STYLE = """
text { font-family: "DejaVu Sans", Verdana, sans-serif; font-size: 11.5px; fill: #1f2328; }
.title { font-size: 17px; font-weight: bold; }
.name { font-size: 13px; font-weight: bold; }
.soft { font-size: 10.5px; fill: #59636e; }
.number { font-size: 10px; font-weight: bold; fill: #818b98; }
.code { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #0550ae; }
.ground { fill: #ffffff; }
.lane { fill: #f1f4f7; }
.box { fill: #ffffff; stroke: #d1d9e0; }
.arrow { fill: none; stroke: #57606a; stroke-width: 1.5; }
.tip { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .soft, .number { fill: #9198a1; }
  .code { fill: #79c0ff; }
  .ground { fill: #0d1117; }
  .lane { fill: #151b23; }
  .box { fill: #212830; stroke: #3d444d; }
  .arrow { stroke: #9198a1; }
  .tip { fill: #9198a1; }
}
"""

TIP = """\
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker></defs>"""


@dataclass(frozen=True)
class Step:
    """One box: what happens on a lane, and where that is written."""

    lane: str
    text: str
    file: str = ""
    calls: list[str] = field(default_factory=list)
    passes: str = ""
    folder: str = ""  # the lane's, which need not be said again

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The box's lines with their class."""
        code = [(line, "code") for call in self.calls for line in wrap(call, CODE_COLUMNS)]
        text = [(line, "") for line in wrap(self.text, TEXT_COLUMNS)]
        inside = self.folder and self.file.startswith(f"{self.folder}/")
        name = self.file.removeprefix(f"{self.folder}/") if inside else self.file
        file = [(name, "soft")] if name else []
        return [*code, *text, *file]

    @property
    def height(self) -> int:
        """How high the box is."""
        return len(self.lines) * LINE + 2 * PAD


@dataclass(frozen=True)
class Way:
    """A drawing as its source has it."""

    title: str
    lanes: list[tuple[str, str, str]]  # key, name, folder
    steps: list[Step]
    digest: str

    def column(self, lane: str) -> int:
        """The number of a lane, from the left."""
        return [key for key, _, _ in self.lanes].index(lane)


def load(path: Path) -> Way:
    """Read a way from its source."""
    raw = path.read_bytes()
    table = tomllib.loads(raw.decode())
    lanes = [(lane["key"], lane["name"], lane.get("folder", "")) for lane in table["lanes"]]
    folders = {key: folder for key, _, folder in lanes}
    steps = [Step(**step, folder=folders[step["lane"]]) for step in table["steps"]]
    digest = hashlib.sha256(raw + STYLE.encode()).hexdigest()
    return Way(table["title"], lanes, steps, digest)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(words, quote=False)}</text>"
    )


def _lanes(way: Way, height: int) -> Iterator[str]:
    for column, (_, name, folder) in enumerate(way.lanes):
        x = MARGIN + column * LANE
        yield (
            f'<rect x="{x + 4}" y="44" width="{LANE - 8}" height="{height - 56}" rx="8" '
            'class="lane"/>'
        )
        yield _text(x + LANE / 2, 66, name, "name", "middle")
        yield _text(x + LANE / 2, 82, folder, "soft", "middle")


def _box(way: Way, number: int, step: Step, top: int) -> Iterator[str]:
    x = MARGIN + way.column(step.lane) * LANE + (LANE - BOX) / 2
    yield (f'<rect x="{x:g}" y="{top}" width="{BOX}" height="{step.height}" rx="5" class="box"/>')
    yield _text(x + BOX - 6, top + 13, str(number), "number", "end")
    for row, (words, kind) in enumerate(step.lines):
        yield _text(x + PAD, top + PAD + (row + 1) * LINE - 5, words, kind)


def _path(way: str) -> str:
    return f'<path class="arrow" marker-end="url(#tip)" d="{way}"/>'


def _arrow(way: Way, step: Step, top: int, target: Step, target_top: int) -> Iterator[str]:
    """From the bottom of a box, or its side, to the top of the next."""
    start, end = way.column(step.lane), way.column(target.lane)
    x, goal = (MARGIN + column * LANE + LANE / 2 for column in (start, end))
    if start == end:
        yield _path(f"M{x:g} {top + step.height} V{target_top - 2}")
        if step.passes:
            yield _text(x + 8, (top + step.height + target_top) / 2 + 4, step.passes, "soft")
        return
    direction = 1 if end > start else -1
    side, middle = x + direction * BOX / 2, top + step.height - 14
    yield _path(f"M{side:g} {middle} H{goal:g} V{target_top - 2}")
    if step.passes:
        anchor = "start" if direction > 0 else "end"
        yield _text(side + direction * 16, middle - 6, step.passes, "soft", anchor)


def draw(way: Way) -> str:
    """Return the picture."""
    tops: list[int] = []
    top = 44 + HEAD
    for step in way.steps:
        tops.append(top)
        top += step.height + GAP
    width, height = 2 * MARGIN + LANE * len(way.lanes), top + 8
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    named = f'role="img" aria-label="{escape(way.title)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {named}>',
        f"<!-- source sha256 {way.digest} -->",
        f"<style>{STYLE}</style>",
        TIP,
        f'<rect width="{width}" height="{height}" class="ground"/>',
        _text(MARGIN + 4, 28, way.title, "title"),
        *_lanes(way, height),
    ]
    for number, (step, at) in enumerate(zip(way.steps, tops, strict=True)):
        if number:
            lines += _arrow(way, way.steps[number - 1], tops[number - 1], step, at)
    for number, (step, at) in enumerate(zip(way.steps, tops, strict=True), 1):
        lines += _box(way, number, step, at)
    return "\n".join([*lines, "</svg>"]) + "\n"
