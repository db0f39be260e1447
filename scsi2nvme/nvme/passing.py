"""Which commands that people write themselves may be passed to a controller, and when.

Some never are: queues, their interrupts and events are the driver's. Others only look, so that
whoever may look may send them; some look at what is not everybody's. The rest may take from
initiators what they use, as the specification or the controller's own log of effects says.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from scsi2nvme.fields import Values
from scsi2nvme.nvme import features
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.directives import DirectiveType, Receive
from scsi2nvme.nvme.management import MOST_BYTES, ManagementOpcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.nvme.structures import IDENTIFY_BYTES
from scsi2nvme.nvme.zoned import SET_DESCRIPTOR_EXTENSION


class Management(IntEnum):
    """What Namespace Management does, by SEL. Spec: NVMe Base 2.0c 5.20."""

    CREATE = 0
    DELETE = 1


class Attachment(IntEnum):
    """What Namespace Attachment does, by SEL. Spec: NVMe Base 2.0c 5.19."""

    ATTACH = 0
    DETACH = 1


_SEL = 0xF
_DOORBELL_BUFFER_CONFIG, _FABRICS = 0x7C, 0x7F
# I/O commands of NVMe 2.1.
IO_MANAGEMENT_RECEIVE, _CANCEL, IO_MANAGEMENT_SEND = 0x12, 0x18, 0x1D
_HANDLES_UPDATE = 1  # Management Operation of I/O Management Send: two bytes for each
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
_HOST_IDENTIFIER, _EXTENDED, _EXTENDED_BYTES = 0x81, 1, 16
_MOST_FEATURE_BYTES = 4096
# Host metadata, of controllers and namespaces; and of what placement of data is told, a byte each.
_METADATA_FEATURES, _PLACEMENT_EVENTS = (0x7D, 0x7E, 0x7F), 0x1E
# Features that take nothing from initiators: what these see of them they are told.
_HARMLESS_FEATURES = {
    *(0x01, 0x02, 0x03, 0x04, 0x05, 0x06),  # arbitration, power, ranges, heat, recovery, cache
    *(0x0C, 0x0E, 0x10, 0x11, 0x12),  # power, clock, heat, power, read recovery level
    *(0x13, 0x14, 0x15, 0x17, 0x18),  # latency, what events tell, how to sanitize
    0x80,  # software progress marker
}
_HARMFUL_FEATURES = {
    0x0A: "it changes what is written at once or not at all",
    0x0F: "the controller stops where nobody keeps it alive",
    0x19: "it changes which namespaces there are",
    0x81: "it changes whose reservations there are",
    0x82: "it keeps from initiators what other hosts do to their reservations",
    0x84: "it changes what initiators may write",
}

# Logs that may hold what was written to the disk, boot partitions among it, or that only their
# vendor can read; and that of the link, which may begin a measurement of it.
_PRIVATE_LOGS = {0x07, 0x08, 0x0D, 0x15, 0x19}
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
    IO_MANAGEMENT_RECEIVE,
}
_UNKNOWN = "nobody knows what it does to namespaces that are served"
# Whatever a controller's log says of these.
_HARMFUL_ADMIN: dict[int, str] = {
    AdminOpcode.FORMAT_NVM: "it erases namespaces that are served",
    AdminOpcode.SANITIZE: "it erases namespaces that are served",
    AdminOpcode.NAMESPACE_MANAGEMENT: "it takes away namespaces that are served",
    AdminOpcode.NAMESPACE_ATTACHMENT: "it takes away namespaces that are served",
    AdminOpcode.SECURITY_SEND: "it may lock namespaces that are served",
    AdminOpcode.FIRMWARE_COMMIT: "it may change or stop the controller",
    AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD: "it may change or stop the controller",
    AdminOpcode.CAPACITY_MANAGEMENT: "it changes which namespaces there are",
    AdminOpcode.DIRECTIVE_SEND: "it changes which streams writes may name",
    AdminOpcode.VIRTUALIZATION_MANAGEMENT: "it may change or stop the controller",
    AdminOpcode.NVME_MI_SEND: "it may change or stop the controller",
    AdminOpcode.LOCKDOWN: "it may forbid commands that initiators use",
}


def _feature_bytes(command: NvmeCommand) -> int:
    fid = command.cdw10 & _FID
    if fid == _HOST_IDENTIFIER and command.cdw11 & _EXTENDED:
        return _EXTENDED_BYTES
    if fid in _METADATA_FEATURES:
        return _MOST_FEATURE_BYTES
    if fid == _PLACEMENT_EVENTS:
        return command.cdw11 >> 16 & 0xFF
    row = features.BY_FID.get(fid)
    return 0 if row is None else row.data_bytes


_COPY_RANGE_BYTES = (32, 40)  # of descriptor formats 0 and 2, 1 and 3

# How many bytes the controller moves, as the command itself says; data may be fewer for some.
_MOVED_ADMIN: dict[int, Callable[[NvmeCommand], int]] = {
    AdminOpcode.IDENTIFY: lambda command: IDENTIFY_BYTES,
    AdminOpcode.GET_FEATURES: lambda command: _MOST_FEATURE_BYTES,
    AdminOpcode.GET_LOG_PAGE: lambda command: (
        4 * ((command.cdw10 >> 16 | (command.cdw11 & 0xFFFF) << 16) + 1)
    ),
    AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD: lambda command: 4 * (command.cdw10 + 1),
    AdminOpcode.SET_FEATURES: _feature_bytes,
    AdminOpcode.NAMESPACE_MANAGEMENT: lambda command: (
        IDENTIFY_BYTES if command.cdw10 & _SEL == Management.CREATE else 0
    ),
    AdminOpcode.NAMESPACE_ATTACHMENT: lambda command: IDENTIFY_BYTES,
    # No operation of Identify or Streams has any.
    AdminOpcode.DIRECTIVE_SEND: lambda command: (
        0 if command.cdw11 >> 8 & 0xFF in tuple(DirectiveType) else 4 * (command.cdw10 + 1)
    ),
    AdminOpcode.DIRECTIVE_RECEIVE: lambda command: 4 * (command.cdw10 + 1),
    # The longest message there is: how long one is depends on what it asks.
    AdminOpcode.NVME_MI_RECEIVE: lambda command: MOST_BYTES,
    # Of messages that send data only this one's length is known here.
    AdminOpcode.NVME_MI_SEND: lambda command: (
        command.cdw13 & 0xFFFF if command.cdw11 & 0xFF == ManagementOpcode.SES_SEND else 0
    ),
    AdminOpcode.SECURITY_SEND: lambda command: command.cdw11,
    AdminOpcode.SECURITY_RECEIVE: lambda command: command.cdw11,
    AdminOpcode.GET_LBA_STATUS: lambda command: 4 * (command.cdw12 + 1),
}
_MOVED: dict[int, Callable[[NvmeCommand], int]] = {
    Opcode.DATASET_MANAGEMENT: lambda command: 16 * ((command.cdw10 & 0xFF) + 1),
    Opcode.RESERVATION_REGISTER: lambda command: 16,
    Opcode.RESERVATION_ACQUIRE: lambda command: 16,
    Opcode.RESERVATION_RELEASE: lambda command: 8,
    Opcode.RESERVATION_REPORT: lambda command: 4 * (command.cdw10 + 1),
    Opcode.COPY: lambda command: (
        _COPY_RANGE_BYTES[command.cdw12 >> 8 & 1] * ((command.cdw12 & 0xFF) + 1)
    ),
    IO_MANAGEMENT_SEND: lambda command: (
        2 * ((command.cdw10 >> 16) + 1) if command.cdw10 & 0xFF == _HANDLES_UPDATE else 0
    ),
    IO_MANAGEMENT_RECEIVE: lambda command: 4 * (command.cdw11 + 1),
    Opcode.ZONE_MANAGEMENT_RECEIVE: lambda command: 4 * (command.cdw12 + 1),
}
_PRACT = 1 << 29
_MOVES_BLOCKS = {Opcode.READ, Opcode.WRITE, Opcode.COMPARE, Opcode.ZONE_APPEND}


def moved_bytes(command: NvmeCommand, facts: NamespaceFacts | None) -> int:
    """Return how many bytes a controller may move, whatever room it is given: 0 if nobody knows.

    `facts`: of the command's namespace.
    """
    if not command.admin and command.opcode in _MOVES_BLOCKS:
        return 0 if facts is None else command.blocks * _moved_block_bytes(command, facts)
    if not command.admin and command.opcode == Opcode.ZONE_MANAGEMENT_SEND:
        sets = command.cdw13 & 0xFF == SET_DESCRIPTOR_EXTENSION
        return facts.zones.extension_bytes if sets and facts and facts.zones else 0
    says = (_MOVED_ADMIN if command.admin else _MOVED).get(command.opcode)
    return 0 if says is None else says(command)


def _moved_block_bytes(command: NvmeCommand, facts: NamespaceFacts) -> int:
    """Return the bytes of a block and of what is moved behind it."""
    behind = 0 if _keeps_metadata(command, facts) else facts.interleaved_bytes
    return facts.block_bytes + behind


def _keeps_metadata(command: NvmeCommand, facts: NamespaceFacts) -> bool:
    """Whether the controller makes or strips all the metadata. Spec: NVM Command Set 1.0b 5.2.2."""
    tuples_alone = facts.protection_type and facts.lba_format.ms == TUPLE_BYTES
    return bool(tuples_alone and command.cdw12 & _PRACT)


def metadata_bytes(command: NvmeCommand, facts: NamespaceFacts) -> int:
    """Return how many bytes a command moves of metadata in a buffer of their own (MPTR).

    Where that is 0 a disk takes them from, or puts them, there all the same.
    """
    if command.admin or command.opcode not in _MOVES_BLOCKS or facts.interleaved_bytes:
        return 0
    return 0 if _keeps_metadata(command, facts) else command.blocks * facts.lba_format.ms


def refusal(command: NvmeCommand) -> str:
    """Return why a command is never passed, "" where it may be."""
    if not command.admin:
        return _DRIVERS[AdminOpcode.ABORT] if command.opcode == _CANCEL else ""
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
    return command.opcode in _LOOKING or directive_only_looks(command)


def harmless(command: NvmeCommand) -> bool:
    """Whether a command changes nothing of the disk, whatever the controller says of it."""
    if command.admin and directive_only_looks(command):
        return True
    return command.opcode in (_HARMLESS_ADMIN if command.admin else _HARMLESS)


def directive_only_looks(command: NvmeCommand) -> bool:
    """Whether an admin command returns what a directive is, or has open, and gives nothing."""
    operation, directive = command.cdw11 & 0xFF, command.cdw11 >> 8 & 0xFF
    return (
        command.opcode == AdminOpcode.DIRECTIVE_RECEIVE
        and directive in tuple(DirectiveType)
        and operation in (Receive.PARAMETERS, Receive.STATUS)
    )


def adds(command: NvmeCommand) -> bool:
    """Whether a command makes a namespace, or attaches one: no other is concerned."""
    select = command.cdw10 & _SEL
    if not command.admin:
        return False
    if command.opcode == AdminOpcode.NAMESPACE_MANAGEMENT:
        return select == Management.CREATE
    return command.opcode == AdminOpcode.NAMESPACE_ATTACHMENT and select == Attachment.ATTACH


def removes(command: NvmeCommand) -> bool:
    """Whether a command deletes or detaches the namespace that it names."""
    select = command.cdw10 & _SEL
    if not command.admin:
        return False
    if command.opcode == AdminOpcode.NAMESPACE_MANAGEMENT:
        return select == Management.DELETE
    return command.opcode == AdminOpcode.NAMESPACE_ATTACHMENT and select == Attachment.DETACH


def danger(command: NvmeCommand, effects: Values | None) -> str:
    """Return what a command may do to namespaces that are served, "" for nothing.

    `effects` is what the controller's log says of it, None where there is no log.
    """
    if harmless(command):
        return ""
    if command.admin and command.opcode == AdminOpcode.SET_FEATURES:
        fid = command.cdw10 & _FID
        return "" if fid in _HARMLESS_FEATURES else _HARMFUL_FEATURES.get(fid, _UNKNOWN)
    if adds(command):
        return ""
    if command.admin and command.opcode in _HARMFUL_ADMIN:
        return _HARMFUL_ADMIN[command.opcode]
    if not command.admin and command.opcode in set(Opcode):
        return "it changes blocks, or reservations, of a namespace that is served"
    if effects is None or not effects.csupp:
        return _UNKNOWN
    if effects.lbcc or effects.ncc or effects.nic or effects.ccc or effects.cse:
        return "it changes what is served, as the controller says (log 05h)"
    return ""
