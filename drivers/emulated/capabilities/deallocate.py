"""Thin provisioning: Dataset Management, and Write Zeroes that deallocates.

Spec: NVM Command Set 1.0c 3.2.3, 3.2.8.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.model import LBCC
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode

THIN = Option(
    "thin",
    "on|off",
    "emulated only: whether blocks can be deallocated (default on)",
    parse_switch,
    60,
    "thin",
    subject="a choice",
)
THINP = Option(
    "thinp",
    "on|off",
    "emulated only, of a disk on a file: tell how much of the file is in use (NUSE), as thin "
    "namespaces do (default off: all of it)",
    parse_switch,
    61,
    "tells_use",
    subject="a choice",
)
_NSFEAT_THIN = 1
_ONCS_DATASET_MANAGEMENT = 1 << 2
_READS_ZEROES, _WRITE_ZEROES_DEALLOCATES = 1, 1 << 3  # DLFEAT


def _is_thin(controller: Controller) -> bool:
    return bool(controller.settings[THIN.keyword])


def _start(controller: Controller) -> None:
    controller.model.tells_use = controller.settings[THINP.keyword]
    if not _is_thin(controller):
        controller.model.emulator.add_fault(
            opcode=Opcode.DATASET_MANAGEMENT, status=StatusCode.INVALID_OPCODE
        )


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    return {
        "dlfeat": _is_thin(controller) * (_READS_ZEROES | _WRITE_ZEROES_DEALLOCATES),
        "nsfeat": _NSFEAT_THIN if controller.settings[THINP.keyword] else 0,
    }


CAPABILITY = Capability(
    "deallocation",
    io_commands={Opcode.DATASET_MANAGEMENT: LBCC},
    controller=lambda controller: {"oncs": _is_thin(controller) * _ONCS_DATASET_MANAGEMENT},
    namespace=_namespace,
    options=(THIN, THINP),
    settings={THIN.keyword: True, THINP.keyword: False},
    start=_start,
)
