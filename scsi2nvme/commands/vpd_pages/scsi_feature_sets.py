"""VPD page 92h: which of the standards' feature sets are supported as a whole.

Not named are SBC Base 2016, as it asks for SPC's Discovery 2016, and Drive Maintenance 2016, which
wants REASSIGN BLOCKS.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Task
from scsi2nvme.commands import format_unit
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.unit.logical_unit import LogicalUnit

_RESERVED_BYTES = 4


class FeatureSet(IntEnum):
    """Spec: SBC-4 annex H."""

    SBC_BASE_2010 = 0x0102
    BASIC_PROVISIONING_2016 = 0x0103


def _has_base(lu: LogicalUnit) -> bool:
    """Whether there is all that depends on the disk: the rest is always there.

    That are FORMAT UNIT, WRITE SAME to any block, and page 8Ah. Spec: SBC-4 H.2.
    """
    return format_unit.formats(lu) and lu.writes_anywhere and lu.facts.power_states > 1


def _has_provisioning(lu: LogicalUnit) -> bool:
    """Whether unmapped blocks are zeroes, besides. Spec: SBC-4 H.4."""
    return lu.provisioned and lu.reads_zero_after_unmap


def scsi_feature_sets(task: Task) -> bytes:
    """Spec: SPC-5 7.7.16, SBC-4 annex H."""
    named = [FeatureSet.SBC_BASE_2010]
    if _has_provisioning(task.lu):
        named.append(FeatureSet.BASIC_PROVISIONING_2016)
    return bytes(_RESERVED_BYTES) + b"".join(each.to_bytes(2, "big") for each in named)


PAGES = (
    VpdPage(0x92, "SCSI Feature Sets", "SPC-5 7.7.16", scsi_feature_sets, supported=_has_base),
)
