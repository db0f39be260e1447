"""VPD page 80h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage, printable


def unit_serial_number(task: Task) -> bytes:
    """Return the identifier in its printed form. Spec: SPC-4 7.8.18, SNTR 1.5 6.1.3."""
    facts = task.lu.facts
    unique = (facts.nguid or facts.eui64).hex().upper()
    if unique:
        groups = (unique[start : start + 4] for start in range(0, len(unique), 4))
        return ("_".join(groups) + ".").encode()
    return printable(facts.controller.bytes("sn")) + f"_{facts.nsid:08X}.".encode()


PAGES = (VpdPage(0x80, "Unit Serial Number", "SPC-4 7.8.18", unit_serial_number),)
