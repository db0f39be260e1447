"""What has failed in the disk: how the engine is told of it, and how the log is."""

from __future__ import annotations

import logging

from scsi2nvme import engine
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import Event, PlaneTask
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import LOGICAL_UNIT_NOT_SUPPORTED, Sense, SenseKey
from scsi2nvme.scsi.status import Status

log = logging.getLogger(__name__)

_FAULTS = (SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR)


def tell_fault(request: engine.Request, result: Result) -> None:
    """Log a command that the disk has failed: not every initiator's log is read."""
    sense, unit, command = result.sense, request.unit, request.command
    if unit is None or command is None or sense is None or sense.key not in _FAULTS:
        return
    serial = unit.facts.controller.text("sn").strip()
    block = "" if sense.information is None else f", block {sense.information}"
    tell(
        log,
        logging.WARNING,
        "medium-error",
        "disk %s, namespace %d: %s of %s: %s%s",
        *(serial, unit.nsid, command.name, request.nexus.who, sense.code, block),
        disk=serial,
        namespace=str(unit.nsid),
        initiator=request.nexus.initiator.device,
    )


def error_of(event: Event, nsid: int) -> NvmeError:
    """Return the failure that an event tells of: that at the lowest LBA."""
    command = NvmeCommand(
        event.nvme_opcode,
        nsid=nsid,
        cdw10=event.lba & 0xFFFFFFFF,
        cdw11=event.lba >> 32,
        cdw12=event.count - 1,
    )
    completion = Completion(
        event.status, dnr=event.dnr, more=event.more, sqid=event.qid, cid=event.cid
    )
    return NvmeError(command, completion)


def uncertain(failure: NvmeError) -> NvmeError:
    """Return what a lost controller's failure is to a command that still has its blocks alone.

    Nobody else changes them: what reads, and what writes after it has compared, may be repeated.
    Whether a pair was done is for the command to find out. Spec: SBC-3 5.2.
    """
    return NvmeError(failure.command, Completion(StatusCode.TRANSIENT_TRANSPORT_ERROR))


def end_unbegun(task: PlaneTask) -> None:
    """End a task that is aborted, or of a nexus that has ended, or for another logical unit.

    What has come in the place of that must not get it: nobody is asked to send it again.
    """
    if task.misrouted and not task.aborted:
        task.end(Status.CHECK_CONDITION, Sense(LOGICAL_UNIT_NOT_SUPPORTED).data(False))
    else:
        task.end(Status.BUSY)
