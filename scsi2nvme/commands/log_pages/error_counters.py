"""Log pages 02h, 03h, 05h, 06h: what went wrong, and how much did not. Spec: SPC-4 7.3.14.

The controller counts for all its namespaces: what it counts is told where there is one only, and
of several logical units what the target itself has counted. What a reset has made of either is kept
as what lies between.
"""

from __future__ import annotations

from collections.abc import Mapping

from scsi2nvme.commands.log_pages.page import (
    COUNTER,
    DATA_UNIT_BYTES,
    SMART,
    Linking,
    Log,
    LogPage,
    Logs,
    Parameter,
    saturated,
    smart_log,
)
from scsi2nvme.unit.counters import (
    BYTES_PROCESSED,
    MAXIMUM,
    NON_MEDIUM_ERROR_COUNT,
    NON_MEDIUM_ERRORS,
    OF_CONTROLLER,
    READ_ERRORS,
    UNCORRECTED_ERRORS,
    VERIFY_ERRORS,
    WRITE_ERRORS,
)
from scsi2nvme.unit.logical_unit import LogicalUnit


def _count(code: int, value: int) -> Parameter:
    count = saturated(value, COUNTER, "count")
    return Parameter(
        code, COUNTER.build(count=count), Linking.BOUNDED_COUNTER, stays=count == MAXIMUM
    )


_CODES = {
    WRITE_ERRORS: (BYTES_PROCESSED, UNCORRECTED_ERRORS),
    READ_ERRORS: (BYTES_PROCESSED, UNCORRECTED_ERRORS),
    VERIFY_ERRORS: (UNCORRECTED_ERRORS,),
    NON_MEDIUM_ERRORS: (NON_MEDIUM_ERROR_COUNT,),
}


def _of_controller(page_code: int, logs: Logs) -> dict[int, int]:
    """Return what the controller counts for a page.

    It does not say in which direction the medium failed: say reading.
    """
    smart = smart_log(logs)
    if page_code == WRITE_ERRORS:
        return {BYTES_PROCESSED: smart.data_units_written * DATA_UNIT_BYTES}
    units, failed = smart.data_units_read, smart.media_errors
    return {BYTES_PROCESSED: units * DATA_UNIT_BYTES, UNCORRECTED_ERRORS: failed}


def _sources(lu: LogicalUnit, page_code: int, logs: Logs) -> dict[int, tuple[int, int]]:
    """Return by parameter code where each counter of a page is kept, and what else counts for it.

    Of one that the controller counts only what a reset has made of it is kept, apart from what
    the target would have counted.
    """
    sources = {code: (code, 0) for code in _CODES[page_code]}
    if page_code in (WRITE_ERRORS, READ_ERRORS):
        totals = lu.log.totals()
        moved = totals.written_bytes if page_code == WRITE_ERRORS else totals.read_bytes
        sources[BYTES_PROCESSED] = BYTES_PROCESSED, moved
        if lu.alone:
            for code, count in _of_controller(page_code, logs).items():
                sources[code] = OF_CONTROLLER | code, saturated(count, COUNTER, "count")
    return sources


def _page(code: int, name: str, spec: str, needs: tuple[Log, ...] = ()) -> LogPage:
    """Return a row of counters."""

    def parameters(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
        counters, sources = lu.log.counters, _sources(lu, code, logs)
        return tuple(
            _count(number, counters.value(code, kept, count))
            for number, (kept, count) in sources.items()
        )

    def change(lu: LogicalUnit, values: Mapping[int, bytes], logs: Logs) -> None:
        sources = _sources(lu, code, logs)
        for number, value in values.items():
            kept, count = sources[number]
            lu.log.counters.set(code, kept, COUNTER.parse(value)["count"], count)

    return LogPage(
        *(code, name, spec, parameters, needs),
        counters=True,
        settable=lambda lu: dict.fromkeys(_CODES[code], COUNTER.size),
        set=change,
        resets=True,
        reset_only=True,
    )


# The controller's error log holds refused commands, too: of non-medium errors the target counts.
PAGES = (
    _page(WRITE_ERRORS, "Write Error Counters", "SPC-4 7.3.23", (SMART,)),
    _page(READ_ERRORS, "Read Error Counters", "SPC-4 7.3.14", (SMART,)),
    _page(VERIFY_ERRORS, "Verify Error Counters", "SPC-4 7.3.22"),
    _page(NON_MEDIUM_ERRORS, "Non-Medium Error", "SPC-4 7.3.11"),
)
