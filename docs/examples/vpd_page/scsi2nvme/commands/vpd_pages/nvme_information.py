"""VPD page 8Eh."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage, printable
from scsi2nvme.fields import Field, Structure

NVME_INFORMATION = Structure(
    "NVMe Information VPD page",
    192,
    (
        Field("mn", 36, 0, 8 * 40, "model number"),
        Field("sn", 76, 0, 8 * 20, "serial number"),
        Field("fr", 96, 0, 8 * 8, "firmware revision"),
    ),
    spec="SNT-2 (draft)",
)


def nvme_information(task: Task) -> bytes:
    """Return what INQUIRY has no room for. Spec: NVMe Base 2.0c figure 276 (SN, MN, FR)."""
    controller = task.lu.facts.controller
    names = {name: printable(controller.bytes(name)) for name in ("mn", "sn", "fr")}
    return NVME_INFORMATION.build(**names)[HEADER.size :]


PAGES = (VpdPage(0x8E, "NVMe Information", "SNT-2 (draft)", nvme_information),)
