"""Log page 19h."""

from __future__ import annotations

import time
from collections.abc import Mapping

from scsi2nvme.commands.log_pages.page import (
    SMART,
    Linking,
    LogPage,
    Logs,
    Parameter,
    saturated,
    smart_log,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

STATISTICS = Structure(
    "General access statistics and performance",
    64,
    (
        Field("read_commands", 0, 0, 64),
        Field("write_commands", 8, 0, 64),
        Field("blocks_received", 16, 0, 64, "written"),
        Field("blocks_transmitted", 24, 0, 64, "read"),
        Field("read_intervals", 32, 0, 64),
        Field("write_intervals", 40, 0, 64),
        Field("weighted_commands", 48, 0, 64),
        Field("weighted_intervals", 56, 0, 64),
    ),
    spec="SPC-4 7.3.6",
)

IDLE_TIME = Structure("Idle time", 8, (Field("intervals", 0, 0, 64),), spec="SPC-4 7.3.6")

TIME_INTERVAL = Structure(
    "Time interval descriptor",
    8,
    (Field("exponent", 0, 0, 32, "a negative power of ten"), Field("integer", 4, 0, 32, "seconds")),
    spec="SPC-4 7.3.6",
)

CACHE_RESET = Structure(
    "Time interval since the last hard reset",
    8,
    (Field("intervals", 0, 0, 64),),
    spec="SPC-4 7.3.4",
)

_ACCESSES, _IDLE = 0x0001, 0x0002  # parameter codes
_EXPONENT, _INTERVALS_OF_A_MINUTE = 3, 60_000  # intervals of a millisecond
_STARTED = time.monotonic()
_INTERVAL = TIME_INTERVAL.build(exponent=_EXPONENT, integer=1)


def _statistics(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.6.

    The commands are those that we were sent since it was first served, or this was reset; intervals
    are those of each command, so that the weighted ones are their sum. Idle the logical unit is at
    least when its controller is, which counts in hours, and in minutes of work.
    """
    totals = lu.log.accesses()
    values = {
        "read_commands": totals.read_commands,
        "write_commands": totals.write_commands,
        "blocks_received": totals.written_bytes // lu.block_bytes,
        "blocks_transmitted": totals.read_bytes // lu.block_bytes,
        "read_intervals": totals.read_us // 1000,
        "write_intervals": totals.write_us // 1000,
        "weighted_commands": totals.read_commands + totals.write_commands,
        "weighted_intervals": (totals.read_us + totals.write_us) // 1000,
    }
    fitting = {name: saturated(value, STATISTICS, name) for name, value in values.items()}
    idle = IDLE_TIME.build(intervals=lu.log.idle_ms(_idle_intervals(logs)))
    return (
        Parameter(_ACCESSES, STATISTICS.build(**fitting), Linking.UNBOUNDED_COUNTER),
        Parameter(_IDLE, idle, Linking.UNBOUNDED_COUNTER),
        Parameter(0x0003, _INTERVAL),
    )


def _idle_intervals(logs: Logs) -> int:
    smart = smart_log(logs)
    idle = max(smart.power_on_hours * 60 - smart.controller_busy_time, 0)
    return saturated(idle * _INTERVALS_OF_A_MINUTE, IDLE_TIME, "intervals")


def _reset(lu: LogicalUnit, values: Mapping[int, bytes], logs: Logs) -> None:
    if _ACCESSES in values:
        lu.log.reset_accesses()
    if _IDLE in values:
        lu.log.reset_idle(_idle_intervals(logs))


def _cache_memory(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """What a controller's cache hits it does not tell: since when, we do. Spec: SPC-4 7.3.4."""
    since = CACHE_RESET.build(intervals=int((time.monotonic() - _STARTED) * 1000))
    return (
        Parameter(0x0005, since, Linking.UNBOUNDED_COUNTER),
        Parameter(0x0006, _INTERVAL),
    )


PAGES = (
    LogPage(
        0x19,
        "General Statistics and Performance",
        "SPC-4 7.3.6",
        _statistics,
        (SMART,),
        counters=True,
        settable=lambda lu: {_ACCESSES: STATISTICS.size, _IDLE: IDLE_TIME.size},
        set=_reset,
        resets=True,
        reset_only=True,
        keeps=True,
    ),
    LogPage(
        0x19, "Cache Memory Statistics", "SPC-4 7.3.4", _cache_memory, subpage=0x20, counters=True
    ),
)
