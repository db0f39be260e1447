"""Write the command table, and the numbers that Python and C share, as C headers:
`python -m scsi2nvme.ctables TABLES CONSTANTS DEPFILE`.

Run by the build, with the standard library alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from functools import partial
from pathlib import Path

from scsi2nvme.command import FORMAT_BYTES, Command, Counted, Data, Hot, Transfer
from scsi2nvme.commands import COMMANDS
from scsi2nvme.fields import Field
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.sense import Sense, SenseCode
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.status_map import TABLE
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES, PORTION_BYTES

# The hot path steps aside where one of these is not zero.
_DECLINED = frozenset(
    {"naca", "anchor", "rdprotect", "vrprotect", "wrprotect", "sync_nv", "atomic_boundary"}
)
_USAGE_BYTES = 32
_WORD = 8  # bytes


def _bits(field: Field | None, length: int) -> str:
    """Return how C finds a field: in a word of 8 bytes, which the CDB has, or what holds it."""
    if not field:
        return "{0, 0, 0}"
    end = field.byte + (field.bit + field.width + 7) // 8
    at = min(field.byte, max(length - _WORD, 0))
    shift = (at + _WORD - end) * 8 + field.bit
    return f"{{0x{(1 << field.width) - 1:x}, {at}, {shift}}}"


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
    """Return the bits beside the count that decide how much data there is, or what is done."""
    if "fmtdata" in fields:
        return replace(fields["fmtdata"], width=2)  # LONGLIST stands above it
    names = ("bytchk", "ndob", "immed", "inc_512", "logical_block_data_offset")
    return next((fields[name] for name in names if name in fields), None)


def _kind(hot: Hot) -> str:
    return f"s2n_hot_{hot.name.lower()}"


def _kind_of(row: Command) -> str:
    return "NULL" if row.hot is Hot.NO else f"&{_kind(row.hot)}"


def _row(row: Command) -> str:
    fields, bits = row.structure.by_name, partial(_bits, length=row.length)
    return (
        f"    {{ /* {row.name} */\n"
        f"        0x{row.opcode:02x}, {row.length}, S2N_{row.data.name},"
        f" S2N_TRANSFER_{row.transfer.name},\n"
        f"        {_kind_of(row)}, {row.zero_length_means},\n"
        f"        {bits(row.service_action_field)}, {row.service_action or 0},\n"
        f"        {bits(fields.get('lba'))}, {bits(fields.get(row.length_field))},\n"
        f"        {bits(fields.get('fua'))}, {bits(_selector(fields))},\n"
        f"        {bits(fields.get('unmap'))}, {bits(fields.get(row.protect_field))},\n"
        f"        {bits(fields.get('group'))}, {int(row.asks_for_state)}, {int(row.reads_zones)},"
        f" S2N_COUNTED_{row.counted.name},\n"
        f"        {{{_mask(row)}}}}},"
    )


def _sense(code: SenseCode, information: int | None, *, descriptor: bool) -> str:
    data = Sense(code, information=information).data(descriptor)
    return f"{{{len(data)}, {{{', '.join(f'0x{byte:02x}' for byte in data)}}}}}"


def _miscompare() -> str:
    """Return what sense data a Compare that failed has: without an offset, and with that of 0."""
    code = TABLE[StatusCode.COMPARE_FAILURE].outcome
    assert isinstance(code, SenseCode)
    formats = (
        ", ".join(_sense(code, each, descriptor=descriptor) for each in (None, 0))
        for descriptor in (False, True)
    )
    return "},\n    {".join(formats)


def header() -> str:
    """Return the table of rows, as the hot path needs them."""
    first = [0] * 256
    for index, row in reversed(list(enumerate(COMMANDS))):
        first[row.opcode] = index + 1
    rows = "\n".join(_row(row) for row in COMMANDS)
    kinds = ", ".join(_kind(hot) for hot in Hot if hot is not Hot.NO)
    starts = ",\n    ".join(
        ", ".join(str(value) for value in first[line : line + 16]) for line in range(0, 256, 16)
    )
    return (
        "/* Generated from the command table: do not edit. */\n"
        f"extern const struct s2n_hot_kind {kinds};\n"
        f"static const struct s2n_hot_row s2n_rows[S2N_ROWS] = {{\n{rows}\n}};\n"
        "/* The first row of an operation code, plus one; 0: none. */\n"
        f"static const uint16_t s2n_first_row[256] = {{\n    {starts}}};\n"
        "/* In fixed and in descriptor format, without INFORMATION and with it. */\n"
        f"static const struct s2n_hot_sense s2n_miscompare[2][2] = {{\n    {{{_miscompare()}}}}};\n"
    )


def _enum(name: str, prefix: str, kind: type[IntEnum]) -> str:
    members = "".join(f"    {prefix}{member.name} = {member.value},\n" for member in kind)
    return f"enum {name} {{\n{members}}};\n"


def constants() -> str:
    """Return the numbers that Python and C share."""
    directions = ", ".join(f"S2N_{data.name} = {number}" for number, data in enumerate(Data))
    return (
        "/* Generated from the enumerations of Python: do not edit. */\n"
        "#ifndef S2N_CONSTANTS_GEN_H\n#define S2N_CONSTANTS_GEN_H\n"
        "/* Bytes of data of one SCSI command; of a portion of one that has more. */\n"
        f"enum {{ S2N_MAXIMUM_TRANSFER = {MAXIMUM_TRANSFER_BYTES},"
        f" S2N_PORTION = {PORTION_BYTES} }};\n"
        "/* Of a FORMAT UNIT's parameter list. */\n"
        f"enum {{ S2N_FORMAT_BYTES = {FORMAT_BYTES} }};\n"
        f"enum s2n_direction {{ {directions} }};\n"
        f"enum {{ S2N_ROWS = {len(COMMANDS)} }};\n"
        + _enum("s2n_transfer", "S2N_TRANSFER_", Transfer)
        + _enum("s2n_counted", "S2N_COUNTED_", Counted)
        + _enum("s2n_status", "S2N_", Status)
        + _enum("s2n_attribute", "S2N_ATTRIBUTE_", TaskAttribute)
        + "#endif\n"
    )


def _write(output: str, text: str) -> None:
    path = Path(output)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(tables: str, constants_header: str, depfile: str) -> None:
    """Write each header if it changed, and what they depend on."""
    _write(tables, header())
    _write(constants_header, constants())
    loaded = [
        module.__file__ for name, module in sys.modules.items() if name.startswith("scsi2nvme")
    ]
    sources = sorted(str(Path(source).resolve()) for source in loaded if source)
    sources.append(str(Path(__file__).resolve()))
    Path(depfile).write_text(f"{tables}: {' '.join(sources)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
