"""VPD page 87h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure

MODE_PAGE_POLICY = Structure(
    "Mode page policy descriptor",
    4,
    (
        Field("page_code", 0, 0, 6),
        Field("subpage_code", 1),
        Field("mlus", 2, 7, 1, "shared by several logical units"),
        Field("policy", 2, 0, 2, "00b: shared by all I_T nexuses"),
    ),
    spec="SPC-4 7.8.9",
)


def mode_page_policy(task: Task) -> bytes:
    """Return that the write cache is the controller's, the rest the logical unit's own."""
    return MODE_PAGE_POLICY.build(page_code=0x08, mlus=1) + MODE_PAGE_POLICY.build(
        page_code=0x3F, subpage_code=0xFF
    )


PAGES = (VpdPage(0x87, "Mode Page Policy", "SPC-4 7.8.9", mode_page_policy),)
