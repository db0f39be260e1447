"""The initialization pattern of FORMAT UNIT: what is asked for, and how it is written.

Format NVM writes none: it is written to all blocks afterwards. Spec: SBC-3 5.3.2.3.
"""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.read_write import data_commands, run
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import TUPLE_BYTES, Protection, moved
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import GOOD, CheckCondition, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit

PATTERN_DESCRIPTOR = Structure(
    "Initialization pattern descriptor",
    4,
    (
        Field("si", 0, 5, 1, "security initialize: erase what was on the disk"),
        Field("pattern_type", 1, 0, 8, "00h default, 01h repeat"),
        Field("pattern_length", 2, 0, 16),
    ),
    spec="SBC-3 5.3.2.3",
)
_DEFAULT, _REPEAT = 0x00, 0x01
_PIECE_BYTES = 1 << 20  # that are written at a time
_NO_PROTECTION = b"\xff" * TUPLE_BYTES  # SBC-3 5.3.1: of blocks that a format has initialized
_WHOLE = 65536


@dataclass(frozen=True, slots=True)
class Pattern:
    """What blocks are to hold: `repeated` again and again, or what a format leaves (b"").

    `erases`: what was on the disk is to be gone for good.
    """

    repeated: bytes = b""
    erases: bool = False


def pattern_of(task: Task, header: Values, block_bytes: int) -> Pattern:
    """Return what a parameter list asks for that has IP, for blocks of so many bytes."""
    start, size = header.structure.size, PATTERN_DESCRIPTOR.size
    raw = task.data_out[start:]
    if len(raw) < size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    told = PATTERN_DESCRIPTOR.parse(raw[:size])
    length = told.pattern_length
    if told.pattern_type not in (_DEFAULT, _REPEAT):
        raise _wrong("pattern_type", start)
    fits = 0 < length <= block_bytes if told.pattern_type == _REPEAT else not length
    if not fits:
        raise _wrong("pattern_length", start)
    if told.pattern_type == _REPEAT and not task.lu.writes_anywhere:
        raise _wrong("pattern_type", start)  # its zones are to be empty afterwards
    if len(raw) < size + length:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    return Pattern(raw[size : size + length], bool(told.si))


def _wrong(name: str, start: int) -> CheckCondition:
    byte, bit = PATTERN_DESCRIPTOR.by_name[name].highest_bit("big")
    pointer = FieldPointer(start + byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def write_pattern(lu: LogicalUnit, repeated: bytes) -> Translation:
    """Write a pattern to every block, from its beginning in each, durably.

    The second half of `lu.progress` is that of this.
    """
    block = (repeated * (lu.block_bytes // len(repeated) + 1))[: lu.block_bytes]
    protection: Protection | None = None
    if lu.facts.moves_protection:
        block, protection = block + _NO_PROTECTION, moved(0, tagged=False)
    step = _PIECE_BYTES // len(block)
    data, whole = block * step, lu.capacity_blocks
    for lba in range(0, whole, step):
        piece = data[: min(step, whole - lba) * len(block)]
        yield from run(data_commands(Opcode.WRITE, lu, lba, piece, protection=protection))
        lu.progress = (_WHOLE + _WHOLE * min(lba + step, whole) // whole) // 2
    if lu.facts.volatile_write_cache:
        yield NvmeCommand(Opcode.FLUSH, lu.nsid)
    return GOOD
