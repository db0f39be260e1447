"""Log page 19h."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import (
    DATA_UNIT_BYTES,
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


def _statistics(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.6. The controller counts in minutes."""
    smart = smart_log(logs)
    values = {
        "read_commands": smart.host_read_commands,
        "write_commands": smart.host_write_commands,
        "blocks_received": smart.data_units_written * DATA_UNIT_BYTES // lu.block_bytes,
        "blocks_transmitted": smart.data_units_read * DATA_UNIT_BYTES // lu.block_bytes,
    }
    fitting = {name: saturated(value, STATISTICS, name) for name, value in values.items()}
    idle = max(smart.power_on_hours * 60 - smart.controller_busy_time, 0)
    intervals = saturated(idle, IDLE_TIME, "intervals")
    return (
        Parameter(0x0001, STATISTICS.build(**fitting), Linking.UNBOUNDED_COUNTER),
        Parameter(0x0002, IDLE_TIME.build(intervals=intervals), Linking.UNBOUNDED_COUNTER),
        Parameter(0x0003, TIME_INTERVAL.build(integer=60)),
    )


PAGES = (
    LogPage(
        0x19,
        "General Statistics and Performance",
        "SPC-4 7.3.6",
        _statistics,
        (SMART,),
        counters=True,
        # The controller counts for all its namespaces.
        supported=lambda lu: lu.alone,
    ),
)
