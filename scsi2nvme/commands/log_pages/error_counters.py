"""Log pages 02h, 03h, 05h, 06h: what went wrong, and how much did not. Spec: SPC-4 7.3.14.

The controller counts for all its namespaces: what it counts is told where there is one only.
"""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import (
    COUNTER,
    DATA_UNIT_BYTES,
    SMART,
    Linking,
    LogPage,
    Logs,
    Parameter,
    saturated,
    smart_log,
)
from scsi2nvme.unit.counters import (
    BYTES_PROCESSED,
    NON_MEDIUM_ERROR_COUNT,
    NON_MEDIUM_ERRORS,
    READ_ERRORS,
    UNCORRECTED_ERRORS,
    VERIFY_ERRORS,
    WRITE_ERRORS,
)
from scsi2nvme.unit.logical_unit import LogicalUnit


def _count(code: int, value: int) -> Parameter:
    data = COUNTER.build(count=saturated(value, COUNTER, "count"))
    return Parameter(code, data, Linking.BOUNDED_COUNTER)


def _own(lu: LogicalUnit, page_code: int, code: int) -> Parameter:
    """Return what the target itself counts."""
    return _count(code, lu.counters.value(page_code, code))


def _bytes_processed(lu: LogicalUnit, data_units: int) -> tuple[Parameter, ...]:
    return (_count(BYTES_PROCESSED, data_units * DATA_UNIT_BYTES),) if lu.alone else ()


def _write_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (
        *_bytes_processed(lu, smart_log(logs).data_units_written),
        _own(lu, WRITE_ERRORS, UNCORRECTED_ERRORS),
    )


def _read_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller does not say in which direction the medium failed: say reading.

    Unlike our own its count is of the controller's whole life.
    """
    smart = smart_log(logs)
    return (
        *_bytes_processed(lu, smart.data_units_read),
        _count(UNCORRECTED_ERRORS, smart.media_errors)
        if lu.alone
        else _own(lu, READ_ERRORS, UNCORRECTED_ERRORS),
    )


def _verify_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (_own(lu, VERIFY_ERRORS, UNCORRECTED_ERRORS),)


def _non_medium_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.11. The controller's error log holds refused commands, too."""
    return (_own(lu, NON_MEDIUM_ERRORS, NON_MEDIUM_ERROR_COUNT),)


def _uncorrected(lu: LogicalUnit) -> tuple[int, ...]:
    return (UNCORRECTED_ERRORS,)


PAGES = (
    LogPage(
        WRITE_ERRORS,
        "Write Error Counters",
        "SPC-4 7.3.23",
        _write_errors,
        (SMART,),
        counters=True,
        own=_uncorrected,
    ),
    LogPage(
        READ_ERRORS,
        "Read Error Counters",
        "SPC-4 7.3.14",
        _read_errors,
        (SMART,),
        counters=True,
        own=lambda lu: () if lu.alone else _uncorrected(lu),
    ),
    LogPage(
        VERIFY_ERRORS,
        "Verify Error Counters",
        "SPC-4 7.3.22",
        _verify_errors,
        counters=True,
        own=_uncorrected,
    ),
    LogPage(
        NON_MEDIUM_ERRORS,
        "Non-Medium Error",
        "SPC-4 7.3.11",
        _non_medium_errors,
        counters=True,
        own=lambda lu: (NON_MEDIUM_ERROR_COUNT,),
    ),
)
