"""The table of log pages: every row of this package's modules.

A new page is one row in a module's `PAGES`; nothing else changes. Spec: SPC-4 7.3, SBC-3 6.3.
"""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import LogPage
from scsi2nvme.tables import rows

_OWN = tuple(rows(__name__, "PAGES", LogPage))


def _of_subpages(code: int) -> LogPage:
    """Return the row that lists the subpages of a page, where a logical unit has any."""
    subpages = [page for page in _OWN if page.code == code and page.subpage]
    return LogPage(
        code,
        f"Supported Subpages of {code:02X}h",
        "SPC-4 7.3.20",
        subpage=0xFF,
        supported=lambda lu: any(page.supported(lu) for page in subpages),
    )


# In ascending order, as the lists of pages are. Spec: SPC-4 7.3.18 and 7.3.19.
PAGES: tuple[LogPage, ...] = tuple(
    sorted(
        (
            LogPage(0x00, "Supported Log Pages", "SPC-4 7.3.18"),
            LogPage(0x00, "Supported Log Pages and Subpages", "SPC-4 7.3.19", subpage=0xFF),
            *_OWN,
            *(_of_subpages(code) for code in {page.code for page in _OWN if page.subpage}),
        ),
        key=lambda page: (page.code, page.subpage),
    )
)
