"""How bytes and fields are written for people."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.fields import Values

_COLUMNS = 16
_HEADER = "     " + "".join(f"{column:3x}" for column in range(_COLUMNS))


def hex_dump(data: bytes) -> tuple[str, ...]:
    """Return lines of 16 bytes, with what of them can be read, as nvme-cli prints them."""
    return (_HEADER, *_rows(data)) if data else ()


def _rows(data: bytes) -> Iterator[str]:
    for at in range(0, len(data), _COLUMNS):
        row = data[at : at + _COLUMNS]
        text = "".join(chr(byte) if 0x20 < byte < 0x7F else "." for byte in row)
        yield f'{at:04x}: {row.hex(" "):<{3 * _COLUMNS - 1}} "{text}"'


def fields_of(values: Values) -> tuple[str, ...]:
    """Return a line for each field of a structure, with what it means."""
    return tuple(
        f"\t{name:<8}: {values[name]:#x}" + (f"\t{field.doc}" if field.doc else "")
        for name, field in values.structure.by_name.items()
    )
