"""Write the pages that come from the tables: `python -m scsi2nvme.documentation DIRECTORY`.

Run by `make docs`; the pages are committed, and a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from scsi2nvme import status_map
from scsi2nvme.commands import COMMANDS
from scsi2nvme.scsi.command import Command, Hot
from scsi2nvme.scsi.sense import SenseCode
from scsi2nvme.scsi.status import Status

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


def _details(row: Command) -> Iterator[str]:
    yield f"## {row.name}\n"
    if row.doc:
        yield f"{row.doc}\n"
    yield (
        f"{_code(row)}, {row.length} bytes. Spec: {row.spec}. "
        f"Timeout {row.timeout_s} s. Usage `{row.usage.hex(' ')}`.\n"
    )
    yield from _table(("Bytes", "Lowest bit", "Bits", "Field"), _fields(row))
    yield ""


def _fields(row: Command) -> Iterator[tuple[str, str, str, str]]:
    for field in sorted(row.structure.fields, key=lambda field: (field.byte, -field.bit)):
        last = field.end - 1
        place = str(field.byte) if last == field.byte else f"{field.byte}-{last}"
        name = field.name.upper().replace("_", " ")
        yield place, str(field.bit), str(field.width), f"{name}: {field.doc}" if field.doc else name


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


PAGES = {"commands.md": commands, "nvme-statuses.md": statuses}


def main(directory: Path) -> None:
    """Write every page into `directory`."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
