"""VPD page B2h."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure

LOGICAL_BLOCK_PROVISIONING = Structure(
    "Logical Block Provisioning VPD page",
    8,
    (
        Field("threshold_exponent", 4),
        Field("lbpu", 5, 7, 1, "UNMAP"),
        Field("lbpws", 5, 6, 1, "WRITE SAME (16) with UNMAP"),
        Field("lbpws10", 5, 5, 1, "WRITE SAME (10) with UNMAP"),
        Field("lbprz", 5, 2, 3, "001b: unmapped blocks read as zeroes"),
        Field("anc_sup", 5, 1, 1),
        Field("dp", 5, 0, 1),
        Field("provisioning_type", 6, 0, 3),
    ),
    spec="SBC-3 6.5.4",
)


class ProvisioningType(IntEnum):
    """Spec: SBC-3 6.5.4."""

    FULL = 0
    RESOURCE = 1
    THIN = 2


def logical_block_provisioning(task: Task) -> bytes:
    """Spec: SBC-3 6.5.4; NSFEAT THINP tells thin from resource provisioning."""
    lu = task.lu
    kind = ProvisioningType.FULL
    if lu.provisioned:
        thin = lu.facts.namespace.nsfeat & 1
        kind = ProvisioningType.THIN if thin else ProvisioningType.RESOURCE
    return LOGICAL_BLOCK_PROVISIONING.build(
        threshold_exponent=lu.threshold_exponent,
        lbpu=lu.provisioned,
        lbpws=lu.provisioned,
        lbpws10=lu.provisioned,
        lbprz=lu.reads_zero_after_unmap,
        provisioning_type=kind,
    )[HEADER.size :]


PAGES = (VpdPage(0xB2, "Logical Block Provisioning", "SBC-3 6.5.4", logical_block_provisioning),)
