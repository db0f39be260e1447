"""VPD page DEh, which is vendor specific: Identify Controller as the controller returned it.

As page 89h is of a disk behind ATA: what NVMe says of itself, for tools that know it.
"""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VENDOR, VpdPage, firmware_revision, printable
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import IDENTIFY_BYTES

IDENTIFY_CONTROLLER_PAGE = Structure(
    "NVMe Identify Controller VPD page",
    64 + IDENTIFY_BYTES,
    (
        Field("vendor", 8, 0, 64),
        Field("product", 16, 0, 128),
        Field("revision", 32, 0, 32),
        Field("identify", 64, 0, 8 * IDENTIFY_BYTES, "Identify Controller, as it is in NVMe"),
    ),
    spec="sg3_utils' NICR",
)


def identify_controller(task: Task) -> bytes:
    """Return the data structure, after what standard INQUIRY data say."""
    controller = task.lu.facts.controller
    return IDENTIFY_CONTROLLER_PAGE.build(
        vendor=VENDOR,
        product=printable(controller.bytes("mn")[:16]),
        revision=firmware_revision(controller.bytes("fr")),
        identify=controller.raw,
    )[HEADER.size :]


PAGES = (VpdPage(0xDE, "NVMe Identify Controller", "vendor specific", identify_controller),)
