"""Which commands that people write themselves may be passed to a controller, and when.

Some never are: queues, their interrupts and events are the driver's. Others only look, so that
whoever may look may send them; some look at what is not everybody's. The rest may take from
initiators what they use, as the specification or the controller's own log of effects says.
"""

from __future__ import annotations

from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode

_DOORBELL_BUFFER_CONFIG, _FABRICS = 0x7C, 0x7F
_DRIVERS: dict[int, str] = {
    AdminOpcode.DELETE_SQ: "the driver alone keeps queues",
    AdminOpcode.CREATE_SQ: "the driver alone keeps queues",
    AdminOpcode.DELETE_CQ: "the driver alone keeps queues",
    AdminOpcode.CREATE_CQ: "the driver alone keeps queues",
    _DOORBELL_BUFFER_CONFIG: "the driver alone keeps queues",
    AdminOpcode.ABORT: "the driver alone knows its commands' identifiers",
    AdminOpcode.ASYNC_EVENT_REQUEST: "the driver alone waits for events",
    _FABRICS: "it is for controllers in a network",
}
# Features whose values the driver relies on.
_DRIVERS_FEATURES = {
    0x07: "the number of queues",
    0x08: "interrupt coalescing",
    0x09: "an interrupt vector's configuration",
    0x0B: "which events are told",
    0x0D: "the host memory buffer",
    0x16: "host behavior support",
}
_FID = 0xFF
_WRITE_PROTECTION = 0x84

# Logs that may hold what was written to the disk, or that only their vendor can read.
_PRIVATE_LOGS = {0x07, 0x08, 0x0D}
_VENDOR_LOGS = 0xC0
_LID = 0xFF

_LOOKING = {AdminOpcode.IDENTIFY, AdminOpcode.GET_FEATURES}
# What changes nothing that an initiator could notice, but looks at what is private, or takes time.
_HARMLESS_ADMIN = {
    *_LOOKING,
    AdminOpcode.GET_LOG_PAGE,
    AdminOpcode.GET_LBA_STATUS,
    AdminOpcode.DEVICE_SELF_TEST,
}
_HARMLESS = {
    Opcode.READ,
    Opcode.COMPARE,
    Opcode.VERIFY,
    Opcode.FLUSH,
    Opcode.RESERVATION_REPORT,
}
# Whatever a controller's log says of these.
_HARMFUL_ADMIN: dict[int, str] = {
    AdminOpcode.FORMAT_NVM: "it erases namespaces that are served",
    AdminOpcode.SANITIZE: "it erases namespaces that are served",
    AdminOpcode.NAMESPACE_MANAGEMENT: "it changes which namespaces there are",
    AdminOpcode.NAMESPACE_ATTACHMENT: "it changes which namespaces there are",
    AdminOpcode.SECURITY_SEND: "it may lock namespaces that are served",
    AdminOpcode.FIRMWARE_COMMIT: "it may change or stop the controller",
    AdminOpcode.FIRMWARE_DOWNLOAD: "it may change or stop the controller",
}


def refusal(command: NvmeCommand) -> str:
    """Return why a command is never passed, "" where it may be."""
    if not command.admin:
        return ""
    if command.opcode == AdminOpcode.SET_FEATURES:
        what = _DRIVERS_FEATURES.get(command.cdw10 & _FID)
        return f"the driver alone sets {what}" if what else ""
    return _DRIVERS.get(command.opcode, "")


def looks(command: NvmeCommand) -> bool:
    """Whether a command changes nothing, and tells nothing that is private."""
    if not command.admin:
        return False
    if command.opcode == AdminOpcode.GET_LOG_PAGE:
        lid = command.cdw10 & _LID
        return lid not in _PRIVATE_LOGS and lid < _VENDOR_LOGS
    return command.opcode in _LOOKING


def harmless(command: NvmeCommand) -> bool:
    """Whether a command changes nothing of the disk, whatever the controller says of it."""
    return command.opcode in (_HARMLESS_ADMIN if command.admin else _HARMLESS)


def danger(command: NvmeCommand, effects: Values | None) -> str:
    """Return what a command may do to namespaces that are served, "" for nothing.

    `effects` is what the controller's log says of it, None where there is no log.
    """
    if harmless(command):
        return ""
    if command.admin and command.opcode == AdminOpcode.SET_FEATURES:
        protects = command.cdw10 & _FID == _WRITE_PROTECTION
        return "it changes what initiators may write" if protects else ""
    if command.admin and command.opcode in _HARMFUL_ADMIN:
        return _HARMFUL_ADMIN[command.opcode]
    if not command.admin and command.opcode in set(Opcode):
        return "it changes blocks, or reservations, of a namespace that is served"
    if effects is None or not effects.csupp:
        return "nobody knows what it does to namespaces that are served"
    if effects.lbcc or effects.ncc or effects.nic or effects.ccc or effects.cse:
        return "it changes what is served, as the controller says (log 05h)"
    return ""
