"""Write the command table as C: `python -m scsi2nvme.ctables OUTPUT DEPFILE`.

Run by the build, with the standard library alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.commands import COMMANDS
from scsi2nvme.fields import Field

# The hot path steps aside where one of these is not zero.
_DECLINED = frozenset({"naca", "rdprotect", "wrprotect", "immed", "sync_nv"})
_DIRECTIONS = {Data.NONE: "S2N_NONE", Data.IN: "S2N_IN", Data.OUT: "S2N_OUT"}
_USAGE_BYTES = 32


def _bits(field: Field | None) -> str:
    return f"{{{field.byte}, {field.bit}, {field.width}}}" if field else "{0, 0, 0}"


def _mask(row: Command) -> str:
    """Return the bits that the hot path accepts in a CDB of this row."""
    mask = bytearray(_USAGE_BYTES)
    mask[: row.length] = row.structure.mask
    for name in _DECLINED & set(row.structure.by_name):
        field = row.structure.by_name[name]
        for index, bits in enumerate(field.mask(_USAGE_BYTES, "big")):
            mask[index] &= ~bits
    return ", ".join(f"0x{byte:02x}" for byte in mask)


def _selector(fields: Mapping[str, Field]) -> Field | None:
    """Return the bits beside the count that decide how much data there is."""
    if "fmtdata" in fields:
        return replace(fields["fmtdata"], width=2)  # LONGLIST stands above it
    return fields.get("bytchk") or fields.get("ndob")


def _row(row: Command) -> str:
    fields = row.structure.by_name
    return (
        f"    {{ /* {row.name} */\n"
        f"        0x{row.opcode:02x}, {row.length}, {_DIRECTIONS[row.data]},"
        f" {Transfer(row.transfer).value}, {Hot(row.hot).value}, {row.zero_length_means},\n"
        f"        {_bits(row.service_action_field)}, {row.service_action or 0},\n"
        f"        {_bits(fields.get('lba'))}, {_bits(fields.get(row.length_field))},"
        f" {_bits(fields.get('fua'))}, {_bits(_selector(fields))},\n"
        f"        {{{_mask(row)}}}}},"
    )


def header() -> str:
    """Return the generated header."""
    first = [0] * 256
    for index, row in reversed(list(enumerate(COMMANDS))):
        first[row.opcode] = index + 1
    rows = "\n".join(_row(row) for row in COMMANDS)
    starts = ",\n    ".join(
        ", ".join(str(value) for value in first[line : line + 16]) for line in range(0, 256, 16)
    )
    return (
        "/* Generated from the command table: do not edit. */\n"
        f"enum {{ S2N_ROWS = {len(COMMANDS)} }};\n"
        f"static const struct s2n_hot_row s2n_rows[S2N_ROWS] = {{\n{rows}\n}};\n"
        "/* The first row of an operation code, plus one; 0: none. */\n"
        f"static const uint16_t s2n_first_row[256] = {{\n    {starts}}};\n"
    )


def main(output: str, depfile: str) -> None:
    """Write the header if it changed, and what it depends on."""
    path = Path(output)
    text = header()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    loaded = [
        module.__file__ for name, module in sys.modules.items() if name.startswith("scsi2nvme")
    ]
    sources = sorted(str(Path(source).resolve()) for source in loaded if source)
    sources.append(str(Path(__file__).resolve()))
    Path(depfile).write_text(f"{output}: {' '.join(sources)}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
