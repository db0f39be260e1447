"""Log page 19h."""

from __future__ import annotations

import time

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

_EXPONENT, _INTERVALS_OF_A_MINUTE = 3, 60_000  # intervals of a millisecond
_STARTED = time.monotonic()
_INTERVAL = TIME_INTERVAL.build(exponent=_EXPONENT, integer=1)


def _statistics(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.6.

    The commands are those that we were sent since it was first served; intervals are those of
    each command, so that the weighted ones are their sum. Idle the logical unit is at least when
    its controller is, which counts in hours, and in minutes of work.
    """
    smart, totals = smart_log(logs), lu.log.totals()
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
    idle = max(smart.power_on_hours * 60 - smart.controller_busy_time, 0)
    intervals = saturated(idle * _INTERVALS_OF_A_MINUTE, IDLE_TIME, "intervals")
    return (
        Parameter(0x0001, STATISTICS.build(**fitting), Linking.UNBOUNDED_COUNTER),
        Parameter(
            0x0002, IDLE_TIME.build(intervals=lu.log.idle_ms(intervals)), Linking.UNBOUNDED_COUNTER
        ),
        Parameter(0x0003, _INTERVAL),
    )


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
        keeps=True,
    ),
    LogPage(
        0x19, "Cache Memory Statistics", "SPC-4 7.3.4", _cache_memory, subpage=0x20, counters=True
    ),
)
