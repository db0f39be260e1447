"""REQUEST SENSE: what the logical unit has to say of itself. Spec: SPC-4 6.39."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from scsi2nvme.command import OBSOLETE_LUN, Command, Data, Task, Transfer, always
from scsi2nvme.commands import diagnostics, power, sanitize_status
from scsi2nvme.commands.format_unit import refresh_progress
from scsi2nvme.commands.log_pages.page import SMART, get_log
from scsi2nvme.fields import Field
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.result import NvmeError, Result, Translation
from scsi2nvme.scsi.sense import (
    LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS,
    LOGICAL_UNIT_NOT_SUPPORTED,
    NO_ADDITIONAL_SENSE_INFORMATION,
    Sense,
    SenseCode,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness


def _answer(task: Task, sense: Sense) -> Result:
    """Return sense data as data, in the format that DESC asks for."""
    return Result(data_in=sense.data(bool(task.cdb.desc)))


def _warning(lu: LogicalUnit) -> Generator[Any, Any, SenseCode | None]:
    """Return what the controller's health gives reason to tell on request (MRIE 6h)."""
    if not lu.exceptions.on_request:
        return None
    try:
        completion = yield get_log(SMART)
    except NvmeError:
        return None  # nobody knows of a warning
    return lu.exceptions.told(SMART_LOG.parse(completion.data).critical_warning)


def request_sense(task: Task) -> Translation:
    """Return a pending unit attention or deferred error, else what goes on.

    Spec: SPC-4 6.39, 5.11.2 (pollable sense data), 7.5.11 (informational exceptions).
    """
    lu = task.lu
    if lu.readiness is Readiness.FORMATTING:
        yield from refresh_progress(lu)
    if lu.sanitizing.running and lu.readiness is not Readiness.FAILED:
        yield from sanitize_status.refresh_progress(lu)
    waiting = lu.take_attention(task.nexus) or lu.not_ready
    if waiting is not None:
        return _answer(task, waiting)
    if lu.self_test_running:
        test = yield from diagnostics.current_self_test(lu)
        if test is not None:
            code = LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS
            return _answer(task, Sense(code, progress=test.fraction))
    resting = power.resting_sense(lu)
    warning = yield from _warning(lu)
    return _answer(task, Sense(warning or resting or NO_ADDITIONAL_SENSE_INFORMATION))


def request_sense_without_unit(task: Task) -> Translation:
    """Spec: SPC-4 6.39 (incorrect logical unit number)."""
    yield from ()
    return _answer(task, Sense(LOGICAL_UNIT_NOT_SUPPORTED))


COMMANDS = (
    Command(
        "REQUEST SENSE",
        0x03,
        6,
        "SPC-4 6.39",
        request_sense,
        (
            OBSOLETE_LUN,
            Field("desc", 1, 0, 1, "descriptor format wanted"),
            Field("allocation_length", 4, 0, 8),
        ),
        asks_for_state=True,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        legacy_reserve_allows=True,
        reports_unit_attention=False,
        needs_ready=False,
        while_sanitizing=True,
        while_reservations_lost=always,
        answered_when_failed=True,
        without_unit=request_sense_without_unit,
        shared=True,
        nvme=("Get Log Page", "Identify"),
    ),
)
