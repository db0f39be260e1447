"""One machine for all tests here, booted anew when a test has lost it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine
from tests.system.power import Power

# What a healthy kernel does not say.
COMPLAINT = re.compile(r"\b(BUG|WARNING|Oops|Call Trace|blocked for more than|soft lockup)\b")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: one worker runs it, and the first test may build the images."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for mark in ("slow", "system"):
                item.add_marker(mark)
            item.add_marker(pytest.mark.xdist_group("system"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def power() -> Iterator[Power]:
    """Switch the machine off in the end."""
    power = Power()
    yield power
    power.off()


@pytest.fixture
def machine(power: Power, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Return the machine; its kernel must have nothing to complain about in the test."""
    yield from watched(power.machine(), request)


def watched(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Yield a machine to a test, and fail that if the kernel complains."""
    before = len(machine.log())
    yield machine
    said = machine.log()[before:]
    if request.node.get_closest_marker("kernel_complains") is None:
        assert not COMPLAINT.search(said), said


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the kernel's log with a failure."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(machine, Machine):
        tail = machine.log().splitlines()[-60:]
        report.sections.append(("kernel log", "\n".join(tail)))
    return report  # type: ignore[return-value]
