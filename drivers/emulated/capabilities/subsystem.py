"""Several controllers of one NVM subsystem, on one disk image, each in any process.

They have its namespaces in common. What changes a namespace for all of them, they do not offer:
Format NVM and Namespace Write Protection. Spec: NVMe Base 2.0c 2.4.1.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.native.emulator import CONTROLLERS

_SEVERAL_CONTROLLERS = 1 << 1  # CMIC
_SHARED = 1 << 0  # NMIC


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) < CONTROLLERS):
        raise ValueError(f"is not a number from 1 to {CONTROLLERS - 1}")
    return int(text)


CONTROLLER = Option(
    "controller",
    "N",
    f"be controller N, 1 to {CONTROLLERS - 1}, of several that share the disk image, each with a "
    "number of its own (emulated only; default: the only one)",
    _number,
    35,
    "controller_number",
    subject="others beside them",
)


def _controller(controller: Controller) -> Fields:
    number = controller.settings[CONTROLLER.keyword]
    return {"cntlid": number, "cmic": _SEVERAL_CONTROLLERS if number else 0}


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    return {"nmic": _SHARED if controller.settings[CONTROLLER.keyword] else 0}


CAPABILITY = Capability(
    "NVM subsystem",
    controller=_controller,
    any_namespace=_namespace,
    options=(CONTROLLER,),
    settings={CONTROLLER.keyword: 0},
)
