"""Mode page 0Ah, subpage 06h: whether a background operation goes on beside reads and writes."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import ModePage

_GOES_ON = 0b01

# A controller suspends a refresh for what it cannot do beside it, and does not tell what that is:
# who counts on undisturbed reads is told the worse. Spec: NVMe Base 2.2 8.1.7.
BACKGROUND_OPERATION = ModePage(
    0x0A,
    Structure(
        "Background Operation Control",
        0x1FD + 4,
        (Field("bo_mode", 4, 6, 2, "01b: beside reads and writes"),),
        spec="SBC-4 6.5.4",
    ),
    subpage=0x06,
    defaults=lambda facts: {"bo_mode": _GOES_ON},
    supported=lambda facts: facts.refreshes,
)


PAGES = (BACKGROUND_OPERATION,)
