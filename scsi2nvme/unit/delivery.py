"""What lies between an initiator and a logical unit. Spec: SAM-5 4.4 (service delivery)."""

from __future__ import annotations

from scsi2nvme.records import dataclass
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.scsi.task_management import TaskManagement


@dataclass(frozen=True, slots=True)
class ServiceDelivery:
    """What the transport of an I_T nexus does for it; by default the least that any does.

    `version_descriptor`: the transport protocol's (SPC-4 6.6.2), 0: it is not known.
    `functions`: what an initiator may ask of a task manager, ours or another on the way.
    `attributes`: those task attributes that arrive, and so have an effect.
    `protection`: whether protection information travels behind each block.
    """

    version_descriptor: int = 0
    functions: frozenset[TaskManagement] = frozenset(
        {TaskManagement.ABORT_TASK, TaskManagement.LOGICAL_UNIT_RESET}
    )
    attributes: frozenset[TaskAttribute] = frozenset({TaskAttribute.SIMPLE})
    protection: bool = False
