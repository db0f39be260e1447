"""Power conditions that are entered by timers, by a clock of the test's own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from scsi2nvme.service.power_timers import PowerTimers
from scsi2nvme.service.resting import _uses
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.service.thresholds import Watch
from scsi2nvme.unit.mode_pages.power_condition import POWER_CONDITION
from scsi2nvme.unit.power_conditions import RestingCondition
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.statistics import KindStatistics, Statistics
from tests.service.bench import Bench, played
from tests.support import make_lu


class Later:
    """What is to be done later, unless it is cancelled."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Clock:
    """A logical unit, its timers, and time that passes when it is told to."""

    def __init__(self) -> None:
        self.lu = make_lu()
        self.now_s, self.used, self.fails = 0.0, 0, False
        self.entered: list[tuple[float, str]] = []
        self._due: list[tuple[float, int, Later]] = []
        self._numbers = itertools.count()
        self.timers = PowerTimers(
            self.lu, lambda: self.used, self._enter, lambda: self.now_s, self._later
        )
        self.lu.on_change = self.timers.adjust

    def _later(self, delay_s: float, action: Callable[[], None]) -> Later:
        later = Later(action)
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._numbers), later))
        return later

    def _enter(self, condition: RestingCondition) -> None:
        self.entered.append((round(self.now_s, 3), condition.name))
        if not self.fails:
            self.lu.enter(condition.condition, condition.modifier, by_timer=True)
        self.timers.entered(well=not self.fails)

    def set(self, **fields: int) -> None:
        """Set timers, in 100 ms, and enable them."""
        enable = dict.fromkeys(fields, 1)
        timers = {f"{name}_timer": value for name, value in fields.items()}
        self.lu.mode.change(POWER_CONDITION, POWER_CONDITION.layout.build(**enable, **timers))

    def wait(self, seconds: float) -> None:
        end = self.now_s + seconds
        while self._due and self._due[0][0] <= end:
            self.now_s, _, later = heapq.heappop(self._due)
            if later.action is not None:
                later.action()
        self.now_s = end

    @property
    def waits(self) -> bool:
        return any(later.action for _, _, later in self._due)


def test_nothing_runs_by_default() -> None:
    clock = Clock()
    clock.lu.on_change()
    assert not clock.waits


def test_each_in_its_time() -> None:
    clock = Clock()
    clock.set(idle_a=10, idle_b=20, idle_c=30, standby_y=40, standby_z=50)
    clock.wait(60)
    assert [name for _, name in clock.entered] == [
        *("idle_a", "idle_b", "idle_c", "standby_y", "standby_z")
    ]
    for (when, _), due in zip(clock.entered, (1, 2, 3, 4, 5), strict=True):
        assert due <= when <= due + 0.25
    assert not clock.waits  # there is nothing deeper


def test_a_medium_that_is_used_does_not_rest() -> None:
    clock = Clock()
    clock.set(standby_z=40)
    for _ in range(10):
        clock.wait(2)
        clock.used += 1
    assert clock.entered == []
    clock.wait(5.1)
    assert [name for _, name in clock.entered] == ["standby_z"]


def test_what_wakes_it_begins_anew() -> None:
    clock = Clock()
    clock.set(idle_a=10, standby_z=600)
    clock.wait(1.3)
    assert clock.lu.resting
    clock.lu.enter(0)
    clock.wait(0.9)
    assert not clock.lu.resting
    clock.wait(0.5)
    assert [name for _, name in clock.entered] == ["idle_a", "idle_a"]
    assert clock.waits


@pytest.mark.parametrize("readiness", [Readiness.STOPPED, Readiness.FORMATTING])
def test_what_is_not_ready_enters_nothing(readiness: Readiness) -> None:
    clock = Clock()
    clock.set(idle_a=10)
    clock.lu.readiness = readiness
    clock.lu.on_change()
    clock.wait(10)
    assert clock.entered == []
    assert not clock.waits
    clock.lu.readiness = Readiness.READY
    clock.lu.on_change()
    clock.wait(1.3)
    assert clock.entered


def test_what_fails_is_tried_again_but_not_soon() -> None:
    clock = Clock()
    clock.fails = True
    clock.set(idle_a=1)
    for _ in range(200):
        clock.wait(0.9)
        clock.used += 1  # which does not make it sooner
    assert len(clock.entered) == 3


def test_a_shorter_timer_of_less_power_goes_first() -> None:
    clock = Clock()
    clock.set(idle_a=100, standby_z=10)
    clock.wait(60)
    assert [name for _, name in clock.entered] == ["standby_z"]


class PlaneUnit:
    """What the data plane counts of a logical unit."""

    def __init__(self) -> None:
        self.begun, self.reads, self.others = 0, 0, 0

    def statistics(self) -> Statistics:
        kinds = (self.reads, 0, 0, self.others)
        return Statistics(
            begun=self.begun, kinds=tuple(KindStatistics(0, 0, 0, (each,)) for each in kinds)
        )


def test_a_medium_that_somebody_waits_for_is_used() -> None:
    plane_unit = PlaneUnit()
    used = _uses(cast(ServedUnit, SimpleNamespace(closed=False, plane_unit=plane_unit)))
    before = used()
    assert used() == before
    plane_unit.begun += 1
    assert len({before, used(), used(), used()}) == 4
    plane_unit.reads += 1
    assert used() == used() != before
    before = used()
    plane_unit.begun, plane_unit.others = 2, 1  # TEST UNIT READY uses nothing
    assert used() == before


def test_nothing_begins_by_itself_in_a_service_that_ends() -> None:
    async def story(bench: Bench) -> None:
        (unit,) = bench.service._registry.units.values()
        timers, watch = unit.followers
        assert isinstance(timers, PowerTimers)
        assert isinstance(watch, Watch)
        fields = {"idle_a": 1, "idle_a_timer": 1}
        bench.lu.mode.change(POWER_CONDITION, POWER_CONDITION.layout.build(**fields))
        assert timers._next is not None
        watch._wait(1.0)
        await bench.service.stop()
        timers.entered(well=False)  # what was under way
        bench.lu.on_change()
        assert timers._next is None
        assert watch._next is None

    played(story)


def test_it_stops_with_its_logical_unit() -> None:
    clock = Clock()
    clock.set(idle_a=10)
    clock.timers.stop()
    assert not clock.waits
