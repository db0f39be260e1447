"""The hot path as a pure function, for differential tests: of csrc/dataplane.h."""

from __future__ import annotations

from typing import Any

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.records import dataclass
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES

_SMALL, _LARGE = 4096, 65536  # chunks of the data plane's buffers
_READ = 0x02  # NVMe's operation code
# Of one CDB: a command for each block of 512 bytes.
_MOST_HOT_OPS = MAXIMUM_TRANSFER_BYTES // 512
_out = ffi.new("s2n_nvme_op[]", _MOST_HOT_OPS)  # two megabytes


@dataclass(frozen=True, slots=True)
class NvmeOp:
    """One NVMe command that the hot path would place. `sqe` lacks CID and data pointer.

    `data_out` is b"" for what reads, and where no data-out were given but are wanted.
    """

    opcode: int
    slba: int
    blocks: int
    cdw12: int
    nsid: int
    sqe: bytes
    data_out: bytes = b""
    phase: int = 0


def hot_translate(
    parameters: UnitParameters, cdb: bytes, data_out: bytes = b""
) -> list[NvmeOp] | None:
    """Return the hot path's translation of a CDB and its data; None where it steps aside."""
    memory = bytearray(data_out + bytes(room(len(data_out)) - len(data_out)))
    buffer = ffi.from_buffer(memory) if data_out else ffi.NULL
    count = lib.s2n_hot_translate(
        parameters.native, cdb, len(cdb), buffer, len(memory), _out, _MOST_HOT_OPS
    )
    if count < 0:
        return None
    return [
        NvmeOp(
            op.opcode,
            op.slba,
            op.blocks,
            op.cdw12,
            op.nsid,
            bytes(ffi.buffer(op.sqe)),
            told(op) or (carried(memory, op) if data_out else b""),
            op.phase,
        )
        for op in _out[0:count]
    ]


def hot_miscompare(
    parameters: UnitParameters, cdb: bytes, data_out: bytes, medium: bytes, *, descriptor: bool
) -> bytes | None:
    """Return the sense data of a command that compares blocks which have become `medium`.

    These are not those that it expects. b"": the engine tells; None: it does not compare, or
    the hot path steps aside.
    """
    memory = bytearray(data_out + bytes(room(len(data_out)) - len(data_out)))
    sense = ffi.new("uint8_t[]", lib.S2N_SENSE_BYTES)
    length = lib.s2n_hot_compare(
        *(parameters.native, cdb, len(cdb), ffi.from_buffer(memory), len(memory)),
        *(medium, descriptor, sense),
    )
    return None if length < 0 else bytes(sense[0:length])


def room(data_bytes: int) -> int:
    """Return how much memory the first chunk of a buffer for data is, or all of the buffer."""
    return max(_SMALL if data_bytes <= _SMALL else _LARGE, data_bytes)


def carried(memory: bytes | bytearray, op: Any) -> bytes:
    """Return the data-out of an NVMe command; `op` is an s2n_nvme_op."""
    size, period = int(op.data_bytes), int(op.period)
    if op.opcode == _READ:
        return b""
    if not period:
        return bytes(memory[op.data_at : op.data_at + size])
    return (bytes(memory[:period]) * (size // period + 1))[:size]


def told(op: Any) -> bytes:
    """Return what an NVMe command is given that is none of the initiator's data."""
    return bytes(op.told)[: op.data_bytes] if op.tells else b""


def hot_data_bytes(cdb: bytes, block_bytes: int) -> tuple[int, int]:
    """Return the bytes of data that a CDB announces, and 0 none, 1 in or 2 out."""
    direction = ffi.new("uint8_t *")
    count = lib.s2n_hot_data_bytes(cdb, len(cdb), block_bytes, direction)
    return int(count), int(direction[0])
