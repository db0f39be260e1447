"""Admin commands, in the one form that they have. Spec: NVMe Base 2.0c 5."""

from __future__ import annotations

import struct
from enum import IntEnum

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import IDENTIFY_BYTES

# Identify data structures. Spec: NVMe Base 2.0c 5.17.
CNS_NAMESPACE, CNS_CONTROLLER, CNS_ACTIVE_LIST, CNS_DESCRIPTORS = 0, 1, 2, 3
CNS_COMMAND_SET_NAMESPACE, CNS_COMMAND_SET_CONTROLLER = 5, 6
CNS_ATTACHED_CONTROLLERS, CNS_CONTROLLERS = 0x12, 0x13


def controller_list(data: bytes) -> tuple[int, ...]:
    """Return the identifiers in what these tell. Spec: NVMe Base 2.0c 4.4.1."""
    count = min(int.from_bytes(data[:2], "little"), len(data) // 2 - 1)
    return struct.unpack_from(f"<{count}H", data, 2)


class Feature(IntEnum):
    """Feature identifiers. Spec: NVMe Base 2.0c figure 317."""

    LBA_RANGE_TYPE = 0x03
    TEMPERATURE_THRESHOLD = 0x04
    NUMBER_OF_QUEUES = 0x07
    INTERRUPT_VECTOR = 0x09
    ASYNC_EVENTS = 0x0B
    HOST_MEMORY_BUFFER = 0x0D
    TIMESTAMP = 0x0E
    READ_RECOVERY_LEVEL = 0x12
    PREDICTABLE_LATENCY = 0x13
    PREDICTABLE_LATENCY_WINDOW = 0x14
    HOST_BEHAVIOR = 0x16
    ENDURANCE_GROUP_EVENTS = 0x18
    HOST_IDENTIFIER = 0x81


class LogPage(IntEnum):
    """Log page identifiers. Spec: NVMe Base 2.0c 5.16."""

    ERROR = 0x01
    SMART = 0x02
    FIRMWARE = 0x03
    CHANGED_NAMESPACES = 0x04
    RESERVATION_NOTIFICATION = 0x80
    SANITIZE_STATUS = 0x81


def identify(cns: int, nsid: int = 0, *, csi: int = 0, cntid: int = 0) -> NvmeCommand:
    """Return an Identify command. Spec: NVMe Base 2.0c 5.17."""
    return NvmeCommand(
        AdminOpcode.IDENTIFY,
        nsid,
        cdw10=cns | cntid << 16,
        cdw11=csi << 24,
        data_in=IDENTIFY_BYTES,
        admin=True,
    )


def get_features(
    fid: int, *, nsid: int = 0, select: int = 0, cdw11: int = 0, data_in: int = 0
) -> NvmeCommand:
    """Return a Get Features command; `data_in` bytes where the feature has data.

    Spec: NVMe Base 2.0c 5.15.
    """
    return NvmeCommand(
        AdminOpcode.GET_FEATURES,
        nsid,
        cdw10=fid | select << 8,
        cdw11=cdw11,
        data_in=data_in,
        admin=True,
    )


def set_features(
    fid: int, cdw11: int = 0, *, nsid: int = 0, save: bool = False, data_out: bytes = b""
) -> NvmeCommand:
    """Return a Set Features command. Spec: NVMe Base 2.0c 5.27."""
    return NvmeCommand(
        AdminOpcode.SET_FEATURES,
        nsid,
        cdw10=fid | save << 31,
        cdw11=cdw11,
        data_out=data_out,
        admin=True,
    )


def create_cq(qid: int, depth: int, vector: int | None) -> NvmeCommand:
    """Return Create I/O Completion Queue for contiguous memory; no vector: no interrupt.

    `depth` is a true count of entries. Spec: NVMe Base 2.0c 5.4.
    """
    interrupt = 0 if vector is None else vector << 16 | 1 << 1
    cdw10 = qid | (depth - 1) << 16
    return NvmeCommand(AdminOpcode.CREATE_CQ, cdw10=cdw10, cdw11=interrupt | 1, admin=True)


def create_sq(qid: int, depth: int) -> NvmeCommand:
    """Return Create I/O Submission Queue for contiguous memory, with the CQ of that number.

    `depth` is a true count of entries. Spec: NVMe Base 2.0c 5.5.
    """
    cdw10 = qid | (depth - 1) << 16
    return NvmeCommand(AdminOpcode.CREATE_SQ, cdw10=cdw10, cdw11=qid << 16 | 1, admin=True)


def abort(sqid: int, cid: int, timeout_s: float) -> NvmeCommand:
    """Return an Abort command, which itself may take `timeout_s`. Spec: NVMe Base 2.0c 5.1."""
    return NvmeCommand(AdminOpcode.ABORT, cdw10=sqid | cid << 16, admin=True, timeout_s=timeout_s)
