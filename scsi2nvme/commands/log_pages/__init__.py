"""The table of log pages: every row of this package's modules.

A new page is one row in a module's `PAGES`; nothing else changes. Spec: SPC-4 7.3, SBC-3 6.3.
"""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import LogPage
from scsi2nvme.tables import rows

# In ascending order, as the lists of pages are. Spec: SPC-4 7.3.18 and 7.3.19.
PAGES: tuple[LogPage, ...] = tuple(
    sorted(
        (
            LogPage(0x00, "Supported Log Pages", "SPC-4 7.3.18"),
            LogPage(0x00, "Supported Log Pages and Subpages", "SPC-4 7.3.19", subpage=0xFF),
            *rows(__name__, "PAGES", LogPage),
        ),
        key=lambda page: (page.code, page.subpage),
    )
)
