"""Pictures of what was measured: `python -m bench.plots FILE.json DIRECTORY`.

The file is what `make bench` or `bench.isolation --json` wrote. Both draw anew with `--page`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

from bench import compare

# It leaves a finder of modules in an interface that imports choke on.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

_STYLE = CleanStyle(background="white", plot_background="white", font_family="sans-serif")
_LOOK = {
    "style": _STYLE,
    "js": [],  # nothing is loaded from elsewhere
    "legend_at_bottom": True,
    "truncate_label": -1,
    "width": 900,
}
_WIDEST = 8  # times the floor: what costs more is cut off, since the rest would be flat
_RARE = 0.0002  # of all I/Os: a latency is left out beyond the last that is not
_LATENCIES = {
    "latency-read-qd1": "read 4k QD1 ×1",
    "latency-read-qd32": "read 4k QD32 ×1",
    "latency-write-qd32": "write 4k QD32 ×1",
}


def pictures(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each picture of a report, and its chart."""
    if "compare" not in report:
        yield "isolation", _isolation(report)
        return
    workloads = report["compare"]["workloads"]
    yield "cpu", _cpu(workloads)
    for name, workload in _LATENCIES.items():
        yield name, _latency(workload, workloads[workload]["histograms"])
    for axis in ("sessions", "namespaces"):
        yield f"growth-{axis}", _growth(axis, report["growth"][axis])


def _cpu(workloads: Mapping[str, Any]) -> Any:
    chart = pygal.Bar(
        title="CPU time per I/O, as a multiple of the floor's",
        x_label_rotation=30,
        range=(0, _WIDEST),
        **_LOOK,
    )
    chart.x_labels = list(workloads)
    for target in (compare.OURS, compare.MEMORY, compare.ALONE, compare.PEER):
        multiples = (
            row["medians"][target]["cpu_us"] / row["medians"][compare.FLOOR]["cpu_us"]
            for row in workloads.values()
        )
        chart.add(target, [min(round(each, 2), _WIDEST) for each in multiples])
    return chart


def _latency(workload: str, histograms: Mapping[str, Mapping[str, int]]) -> Any:
    shown = {name: _shares(histograms[name]) for name in _targets_of(histograms)}
    frequent = [us for shares in shown.values() for us, share in shares.items() if share > _RARE]
    latencies = [
        us for us in sorted(set().union(*shown.values())) if min(frequent) <= us <= max(frequent)
    ]
    chart = pygal.Line(
        title=f"{workload}: per cent of all I/Os by latency in µs",
        show_dots=False,
        show_minor_x_labels=False,
        **_LOOK,
    )
    chart.x_labels = list(map(str, latencies))
    chart.x_labels_major = list(map(str, _spaced(latencies)))
    for name, shares in shown.items():
        chart.add(name, [round(100 * shares.get(us, 0), 3) for us in latencies])
    return chart


def _targets_of(histograms: Mapping[str, object]) -> list[str]:
    columns = (compare.SPINNING, compare.FLOOR, compare.OURS, compare.PEER)
    return [name for name in columns if name in histograms]


def _shares(histogram: Mapping[str, int]) -> dict[int, float]:
    total = sum(histogram.values())
    return {int(us): count / total for us, count in histogram.items()}


def _spaced(latencies: Sequence[int]) -> list[int]:
    """Return the first of every octave."""
    return [
        us
        for before, us in zip([0, *latencies], latencies, strict=False)
        if before.bit_length() != us.bit_length()
    ]


def _growth(axis: str, figures: Mapping[str, Mapping[str, float]]) -> Any:
    chart = pygal.Line(title=f"CPU µs per 4 KiB read, by the number of {axis}", **_LOOK)
    chart.range = (0, max(max(row.values()) for row in figures.values()))
    chart.x_labels = list(map(str, next(iter(figures.values()))))
    for name, row in figures.items():
        chart.add(name, [round(each, 2) for each in row.values()])
    return chart


def _isolation(report: Mapping[str, Mapping[str, float]]) -> Any:
    alone = next(iter(report.values()))["iops"]
    chart = pygal.HorizontalBar(
        title="4 KiB reads while others misbehave, as a share of what a host has alone",
        range=(0, 1.2),
        height=40 * len(report),
        **_LOOK,
    )
    names = list(report)[::-1]  # it draws from the bottom up
    chart.x_labels = names
    for title, figure in (("at the same target", "iops"), ("at another target", "beside_iops")):
        chart.add(title, [round(report[name][figure] / alone, 2) for name in names])
    return chart


def draw(report: Mapping[str, Any], directory: Path) -> None:
    """Write a report's pictures, as SVG, into a directory."""
    directory.mkdir(exist_ok=True)
    for name, chart in pictures(report):
        chart.uuid = name  # else it differs each time, whatever the figures
        (directory / f"{name}.svg").write_text(chart.render(is_unicode=True) + "\n")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("directory", type=Path, nargs="?", default=Path("docs/plots"))
    arguments = parser.parse_args()
    draw(json.loads(arguments.report.read_text()), arguments.directory)


if __name__ == "__main__":
    main()
