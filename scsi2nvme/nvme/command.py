"""NVMe commands and completions as the translations see them.

Data pointers, command identifiers and queues are the driver's affair.
Spec: NVMe Base 2.0 3.3.3 (SQE) and 3.3.3.2 (CQE).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from scsi2nvme.records import dataclass

BROADCAST_NSID = 0xFFFFFFFF

_SQE = struct.Struct("<4IQ16x6I")  # CDW0, NSID, CDW2, CDW3, MPTR, DPTR, CDW10 to CDW15


class Opcode(IntEnum):
    """I/O commands. Spec: NVMe Base 2.0 figure 390, NVM Command Set 1.0 figure 10, ZNS 1.1b."""

    FLUSH = 0x00
    WRITE = 0x01
    READ = 0x02
    WRITE_UNCORRECTABLE = 0x04
    COMPARE = 0x05
    WRITE_ZEROES = 0x08
    DATASET_MANAGEMENT = 0x09
    VERIFY = 0x0C
    RESERVATION_REGISTER = 0x0D
    RESERVATION_REPORT = 0x0E
    RESERVATION_ACQUIRE = 0x11
    RESERVATION_RELEASE = 0x15
    COPY = 0x19
    ZONE_MANAGEMENT_SEND = 0x79
    ZONE_MANAGEMENT_RECEIVE = 0x7A
    ZONE_APPEND = 0x7D


class AdminOpcode(IntEnum):
    """Admin commands. Spec: NVMe Base 2.0 figure 138."""

    DELETE_SQ = 0x00
    CREATE_SQ = 0x01
    GET_LOG_PAGE = 0x02
    DELETE_CQ = 0x04
    CREATE_CQ = 0x05
    IDENTIFY = 0x06
    ABORT = 0x08
    SET_FEATURES = 0x09
    GET_FEATURES = 0x0A
    ASYNC_EVENT_REQUEST = 0x0C
    NAMESPACE_MANAGEMENT = 0x0D
    FIRMWARE_COMMIT = 0x10
    FIRMWARE_IMAGE_DOWNLOAD = 0x11
    DEVICE_SELF_TEST = 0x14
    NAMESPACE_ATTACHMENT = 0x15
    DIRECTIVE_SEND = 0x19
    DIRECTIVE_RECEIVE = 0x1A
    VIRTUALIZATION_MANAGEMENT = 0x1C
    NVME_MI_SEND = 0x1D
    NVME_MI_RECEIVE = 0x1E
    CAPACITY_MANAGEMENT = 0x20
    LOCKDOWN = 0x24
    FORMAT_NVM = 0x80
    SECURITY_SEND = 0x81
    SECURITY_RECEIVE = 0x82
    SANITIZE = 0x84
    GET_LBA_STATUS = 0x86


class Fuse(IntEnum):
    """Fused operation, CDW0 bits 9:8. Spec: NVMe Base 2.0 3.4.2."""

    NORMAL = 0
    FIRST = 1
    SECOND = 2


class DataMemory(Protocol):
    """Memory that a controller reaches, in which commands' data may stay."""

    def slice(self, offset: int, length: int) -> DataMemory:
        """Return a part of it."""

    def view(self) -> memoryview:
        """Return the memory itself, writable."""


@dataclass(frozen=True, slots=True)
class NvmeCommand:
    """One submission queue entry without its data pointer and identifier.

    `data_out` travels to the controller; `data_in` is how many bytes come back. With `memory`, of
    the controller's, its data are there and stay there, whichever way they go. `metadata_out` and
    `metadata_in` are the same of metadata in a buffer of their own, and only beside data that do
    not stay in `memory`. What a controller does not fill of what comes back is `prefill`.
    `timeout_s` None means the driver's default.
    """

    opcode: int
    nsid: int = 0
    cdw10: int = 0
    cdw11: int = 0
    cdw12: int = 0
    cdw13: int = 0
    cdw14: int = 0
    cdw15: int = 0
    data_out: bytes = b""
    data_in: int = 0
    admin: bool = False
    fuse: Fuse = Fuse.NORMAL
    timeout_s: float | None = None
    cdw2: int = 0
    cdw3: int = 0
    memory: DataMemory | None = None
    metadata_out: bytes = b""
    metadata_in: int = 0
    prefill: int = 0

    @property
    def name(self) -> str:
        """The command's name in the specification's spelling, for people."""
        table = AdminOpcode if self.admin else Opcode
        try:
            return table(self.opcode).name.replace("_", " ").title()
        except ValueError:
            return f"opcode {self.opcode:#04x}"

    @property
    def slba(self) -> int:
        """CDW10-11 as the starting LBA."""
        return self.cdw10 | self.cdw11 << 32

    @property
    def blocks(self) -> int:
        """NLB as a true count."""
        return (self.cdw12 & 0xFFFF) + 1

    def sqe(self, mptr: int = 0) -> bytes:
        """Return the 64-byte entry with CID, PSDT and DPTR zero."""
        own = (self.cdw10, self.cdw11, self.cdw12, self.cdw13, self.cdw14, self.cdw15)
        return _SQE.pack(self.opcode | self.fuse << 8, self.nsid, self.cdw2, self.cdw3, mptr, *own)


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion queue entry, and the data and metadata that came back.

    `status` is SCT << 8 | SC; zero is success. `dnr`, `more`: the bits of
    that name. `dw0` is the command-specific result. `sqid` and `cid` name the
    command in the controller's logs. `repeated`: it is that of a command that was sent before,
    and may have been executed then.
    """

    status: int = 0
    dw0: int = 0
    dnr: bool = False
    more: bool = False
    retry_delay: int = 0  # CRD
    data: bytes = b""
    sqid: int = 0
    cid: int = 0
    repeated: bool = False
    metadata: bytes = b""


Completed = Callable[[tuple[Completion, ...] | BaseException], None]
"""Takes the completions of commands that ran together, or the reason why there are none."""
