"""What the hot path must know of a logical unit: s2n_lu_params of csrc/dataplane.h."""

from __future__ import annotations

from typing import Any

from scsi2nvme._dataplane import ffi
from scsi2nvme.records import dataclass
from scsi2nvme.unit.block_device import MAXIMUM_WRITE_SAME_BLOCKS, BlockDevice, UnmapLimits

_LONGEST_BOUNDARY = (1 << 32) - 1  # blocks


@dataclass(frozen=True, slots=True)
class UnitParameters:
    """What the hot path must know of a logical unit. See s2n_lu_params."""

    nsid: int
    block_bytes: int
    blocks: int
    maximum_blocks: int
    boundary_blocks: int
    volatile_cache: bool
    compares: bool = False
    fused_blocks: int = 0
    verify_blocks: int = 0
    write_zeroes_blocks: int = 0
    write_zeroes_deallocates: bool = False
    unmap: UnmapLimits | None = None
    hint_blocks: int = 0
    protection_read: int = 0
    protection_write: int = 0
    protection_verify: int = 0
    protection_tagged: bool = False
    tuple_bytes: int = 0
    atomic_blocks: int = 0
    atomic_alignment: int = 1
    fenced_by_disk: bool = False
    zone_blocks: int = 0
    zone_capacity: int = 0
    grouped_streams: int = 0
    read_hints: bytes = b""  # of each group; none at all: nothing is said
    write_hints: bytes = b""

    @classmethod
    def of(cls, device: BlockDevice) -> UnitParameters:
        """Return what the hot path must know of a block device."""
        kept, atomic = device.facts.protection, device.atomic_limits()
        zones, boundary = device.zones, device.optimal_boundary_blocks
        hints = device.access_hints
        return cls(
            nsid=device.nsid,
            block_bytes=device.block_bytes,
            blocks=device.capacity_blocks,
            maximum_blocks=device.nvme_maximum_blocks,
            # A zone may be longer, but nothing that is hot crosses its end.
            boundary_blocks=boundary if boundary <= _LONGEST_BOUNDARY else 0,
            volatile_cache=device.volatile_write_cache,
            compares=device.compares,
            fused_blocks=device.fused_blocks,
            verify_blocks=device.verify_blocks,
            write_zeroes_blocks=device.write_zeroes_blocks,
            write_zeroes_deallocates=device.write_zeroes_deallocates,
            unmap=device.unmap_limits if device.provisioned else None,
            hint_blocks=device.hint_blocks,
            protection_read=kept.read,
            protection_write=kept.write,
            protection_verify=kept.verify,
            protection_tagged=kept.tagged,
            tuple_bytes=device.tuple_bytes,
            atomic_blocks=atomic.blocks if device.writes_atomically else 0,
            atomic_alignment=atomic.alignment,
            fenced_by_disk=device.fenced_by_disk,
            zone_blocks=0 if zones is None else zones.size,
            zone_capacity=0 if zones is None else zones.capacity,
            grouped_streams=device.permanent_streams,
            read_hints=hints.reads,
            write_hints=hints.writes,
        )

    @property
    def native(self) -> Any:
        """A structure that says the same, for the call to come."""
        unmap = self.unmap or UnmapLimits(0, 0, 0)
        return ffi.new(
            "s2n_lu_params *",
            {
                "nsid": self.nsid,
                "block_shift": self.block_bytes.bit_length() - 1,
                "blocks": self.blocks,
                "maximum_blocks": self.maximum_blocks,
                "boundary_blocks": self.boundary_blocks,
                "volatile_cache": self.volatile_cache,
                "compares": self.compares,
                "fused_blocks": self.fused_blocks,
                "write_zeroes_deallocates": self.write_zeroes_deallocates,
                "verify_blocks": self.verify_blocks,
                "write_zeroes_blocks": self.write_zeroes_blocks,
                "write_same_blocks": MAXIMUM_WRITE_SAME_BLOCKS,
                "unmap_ranges": unmap.ranges,
                "unmap_range_blocks": unmap.blocks_of_range,
                "unmap_blocks": unmap.blocks,
                "hint_blocks": self.hint_blocks,
                "protection_read": self.protection_read,
                "protection_write": self.protection_write,
                "protection_verify": self.protection_verify,
                "protection_tagged": self.protection_tagged,
                "tuple_bytes": self.tuple_bytes,
                "atomic_blocks": self.atomic_blocks,
                "atomic_alignment": self.atomic_alignment,
                "fenced_by_disk": self.fenced_by_disk,
                "zone_blocks": self.zone_blocks,
                "zone_capacity": self.zone_capacity,
                "grouped_streams": self.grouped_streams,
                "hinted": bool(self.read_hints),
                "read_hints": self.read_hints,
                "write_hints": self.write_hints,
            },
        )
