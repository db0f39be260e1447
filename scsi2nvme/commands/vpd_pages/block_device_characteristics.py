"""VPD page B1h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.sanitize import erases_blocks, erases_keys
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure

BLOCK_DEVICE_CHARACTERISTICS = Structure(
    "Block Device Characteristics VPD page",
    64,
    (
        Field("medium_rotation_rate", 4, 0, 16, "0001h: non-rotating"),
        Field("product_type", 6),
        Field("wabereq", 7, 6, 2, "what reads meet after SANITIZE, BLOCK ERASE"),
        Field("wacereq", 7, 4, 2, "what reads meet after CRYPTOGRAPHIC ERASE"),
        Field("nominal_form_factor", 7, 0, 4),
        Field("bocs", 8, 2, 1, "BACKGROUND CONTROL is supported, with its mode and log pages"),
        Field("fuab", 8, 1, 1),
        Field("vbuls", 8, 0, 1, "VERIFY with BYTCHK takes unmapped blocks for zeroes"),
    ),
    spec="SBC-3 6.5.2",
)


_READS_SUCCEED = 0b01  # WABEREQ, WACEREQ


def block_device_characteristics(task: Task) -> bytes:
    """Blocks can be read after they were erased by SANITIZE. Spec: SBC-4 6.6.2, SNTR 1.5 6.1.7."""
    return BLOCK_DEVICE_CHARACTERISTICS.build(
        medium_rotation_rate=1,
        wabereq=_READS_SUCCEED if erases_blocks(task.lu) else 0,
        wacereq=_READS_SUCCEED if erases_keys(task.lu) else 0,
        bocs=task.lu.facts.refreshes,
        vbuls=1,
    )[HEADER.size :]


PAGES = (
    VpdPage(0xB1, "Block Device Characteristics", "SBC-3 6.5.2", block_device_characteristics),
)
