"""One machine for all tests of a worker, booted anew when a test has lost it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.system.machine import Machine
from tests.system.power import Power
from tests.times import SYSTEM, budget


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: any test may build the images. What takes longest comes first."""
    for item in items:
        if item.nodeid.startswith(SYSTEM):
            for mark in ("slow", "system"):
                item.add_marker(mark)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))
    known = budget()
    items.sort(key=lambda item: -known.get(item.nodeid.split("::")[0], 0))


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
    complains = request.node.get_closest_marker("kernel_complains") is not None
    with nullcontext() if complains else machine.quiet():
        yield machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the kernel's log with a failure."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(machine, Machine):
        tail = machine.log().splitlines()[-60:]
        report.sections.append(("kernel log", "\n".join(tail)))
    return report  # type: ignore[return-value]
