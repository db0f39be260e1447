"""What goes on after the status has been sent (IMMED=1), and how its failure is told."""

from __future__ import annotations

from dataclasses import replace

from scsi2nvme.command import Task
from scsi2nvme.scsi.result import CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE, Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of


def in_background(task: Task, work: Translation) -> Result:
    """Return GOOD at once and leave `work` to the background.

    Its failure becomes a deferred error of the nexus that asked. Spec: SPC-4 4.5.5.
    """
    return Result(background=_deferring(task, work))


def _deferring(task: Task, work: Translation) -> Translation:
    try:
        result = yield from work
    except CheckCondition as error:
        result = Result(Status.CHECK_CONDITION, error.sense)
    except NvmeError as error:
        result = result_of(error)
    if result.status is not Status.GOOD:
        sense = replace(result.sense or Sense(INTERNAL_TARGET_FAILURE), deferred=True)
        task.lu.unit_attentions.setdefault(task.nexus.key, []).append(sense)
        task.lu.on_change()
    return result
