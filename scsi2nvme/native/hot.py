"""The hot path as a pure function, for differential tests: of csrc/dataplane.h."""

from __future__ import annotations

from dataclasses import dataclass

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.plane import UnitParameters
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES

# Of one CDB: a command for each block of 512 bytes.
_MOST_HOT_OPS = MAXIMUM_TRANSFER_BYTES // 512


@dataclass(frozen=True, slots=True)
class NvmeOp:
    """One NVMe command that the hot path would place. `sqe` lacks CID and data pointer."""

    opcode: int
    slba: int
    blocks: int
    cdw12: int
    nsid: int
    sqe: bytes


def hot_translate(parameters: UnitParameters, cdb: bytes) -> list[NvmeOp] | None:
    """Return the hot path's translation of a CDB; None where it steps aside."""
    out = ffi.new("s2n_nvme_op[]", _MOST_HOT_OPS)
    count = lib.s2n_hot_translate(parameters.native, cdb, len(cdb), out, _MOST_HOT_OPS)
    if count < 0:
        return None
    return [
        NvmeOp(op.opcode, op.slba, op.blocks, op.cdw12, op.nsid, bytes(ffi.buffer(op.sqe)))
        for op in out[0:count]
    ]


def hot_data_bytes(cdb: bytes, block_bytes: int) -> tuple[int, int]:
    """Return the bytes of data that a CDB announces, and 0 none, 1 in or 2 out."""
    direction = ffi.new("uint8_t *")
    count = lib.s2n_hot_data_bytes(cdb, len(cdb), block_bytes, direction)
    return int(count), int(direction[0])
