"""Namespace Write Protection, until it is taken back or the power goes.

Spec: NVMe Base 2.0c 5.27.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.subsystem import CONTROLLER
from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.fields import Values
from scsi2nvme.nvme.status import StatusCode

_WRITE_PROTECT, _UNTIL_POWER_CYCLE = 1, 1 << 1  # NWPC


def _check(controller: Controller, value: int) -> int:
    if value & 7 > 2:  # permanent protection is not offered (NWPC)
        raise invalid_field(44)
    return value & 7


def _apply(controller: Controller, command: Values) -> None:
    model = controller.model
    if model.sanitizing:
        raise CommandFailed(StatusCode.SANITIZE_IN_PROGRESS, dnr=False)
    for namespace in model.selected(command.nsid):
        if namespace.formatting is not None:
            raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
        namespace.write_protect = command.cdw11 & 7
        model.attach(namespace)
        model.emulator.flush(namespace.nsid)
        model.namespace_changed(namespace)
    model.save()


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    return {"nsattr": int(namespace.write_protect != 0)}


CAPABILITY = Capability(
    "Namespace Write Protection",
    features=(
        Feature(
            0x84,
            check=_check,
            apply=_apply,
            per_namespace=True,
            current=lambda controller, nsid: controller.model.namespace(nsid).write_protect,
        ),
    ),
    controller=lambda controller: {"nwpc": _WRITE_PROTECT | _UNTIL_POWER_CYCLE},
    any_namespace=_namespace,
    offered=lambda settings: not settings[CONTROLLER.keyword],  # of one alone
    lackable="write-protection",
)
