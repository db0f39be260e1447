"""Power conditions that a logical unit enters by itself, when its medium was not used for a time.

The timers are those of the Power Condition mode page. What the hot path does is seen by counts
only, and at times: a timer is late by a quarter of the shortest one at most. Spec: SPC-4 5.11.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.page import PageControl
from scsi2nvme.unit.mode_pages.power_condition import POWER_CONDITION
from scsi2nvme.unit.power_conditions import CONDITIONS, RestingCondition, depth
from scsi2nvme.unit.readiness import Readiness

_UNIT_S = 0.1  # of the timers
_LEAST_S = 0.1  # between two looks
_LOOKS = 4  # while the shortest timer runs
_RETRY_S = 60.0  # at least, once a condition could not be entered

Timers = tuple[tuple[float, RestingCondition], ...]


class Handle(Protocol):
    """What is to be done later."""

    def cancel(self) -> None:
        """Have it not done."""


def enabled(lu: LogicalUnit) -> Timers:
    """Return the timers that run for a logical unit as it is: those of deeper conditions."""
    if lu.readiness is not Readiness.READY or not lu.timers_run:
        return ()
    page = POWER_CONDITION.layout.parse(lu.mode.values(POWER_CONDITION, PageControl.CURRENT))
    return tuple(
        (page[f"{each.name}_timer"] * _UNIT_S, each)
        for each in CONDITIONS
        if page[each.name] and depth(each) > depth(lu.resting_condition)
    )


class PowerTimers:
    """The timers of one logical unit.

    `used` returns a number that changes whenever its medium is used; `enter` has it enter a
    condition, and `entered` is to be called when that has ended. `now` and `later` are the
    clock's.
    """

    def __init__(
        self,
        lu: LogicalUnit,
        used: Callable[[], int],
        enter: Callable[[RestingCondition], None],
        now: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Handle],
    ) -> None:
        self._lu = lu
        self._used = used
        self._enter = enter
        self._now = now
        self._later = later
        self._timers: Timers = ()
        self._next: Handle | None = None
        self._entering = False
        self._seen = 0
        self._since = 0.0
        self._not_before = 0.0

    def adjust(self) -> None:
        """The logical unit may have changed: run the timers that there are now."""
        timers = enabled(self._lu)
        if timers == self._timers:
            return
        before, self._timers = self._timers, timers
        if not set(timers) <= set(before):
            self._begin_anew()
        if not self._entering:
            self._wait()

    def stop(self) -> None:
        """The logical unit goes."""
        self._timers = ()
        self._wait()

    def entered(self, *, well: bool) -> None:
        """What `enter` began has ended; where it failed it is tried again, but not soon."""
        self._entering = False
        if not well:
            self._begin_anew()
            self._not_before = self._now() + _RETRY_S
        self._wait()

    def _begin_anew(self) -> None:
        self._seen, self._since = self._used(), self._now()

    def _wait(self) -> None:
        """Look again when a timer expires, or before."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._timers:
            left_s = min(seconds for seconds, _ in self._timers) + self._since - self._now()
            look_s = min(seconds for seconds, _ in self._timers) / _LOOKS
            pause_s = max(min(left_s, look_s), self._not_before - self._now(), _LEAST_S)
            self._next = self._later(pause_s, self._look)

    def _look(self) -> None:
        """Enter the deepest condition whose timer has expired."""
        self._next = None
        if self._used() != self._seen:
            self._begin_anew()
        idle_s = self._now() - self._since
        due = [condition for seconds, condition in self._timers if seconds <= idle_s]
        if due:
            self._entering = True
            self._enter(due[-1])
        else:
            self._wait()
