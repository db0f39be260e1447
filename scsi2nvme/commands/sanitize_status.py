"""How a sanitize operation goes on: what the controller's log tells, and who follows it.

The operation is the controller's own: no host stops it, and it goes on over resets, restarts and
the loss of power. So what it is now is always read from the Sanitize Status log, whoever has
begun it: a SANITIZE command, an earlier process, or another host.

Spec: NVMe Base 2.0c 8.21, 5.16.1.25; SBC-4 4.11.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from scsi2nvme.commands.log_pages.page import Log, get_log
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS, SANITIZE_STATUS_LOG
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, NvmeError, Progress, Result, Translation, check_condition
from scsi2nvme.scsi.sense import SANITIZE_COMMAND_FAILED, Sense
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.sanitizing import Phase

STATUS_LOG = Log("SANITIZE STATUS", SANITIZE_STATUS_LOG, SANITIZE_STATUS.size)
AUSE, NDAS = 1 << 3, 1 << 9  # CDW10 of Sanitize
FIRST_POLL_S, LONGEST_POLL_S = 0.1, 1.0
MOST_FAILURES = 60  # of questions in turn, until it is only asked when an initiator does
REFUSALS = frozenset({StatusCode.SANITIZE_IN_PROGRESS, StatusCode.SANITIZE_FAILED})

_DONE, _RUNNING, _FAILED, _DONE_DEALLOCATED = 1, 2, 3, 4  # SSTAT

Conversation = Generator[NvmeCommand, Any, Values]


def read_status(lu: LogicalUnit) -> Conversation:
    """Return the log, and bring the state of all logical units in line with it.

    An operation is only known to have failed from here: see `pick_up`.
    """
    begun = lu.sanitizing.begun
    completion = yield get_log(STATUS_LOG)
    log = SANITIZE_STATUS.parse(completion.data)
    if lu.sanitizing.beginning or lu.sanitizing.begun != begun:
        return log  # it may be from before
    dealt = log.state == _DONE_DEALLOCATED or (log.state == _DONE and not log.cdw10_info & NDAS)
    lu.sanitizing.erased = bool(dealt and log.global_erased)
    if log.state == _RUNNING:
        enter(lu, Phase.RUNNING, progress=log.sprog)
    elif lu.sanitizing.running:
        failed = log.state == _FAILED
        restricted = not log.cdw10_info & AUSE
        enter(lu, Phase.FAILED if failed else Phase.NONE, restricted=restricted)
    return log


def enter(lu: LogicalUnit, phase: Phase, *, progress: int = 0, restricted: bool = False) -> None:
    """Have all logical units of the controller know where the operation is."""
    state = lu.sanitizing
    before = state.phase
    state.phase, state.progress, state.restricted = phase, progress, restricted
    if before is phase:
        lu.epoch.advance()  # it is told by some answers how far it is
        return
    for each in units(lu):
        each.on_change()


def units(lu: LogicalUnit) -> list[LogicalUnit]:
    """Return all logical units of the controller, this one first."""
    return [lu, *(each for each in lu.controller_units if each is not lu)]


def refresh_progress(lu: LogicalUnit) -> Translation:
    """Ask the controller how far the operation under way has come, for `lu.sanitizing`."""
    try:
        yield from read_status(lu)
    except NvmeError:
        return GOOD  # what was known before still holds
    return GOOD


def watch(lu: LogicalUnit) -> Translation:
    """Follow the operation under way to its end, and return how the command ends that began it."""
    state, pause_s, failures = lu.sanitizing, FIRST_POLL_S, 0
    state.watcher = lu
    try:
        while True:
            # `pick_up` follows if the controller is back, or by way of another logical unit.
            if lu.readiness is Readiness.FAILED:
                assert lu.not_ready is not None
                return check_condition(lu.not_ready)
            try:
                yield from read_status(lu)
                failures = 0
            except NvmeError as error:
                failures += 1
                if failures == MOST_FAILURES:
                    return result_of(error)
            if not state.running:
                break
            yield Progress(state.progress, pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
    finally:
        if state.watcher is lu:
            state.watcher = None
    if state.phase is Phase.FAILED:
        return check_condition(Sense(SANITIZE_COMMAND_FAILED))
    return GOOD


def watched(lu: LogicalUnit) -> bool:
    """Whether somebody follows the operation under way, and goes on to do so."""
    watcher = lu.sanitizing.watcher
    return isinstance(watcher, LogicalUnit) and watcher.readiness is not Readiness.FAILED


def pick_up(lu: LogicalUnit) -> Translation:
    """Follow an operation that somebody else has begun, or an earlier process of ours.

    The log tells of a failure that was left by Exit Failure Mode, too: whether blocks can be read
    tells the two apart.
    """
    if lu.readiness is Readiness.FAILED:
        return GOOD  # it has gone meanwhile
    try:
        log = yield from read_status(lu)
        if log.state == _FAILED and not lu.sanitizing.running:
            yield from _probe(lu, restricted=not log.cdw10_info & AUSE)
        elif lu.sanitizing.phase is Phase.FAILED:
            enter(lu, Phase.NONE)  # by way of another host
    except NvmeError as error:
        return result_of(error)
    if lu.sanitizing.running and not watched(lu):
        return (yield from watch(lu))
    return GOOD


def _probe(lu: LogicalUnit, *, restricted: bool) -> Generator[NvmeCommand, Any, None]:
    try:
        yield NvmeCommand(Opcode.READ, nsid=lu.nsid, data_in=lu.block_bytes)
    except NvmeError as error:
        failed = error.completion.status == StatusCode.SANITIZE_FAILED
        if failed and not lu.sanitizing.running:
            enter(lu, Phase.FAILED, restricted=restricted)
        return
    if lu.sanitizing.phase is Phase.FAILED:
        enter(lu, Phase.NONE)


def noticed(lu: LogicalUnit, result: Result) -> Result:
    """Return a result with what follows the operation that a command has been refused for.

    Nobody need do so where somebody does already, or is about to.
    """
    state = lu.sanitizing
    if watched(lu) or state.beginning or state.phase is Phase.FAILED:
        return result
    return Result(result.status, result.sense, background=pick_up(lu))


def all_deallocated(lu: LogicalUnit) -> Generator[NvmeCommand, Any, bool]:
    """Whether nothing was written, by whoever, since all was erased and deallocated.

    Once something was, only another operation can change that: nobody is asked until then.
    """
    if not lu.sanitizing.erased:
        return False
    try:
        yield from read_status(lu)
    except NvmeError:
        return False
    return lu.sanitizing.erased
