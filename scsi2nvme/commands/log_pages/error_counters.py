"""Log pages 02h, 03h, 05h, 06h: what went wrong, and how much did not. Spec: SPC-4 7.3.14."""

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
from scsi2nvme.unit.counters import BYTES_PROCESSED, UNCORRECTED_ERRORS, VERIFY_ERRORS, WRITE_ERRORS
from scsi2nvme.unit.logical_unit import LogicalUnit


def _count(code: int, value: int) -> Parameter:
    data = COUNTER.build(count=saturated(value, COUNTER, "count"))
    return Parameter(code, data, Linking.BOUNDED_COUNTER)


def _own(lu: LogicalUnit, page_code: int, code: int) -> Parameter:
    """Return what the target itself counts."""
    return _count(code, lu.counters.value(page_code, code))


def _write_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (
        _count(BYTES_PROCESSED, smart_log(logs).data_units_written * DATA_UNIT_BYTES),
        _own(lu, WRITE_ERRORS, UNCORRECTED_ERRORS),
    )


def _read_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller does not say in which direction the medium failed: say reading."""
    smart = smart_log(logs)
    return (
        _count(BYTES_PROCESSED, smart.data_units_read * DATA_UNIT_BYTES),
        _count(UNCORRECTED_ERRORS, smart.media_errors),
    )


def _verify_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (_own(lu, VERIFY_ERRORS, UNCORRECTED_ERRORS),)


def _non_medium_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Every error has an entry in the error log, so what remains is not the medium's."""
    smart = smart_log(logs)
    return (_count(0x0000, max(smart.num_err_log_entries - smart.media_errors, 0)),)


_OWN = (UNCORRECTED_ERRORS,)
PAGES = (
    LogPage(
        WRITE_ERRORS,
        "Write Error Counters",
        "SPC-4 7.3.23",
        _write_errors,
        (SMART,),
        counters=True,
        own=_OWN,
    ),
    LogPage(0x03, "Read Error Counters", "SPC-4 7.3.14", _read_errors, (SMART,), counters=True),
    LogPage(
        VERIFY_ERRORS,
        "Verify Error Counters",
        "SPC-4 7.3.22",
        _verify_errors,
        counters=True,
        own=_OWN,
    ),
    LogPage(0x06, "Non-Medium Error", "SPC-4 7.3.11", _non_medium_errors, (SMART,), counters=True),
)
