"""Log pages 02h, 03h, 05h, 06h: what went wrong, and how much did not. Spec: SPC-4 7.3.14.

The controller counts for all its namespaces: what it counts is told where there is one only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def _sources(lu: LogicalUnit, page_code: int) -> dict[int, int]:
    """Return what the target itself counts for a page, and what of that the statistics tell."""
    if page_code == NON_MEDIUM_ERRORS:
        return {NON_MEDIUM_ERROR_COUNT: 0}
    if page_code == VERIFY_ERRORS:
        return {UNCORRECTED_ERRORS: 0}
    totals = lu.log.totals()
    moved = totals.written_bytes if page_code == WRITE_ERRORS else totals.read_bytes
    if not lu.alone:
        return {BYTES_PROCESSED: moved, UNCORRECTED_ERRORS: 0}
    return {UNCORRECTED_ERRORS: 0} if page_code == WRITE_ERRORS else {}


def _own(lu: LogicalUnit, page_code: int) -> tuple[Parameter, ...]:
    """Return what the target itself counts."""
    counters = lu.log.counters
    return tuple(
        _count(code, counters.value(page_code, code, source))
        for code, source in _sources(lu, page_code).items()
    )


def _bytes_processed(lu: LogicalUnit, data_units: int) -> tuple[Parameter, ...]:
    return (_count(BYTES_PROCESSED, data_units * DATA_UNIT_BYTES),) if lu.alone else ()


def _write_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    processed = _bytes_processed(lu, smart_log(logs).data_units_written)
    return (*processed, *_own(lu, WRITE_ERRORS))


def _read_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller does not say in which direction the medium failed: say reading.

    Unlike our own its count is of the controller's whole life.
    """
    smart = smart_log(logs)
    processed = _bytes_processed(lu, smart.data_units_read)
    failed = (_count(UNCORRECTED_ERRORS, smart.media_errors),) if lu.alone else ()
    return (*processed, *failed, *_own(lu, READ_ERRORS))


def _page(
    code: int,
    name: str,
    spec: str,
    parameters: Callable[[LogicalUnit, Logs], tuple[Parameter, ...]] | None = None,
    needs: tuple[Log, ...] = (),
) -> LogPage:
    """Return a row of counters. Without `parameters` they are all the target's own."""

    def own(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
        return _own(lu, code)

    def change(lu: LogicalUnit, values: Mapping[int, bytes]) -> None:
        sources = _sources(lu, code)
        for number, value in values.items():
            count = COUNTER.parse(value)["count"]
            lu.log.counters.set(code, number, count, sources[number])

    return LogPage(
        *(code, name, spec, parameters or own, needs),
        counters=True,
        settable=lambda lu: dict.fromkeys(_sources(lu, code), COUNTER.size),
        set=change,
        resets=True,
    )


# The controller's error log holds refused commands, too: of non-medium errors the target counts.
PAGES = (
    _page(WRITE_ERRORS, "Write Error Counters", "SPC-4 7.3.23", _write_errors, (SMART,)),
    _page(READ_ERRORS, "Read Error Counters", "SPC-4 7.3.14", _read_errors, (SMART,)),
    _page(VERIFY_ERRORS, "Verify Error Counters", "SPC-4 7.3.22"),
    _page(NON_MEDIUM_ERRORS, "Non-Medium Error", "SPC-4 7.3.11"),
)
