"""A machine is told how fast its clock is."""

from __future__ import annotations

from tests.system import clock


def khz() -> int:
    (parameter,) = clock.parameters()
    name, _, value = parameter.partition("=")
    assert name == "tsc_early_khz"
    return int(value)


def test_the_clock_is_as_fast_each_time_it_is_measured() -> None:
    first, second = khz(), khz()
    assert abs(first - second) < first / 1000
