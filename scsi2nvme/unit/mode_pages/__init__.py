"""The table of mode pages: every row of this package's modules.

A page is a row: its layout, its default values and which fields may change.
A field may stand for a feature of the controller, which is asked for its value;
everything else lives in `ModeParameters`. A new page is one row in a module's
`PAGES`; nothing else changes.
Spec: SPC-4 7.5, SBC-3 6.4.
"""

from __future__ import annotations

from scsi2nvme.tables import rows
from scsi2nvme.unit.mode_pages.page import ModePage

# In the order in which MODE SENSE returns them all. Spec: SPC-4 6.11.1.
PAGES: tuple[ModePage, ...] = tuple(
    sorted(rows(__name__, "PAGES", ModePage), key=lambda page: (page.code, page.subpage))
)
