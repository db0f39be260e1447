"""What is said of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from bench import machine


@pytest.mark.parametrize(
    ("load_average", "busy"), [(0.0, False), (machine.BUSY_LOAD, False), (1.6, True)]
)
def test_figures_of_a_busy_machine_are_marked(load_average: float, busy: bool) -> None:
    report = {"machine": {"processor": "fast", "CPUs": "2"}, "load_average": load_average}
    heading = machine.heading(report)
    assert heading.startswith("processor fast, CPUs 2.\n")
    assert ("**Preliminary**" in heading) == busy


def test_nothing_tells_whose_machine_it_was(tmp_path: Path) -> None:
    described = machine.describe(tmp_path)
    assert all(described.values())
    assert platform.node() not in " ".join(described.values())


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    assert machine.file_system(Path("/proc/self")) == "proc"
