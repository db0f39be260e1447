"""Copy: the controller copies blocks of a namespace by itself.

Spec: NVM Command Set 1.0 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.records import dataclass

_ONCS_COPY = 8
_FORMAT_0 = 0  # of OCFS, and of what CDW12 says of the ranges

SOURCE_RANGE = Structure(
    "Copy source range entry, format 0h",
    32,
    (
        Field("slba", 8, 0, 64),
        Field("nlb", 16, 0, 16, "0's based"),
        Field("eilbrt", 24, 0, 32, "expected initial logical block reference tag"),
        Field("elbat", 28, 0, 16, "expected logical block application tag"),
        Field("elbatm", 30, 0, 16, "its mask"),
    ),
    order="little",
    spec="NVM Command Set 1.0 figure 38",
)


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """What one Copy may name, as true counts: ranges, blocks of each, and blocks in all."""

    ranges: int
    blocks_of_range: int
    blocks: int


def copy_limits(facts: NamespaceFacts) -> CopyLimits | None:
    """Return MSRC, MSSRL and MCL; None where nothing can be copied within the namespace."""
    namespace = facts.namespace
    offered = facts.controller_bit("oncs", _ONCS_COPY) and facts.controller.ocfs >> _FORMAT_0 & 1
    if not offered or not namespace.mssrl or not namespace.mcl:
        return None
    ranges = min(namespace.msrc + 1, 128)
    blocks = min(namespace.mcl, ranges * namespace.mssrl)
    return CopyLimits(ranges, min(namespace.mssrl, blocks), blocks)


def copy_command(nsid: int, to: int, ranges: Sequence[tuple[int, int]]) -> NvmeCommand:
    """Return the Copy of ranges (LBA, blocks), one behind the other, to the blocks from `to` on."""
    entries = (SOURCE_RANGE.build(slba=lba, nlb=blocks - 1) for lba, blocks in ranges)
    return NvmeCommand(
        Opcode.COPY,
        nsid=nsid,
        cdw10=to & 0xFFFFFFFF,
        cdw11=to >> 32,
        cdw12=len(ranges) - 1 | _FORMAT_0 << 8,
        data_out=b"".join(entries),
    )


def ranges_of(lba: int, blocks: int, most: int) -> list[tuple[int, int]]:
    """Return a range cut into such that have at most so many blocks."""
    end = lba + blocks
    return [(start, min(most, end - start)) for start in range(lba, end, most)]
