"""VPD page B0h."""

from __future__ import annotations

import math

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES

BLOCK_LIMITS = Structure(
    "Block Limits VPD page",
    64,
    (
        Field("wsnz", 4, 0, 1, "WRITE SAME of zero blocks is refused"),
        Field("maximum_compare_and_write", 5, doc="logical blocks"),
        Field("optimal_granularity", 6, 0, 16, "logical blocks"),
        Field("maximum_transfer", 8, 0, 32, "logical blocks"),
        Field("optimal_transfer", 12, 0, 32, "logical blocks"),
        Field("maximum_prefetch", 16, 0, 32, "logical blocks"),
        Field("maximum_unmap_blocks", 20, 0, 32),
        Field("maximum_unmap_descriptors", 24, 0, 32),
        Field("optimal_unmap_granularity", 28, 0, 32, "logical blocks"),
        Field("ugavalid", 32, 7, 1),
        Field("unmap_granularity_alignment", 32, 0, 31, "logical blocks"),
        Field("maximum_write_same", 36, 0, 64, "logical blocks"),
        Field("maximum_atomic_transfer", 44, 0, 32, "logical blocks"),
        Field("atomic_alignment", 48, 0, 32, "logical blocks"),
        Field("atomic_granularity", 52, 0, 32, "logical blocks"),
        Field("maximum_atomic_with_boundary", 56, 0, 32, "logical blocks"),
        Field("maximum_atomic_boundary", 60, 0, 32, "logical blocks"),
    ),
    spec="SBC-3 6.5.3, SBC-4 6.6.4",
)

# Initiators cut every request to the optimal length, reads too: a smaller one does more harm
# than good.
_WORTHWHILE_BYTES = 1 << 20


def block_limits(task: Task) -> bytes:
    """Spec: SBC-3 6.5.3; NVM Command Set 1.0 4.1.5.1 (NSFEAT OPTPERF: NPWG, NPDG, NPDA, NOWS).

    Atomic writes: SBC-4 6.6.4.
    """
    lu, namespace = task.lu, task.lu.facts.namespace
    behind = lu.tuple_bytes if task.moves_protection else 0
    longest = MAXIMUM_TRANSFER_BYTES // (lu.block_bytes + behind)
    told: dict[str, int] = {}
    if namespace.nsfeat & 0x10:
        granule, size = namespace.npwg + 1, namespace.nows + 1
        if granule <= 0xFFFF:
            told["optimal_granularity"] = granule
        whole = size % granule == 0 and size <= longest
        if whole and size * lu.block_bytes >= _WORTHWHILE_BYTES:
            told["optimal_transfer"] = size
        if lu.provisioned:
            # The alignment is an offset, and NPDA a multiple: it becomes part of the granularity.
            granularity = math.lcm(namespace.npdg + 1, namespace.npda + 1)
            told |= {"optimal_unmap_granularity": granularity, "ugavalid": 1}
    if lu.writes_atomically:
        atomic = lu.atomic_limits(behind)
        told |= {
            "maximum_atomic_transfer": atomic.blocks,
            "atomic_alignment": atomic.alignment,
            "atomic_granularity": 1,
            # What is written as a whole is so between any boundaries, too.
            "maximum_atomic_with_boundary": atomic.blocks,
            "maximum_atomic_boundary": atomic.blocks,
        }
    return BLOCK_LIMITS.build(
        wsnz=lu.write_same_non_zero,
        maximum_compare_and_write=lu.maximum_compare_and_write_blocks,
        maximum_transfer=longest,
        maximum_unmap_blocks=lu.maximum_unmap_blocks,
        maximum_unmap_descriptors=lu.maximum_unmap_descriptors,
        maximum_write_same=lu.maximum_write_same_blocks,
        **told,
    )[HEADER.size :]


PAGES = (VpdPage(0xB0, "Block Limits", "SBC-3 6.5.3", block_limits),)
