"""Pictures of figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import compare, growth, isolation, plots

_TARGETS = (
    compare.FLOOR,
    compare.SPINNING,
    compare.ALONE,
    compare.MEMORY,
    compare.OURS,
    compare.PEER,
)
_WORKLOADS = [each.name for each in compare.workloads(1)]


def _report() -> dict[str, Any]:
    row = {
        "medians": {name: {"cpu_us": float(cost)} for cost, name in enumerate(_TARGETS, start=4)},
        "histograms": {name: {"64": 10, "72": 980, "4096": 10, "65536": 0} for name in _TARGETS},
    }
    return {
        "compare": {"workloads": dict.fromkeys(_WORKLOADS, row)},
        "growth": {
            "sessions": {"scsi2nvme": dict.fromkeys(growth.SESSIONS, 4.0)},
            "namespaces": {"scsi2nvme": dict.fromkeys(growth.NAMESPACES, 4.0)},
        },
    }


def test_every_picture_is_of_a_workload_that_is_measured() -> None:
    assert set(plots._LATENCIES.values()) <= set(_WORKLOADS)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (_report(), {"cpu", *plots._LATENCIES, "growth-sessions", "growth-namespaces"}),
        (
            {
                "nobody else": {"iops": 1000.0, "beside_iops": 1000.0},
                "a flood": {"iops": 400.0, "beside_iops": 500.0},
            },
            {"isolation"},
        ),
    ],
)
def test_pictures_are_drawn_alike_each_time(
    report: dict[str, Any], expected: set[str], tmp_path: Path
) -> None:
    plots.draw(report, tmp_path / "first")
    plots.draw(report, tmp_path / "second")
    drawn = {path.stem: path.read_text() for path in (tmp_path / "first").iterdir()}
    assert set(drawn) == expected
    for name, text in drawn.items():
        assert text == (tmp_path / "second" / f"{name}.svg").read_text()
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "href" not in text  # nothing is loaded from elsewhere


def test_latencies_that_nothing_took_are_left_out() -> None:
    chart = dict(plots.pictures(_report()))["latency-read-qd1"]
    assert chart.x_labels == ["64", "72", "4096"]
    assert chart.x_labels_major == ["64", "4096"]


def test_the_page_shows_every_picture() -> None:
    page = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    for name, _ in plots.pictures(_report()):
        assert f"(plots/{name}.svg)" in page
    figures = dict.fromkeys(asdict(isolation.Figures()), 1.0)
    assert "(plots/isolation.svg)" in isolation.markdown({"nobody else": figures})
