"""Write the pages that come from the tables: `python -m scsi2nvme.documentation DIRECTORY`.

Run by `make docs`; the pages are committed, and a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from scsi2nvme import status_map
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.commands import COMMANDS, log_pages, vpd_pages
from scsi2nvme.commands.log_pages.page import LogPage
from scsi2nvme.scsi.sense import SenseCode
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit import mode_pages
from scsi2nvme.unit.mode_pages.page import ModePage

_GENERATED = "This page is generated from the tables by `make docs`.\n"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = tuple(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _code(row: Command) -> str:
    action = "" if row.service_action is None else f"/{row.service_action:02X}h"
    return f"{row.opcode:02X}h{action}"


def _field_name(name: str) -> str:
    return name.upper().replace("_", " ")


def _length_law(row: Command) -> str:
    """Return how much data a CDB announces."""
    count = _field_name(row.length_field)
    zero = f" ({row.zero_length_means} if zero)" if row.zero_length_means else ""
    return {
        Transfer.NONE: "",
        Transfer.BYTES: f"{count}{zero} bytes" if count else f"{row.zero_length_means} bytes",
        Transfer.BLOCKS: f"{count}{zero} blocks",
        Transfer.TWICE_BLOCKS: f"twice {count} blocks",
        Transfer.ONE_BLOCK: "one block",
        Transfer.ONE_BLOCK_UNLESS_NDOB: "one block, none with NDOB",
        Transfer.BYTCHK: f"by BYTCHK: 01b {count} blocks, 11b one block, else none",
        Transfer.FORMAT_HEADER: "4 bytes with FMTDATA, 8 with LONGLIST as well",
    }[row.transfer]


def _details(row: Command) -> Iterator[str]:
    yield f"## {row.name}\n"
    if row.doc:
        yield f"{row.doc}\n"
    moved = "" if row.data is Data.NONE else f"Data {row.data.value}: {_length_law(row)}. "
    yield (
        f"{_code(row)}, {row.length} bytes. Spec: {row.spec}. {moved}"
        f"Timeout {row.timeout_s} s. Usage `{row.usage.hex(' ')}`.\n"
    )
    yield from _table(("Bytes", "Lowest bit", "Bits", "Field"), _fields(row))
    yield ""


def _fields(row: Command) -> Iterator[tuple[str, str, str, str]]:
    for field in sorted(row.structure.fields, key=lambda field: (field.byte, -field.bit)):
        last = field.end - 1
        span = str(field.byte) if last == field.byte else f"{field.byte}-{last}"
        notes = [field.doc] if field.doc else []
        text = ": ".join([_field_name(field.name), *notes]) + ", ignored" * field.ignored
        yield span, str(field.bit), str(field.width), text


def commands() -> str:
    """Return the page of the SCSI commands."""
    lines = ["# SCSI commands\n", _GENERATED]
    lines.append(
        "*Hot* commands are translated in C while nothing unusual holds; the others, and those in "
        "unusual times, by the Python engine. *Reservation* is how a reservation of another "
        "I_T nexus meets the command.\n"
    )
    lines += _table(
        ("Command", "Code", "Data", "Reservation", "Hot", "NVMe commands"),
        (
            (
                row.name,
                _code(row),
                row.data.value,
                row.access.value,
                "" if row.hot is Hot.NO else "hot",
                ", ".join(row.nvme),
            )
            for row in COMMANDS
        ),
    )
    lines.append("")
    for row in COMMANDS:
        lines += _details(row)
    return "\n".join(lines).rstrip("\n") + "\n"


def _outcome(outcome: SenseCode | Status | None) -> str:
    if outcome is None:
        return ""
    if isinstance(outcome, Status):
        return outcome.name.replace("_", " ")
    key = outcome.key.name.replace("_", " ")
    return f"{key}, {outcome.asc:02X}h/{outcome.ascq:02X}h {outcome.text}"


def statuses() -> str:
    """Return the page of the NVMe statuses and what they become."""
    lines = ["# NVMe statuses\n", _GENERATED]
    lines.append("What a failed NVMe command becomes, unless its translation knows better.\n")
    lines += _table(
        ("NVMe status", "SCT/SC", "SCSI", "for commands that only read", "where DNR is zero"),
        (
            (
                code.name.replace("_", " ").capitalize(),
                f"{code >> 8:X}/{code & 0xFF:02X}",
                _outcome(meaning.outcome),
                _outcome(meaning.reading),
                _outcome(meaning.transient),
            )
            for code, meaning in sorted(status_map.TABLE.items())
        ),
    )
    return "\n".join(lines) + "\n"


def pages() -> str:
    """Return the page of the vital product data, mode and log pages."""
    lines = ["# VPD, mode and log pages\n", _GENERATED, "## Vital product data\n"]
    lines += _table(
        ("Code", "Page", "Spec"),
        ((f"{page.code:02X}h", page.name, page.spec) for page in vpd_pages.PAGES),
    )
    lines += ["\n## Mode pages\n", "A field that does not change always has its default value.\n"]
    lines += _table(
        ("Code", "Page", "Fields that change", "Spec"),
        (
            (_page_code(page), page.name, ", ".join(_changing(page)), page.layout.spec)
            for page in mode_pages.PAGES
        ),
    )
    lines += ["\n## Log pages\n"]
    lines += _table(
        ("Code", "Page", "From the controller's logs", "Spec"),
        (
            (_page_code(page), page.name, ", ".join(_logs(page)), page.spec)
            for page in log_pages.PAGES
        ),
    )
    return "\n".join(lines) + "\n"


def _page_code(page: ModePage | LogPage) -> str:
    return f"{page.code:02X}h" + (f"/{page.subpage:02X}h" if page.subpage else "")


def _changing(page: ModePage) -> Iterator[str]:
    yield from map(_field_name, page.changeable)
    if page.feature is not None:
        yield f"{_field_name(page.feature.field)} (feature {page.feature.identifier:02X}h)"


def _logs(page: LogPage) -> Iterator[str]:
    return (f"{log.name} ({log.identifier:02X}h)" for log in page.needs)


PAGES = {"commands.md": commands, "nvme-statuses.md": statuses, "pages.md": pages}


def main(directory: Path) -> None:
    """Write every page into `directory`."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
