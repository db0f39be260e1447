"""Write the pages that come from the tables: `python -m scsi2nvme.documentation DIRECTORY`.

Run by `make docs`; the pages are committed, and a test compares them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from scsi2nvme import status_map, wording
from scsi2nvme.api.method import Subscription
from scsi2nvme.api.schema import schema_of
from scsi2nvme.api.table import METHODS
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.commands import COMMANDS, log_pages, vpd_pages
from scsi2nvme.commands.log_pages.page import LogPage
from scsi2nvme.unit import mode_pages
from scsi2nvme.unit.mode_pages.page import ModePage

_API = """\
The running daemon answers [JSON-RPC 2.0](https://www.jsonrpc.org/specification) on the socket
`control.sock` in its state directory: each message, or batch of at most 64, is one line, of a
request of at most 64 KiB. Its owner and root may ask everything; the members of `control_group`
what changes nothing and is not private. `rpc.discover` answers with this table as an
[OpenRPC](https://spec.open-rpc.org/) document. In Python, `scsi2nvme.client` asks:

```python
from scsi2nvme.api import methods
from scsi2nvme.client import Client

with Client("/var/lib/scsi2nvme/control.sock") as daemon:
    for session in daemon.call(methods.SESSIONS):
        print(session.initiator, session.target)
```

After the answer to a method with [notifications](#notifications), these follow on the same
connection until that ends; a connection has one subscription at most. In Python,
`daemon.subscribe(events.SUBSCRIBE)` yields them.

Errors have JSON-RPC's codes, -32602 for whatever makes no sense, and two of our own: 1 where it
makes sense and cannot be done now, 2 for those who may only look. `message` is one line for
people. What is added later are methods, results' fields, and parameters that may be left out.

## Methods
"""
_GENERATED = "This page is generated from the tables by `make docs`.\n"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = tuple(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _details(row: Command) -> Iterator[str]:
    yield f"## {row.name}\n"
    if row.doc:
        yield f"{row.doc}\n"
    moved = "" if row.data is Data.NONE else f"Data {row.data.value}: {wording.length_law(row)}. "
    yield (
        f"{wording.code(row)}, {row.length} bytes. Spec: {row.spec}. {moved}"
        f"Timeout {row.timeout_s} s. Usage `{row.usage.hex(' ')}`.\n"
    )
    yield from _table(("Bytes", "Lowest bit", "Bits", "Field"), _fields(row))
    yield ""


def _fields(row: Command) -> Iterator[tuple[str, str, str, str]]:
    for field in sorted(row.structure.fields, key=lambda field: (field.byte, -field.bit)):
        last = field.end - 1
        span = str(field.byte) if last == field.byte else f"{field.byte}-{last}"
        notes = [field.doc] if field.doc else []
        text = ": ".join([wording.field_name(field.name), *notes]) + ", ignored" * field.ignored
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
                wording.code(row),
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
                wording.outcome(meaning.outcome),
                wording.outcome(meaning.reading),
                wording.outcome(meaning.transient),
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
    names = (re.sub(r"\d+", "N", name) for name in page.changeable)  # of each descriptor alike
    yield from map(wording.field_name, dict.fromkeys(names))
    if page.feature is not None:
        yield f"{wording.field_name(page.feature.field)} (feature {page.feature.identifier:02X}h)"


def _logs(page: LogPage) -> Iterator[str]:
    return (f"{log.name} ({log.identifier:02X}h)" for log in page.needs)


def api() -> str:
    """Return the page of the control API's methods."""
    lines = ["# The control API\n", _GENERATED, _API]
    lines += _table(
        ("Method", "Parameters", "Result", "Changes", ""),
        (
            (
                f"`{method.name}`",
                ", ".join(f"`{each.name}`" for each in fields(method.params)),
                _type(method.result),
                "yes" if method.changes else "private" if method.private else "",
                method.doc,
            )
            for method in METHODS
        ),
    )
    lines += ["", "## Notifications\n"]
    told = [
        (method, each)
        for method in METHODS
        if isinstance(method, Subscription)
        for each in method.tells
    ]
    lines += _table(
        ("Notification", "Of", "Parameters", ""),
        (
            (f"`{each.name}`", f"`{method.name}`", _type(each.params), each.doc)
            for method, each in told
        ),
    )
    asked = (kind for method in METHODS for kind in (method.params, method.result))
    shapes = (
        shape for kind in (*asked, *(each.params for _, each in told)) for shape in _shapes(kind)
    )
    for shape in dict.fromkeys(shapes):
        lines += ["", f"## {shape.__name__}\n", f"{(shape.__doc__ or '').strip()}\n"]
        hints = get_type_hints(shape)
        lines += _table(
            ("Field", "Type", "May be left out", ""),
            (
                (
                    f"`{each.name}`",
                    _type(hints[each.name]),
                    "" if each.default is MISSING else "yes",
                    each.metadata.get("doc", ""),
                )
                for each in fields(shape)
            ),
        )
    return "\n".join(lines) + "\n"


def _shapes(*kinds: Any) -> Iterator[Any]:
    """Yield the shapes that are of these types, or in them."""
    for kind in kinds:
        yield from _shapes(*get_args(kind))
        if is_dataclass(kind) and fields(kind):
            yield kind
            yield from _shapes(*get_type_hints(kind).values())


def _type(kind: Any) -> str:
    """Return a type as it reads in the table: a shape of the page by its name."""
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    parts = get_args(kind)
    match schema_of(kind):
        case {"enum": values}:
            return ", ".join(f"`{each}`" for each in values)
        case {"anyOf": _}:
            return " or ".join(_type(each) for each in parts)
        case {"type": "array"}:
            return f"array of {_type(parts[0])}"
        case {"type": word}:
            return str(word)
    return ""


PAGES = {"api.md": api, "commands.md": commands, "nvme-statuses.md": statuses, "pages.md": pages}


def main(directory: Path) -> None:
    """Write every page into `directory`."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
