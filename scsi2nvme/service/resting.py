"""Logical units that rest by themselves: their timers, played against data plane and controller."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from scsi2nvme.background import Background
from scsi2nvme.commands import power
from scsi2nvme.executor import play
from scsi2nvme.service.answers import Noticing
from scsi2nvme.service.power_timers import Handle, PowerTimers
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.power_conditions import RestingCondition

log = logging.getLogger(__name__)


def _uses(unit: ServedUnit) -> Callable[[], int]:
    """Return what returns a number that changes whenever the medium is used.

    Commands were answered that move data, or discard them, or any command is under way: then no
    two numbers are the same.
    """
    looks = itertools.count(1)

    def used() -> int:
        if unit.closed:
            return 0
        statistics = unit.plane_unit.statistics()
        if statistics.under_way:
            return -next(looks)
        return sum(kind.operations for kind in statistics.kinds[:3])

    return used


def run_timers(unit: ServedUnit, background: Background) -> None:
    """Have a logical unit rest when its medium was not used for as long as its timers say."""

    def enter(condition: RestingCondition) -> None:
        background.spawn(_rest(unit, condition, timers))

    def later(delay_s: float, action: Callable[[], None]) -> Handle:
        return asyncio.get_running_loop().call_later(delay_s, action)

    timers = PowerTimers(
        unit.lu, _uses(unit), enter, lambda: asyncio.get_running_loop().time(), later
    )
    unit.followers.append(timers)
    timers.adjust()


async def _rest(unit: ServedUnit, condition: RestingCondition, timers: PowerTimers) -> None:
    """Enter a power condition beside what goes on."""
    well = False
    try:
        async with unit.lock.hold(exclusive=False, party=unit):
            executor = Noticing(unit.on_behalf(unit), unit.lu.epoch)
            result = await play(power.rest(unit.lu, condition), executor)
        well = result.sense is None
        if result.sense is not None:
            told = condition.name, result.sense.code
            log.warning("namespace %d cannot rest in %s: %s", unit.lu.nsid, *told)
    finally:
        timers.entered(well=well)
