"""The table of vital product data pages: every row of this package's modules.

A new page is one row in a module's `PAGES`; nothing else changes. Spec: SPC-4 7.8, SBC-3 6.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage, peripheral, with_header
from scsi2nvme.tables import rows
from scsi2nvme.unit.logical_unit import LogicalUnit


def _codes(task: Task) -> bytes:
    return bytes(page.code for page in PAGES if page.supported(task.lu))


# In ascending order, as page 00h lists them.
PAGES: tuple[VpdPage, ...] = tuple(
    sorted(
        (
            VpdPage(0x00, "Supported VPD Pages", "SPC-4 7.8.16", _codes),
            *rows(__name__, "PAGES", VpdPage),
        ),
        key=lambda page: page.code,
    )
)


def find(lu: LogicalUnit, code: int) -> VpdPage | None:
    """Return the page of that code, None if the logical unit has none."""
    return next((page for page in PAGES if page.code == code and page.supported(lu)), None)


def build(page: VpdPage, task: Task) -> bytes:
    """Return a page whole."""
    return with_header(peripheral(task.lu), page.code, page.build(task))


def supported_pages(device: int, codes: Sequence[int]) -> bytes:
    """Return page 00h, listing `codes`. Spec: SPC-4 7.8.16."""
    return with_header(device, 0x00, bytes(codes))
