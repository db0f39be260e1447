"""What a CDB asks of protection information: RDPROTECT, WRPROTECT, VRPROTECT. Spec: SBC-3 4.22."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scsi2nvme.command import Task
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.protection import (
    CHECK_GUARD,
    CHECK_REFERENCE,
    PRACT,
    TUPLE_BYTES,
    Protection,
    moved,
)
from scsi2nvme.scsi.result import CheckCondition
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    LOGICAL_BLOCK_GUARD_CHECK_FAILED,
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    FieldPointer,
    Sense,
)

TUPLE = Structure(
    "Protection information",
    TUPLE_BYTES,
    (
        Field("guard", 0, 0, 16),
        Field("application_tag", 2, 0, 16),
        Field("reference_tag", 4, 0, 32),
    ),
    spec="SBC-3 4.22.3",
)
EXPECTED_TAG = "expected_initial_reference_tag"

# By what RDPROTECT and its like hold when tuples are moved, on the way in as on the way out.
# Application tags are not checked: ATO is zero. Spec: SBC-3 5.11 (RDPROTECT), 5.33 (WRPROTECT).
_CHECKS = {
    0b001: CHECK_GUARD | CHECK_REFERENCE,
    0b010: CHECK_REFERENCE,
    0b011: 0,
    0b100: CHECK_GUARD,
    0b101: CHECK_GUARD | CHECK_REFERENCE,
}
_CHECKED_BY = {"guard": CHECK_GUARD, "application_tag": 0, "reference_tag": CHECK_REFERENCE}
_WRONG_GUARD = LOGICAL_BLOCK_GUARD_CHECK_FAILED
_WRONG_REFERENCE_TAG = LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED
_TYPE_WITH_LONG_CDBS, _TYPE_WITHOUT_REFERENCE_TAGS = 2, 3


def protection_of(task: Task) -> Protection:
    """Return what a command that moves, verifies or repeats blocks says of their tuples.

    What is not transferred to this nexus, or is reserved, is refused. Spec: SBC-3 4.22.2.
    """
    name, facts = task.command.protect_field, task.lu.facts
    code, expected = task.cdb[name] if name else 0, task.cdb.get(EXPECTED_TAG)
    shift = 0 if expected is None else expected - task.cdb["lba"]
    if not code:
        if expected is None:
            return facts.protection
        checks = CHECK_GUARD | CHECK_REFERENCE
        return Protection(PRACT | checks, PRACT, checks, tagged=True, shift=shift)
    if not task.moves_protection or code not in _CHECKS:
        raise task.invalid_field(name)
    if facts.protection_type == _TYPE_WITH_LONG_CDBS and expected is None:
        raise CheckCondition(Sense(INVALID_COMMAND_OPERATION_CODE, pointer=FieldPointer(0)))
    checks = _CHECKS[code]
    if facts.protection_type == _TYPE_WITHOUT_REFERENCE_TAGS:
        return moved(checks & ~CHECK_REFERENCE, tagged=False)
    return moved(checks, tagged=True, shift=shift)


def protection_without_data(task: Task) -> Protection:
    """Return the same for blocks that are not sent, with tuples that the controller makes."""
    asked, kept = protection_of(task), task.lu.facts.protection
    return replace(kept, shift=asked.shift) if asked.shift else kept


def repeated(block: bytes, protection: Protection, lba: int, first: int, blocks: int) -> bytes:
    """Return `block`, the data and tuple of block `first`, as blocks from `lba` on.

    Reference tags count on where they do so on the medium. Spec: SBC-3 5.43.
    """
    if not protection.tuple_bytes or not protection.tagged:
        return block * blocks
    data, tuple_ = block[:-TUPLE_BYTES], TUPLE.parse(block[-TUPLE_BYTES:])
    head = data + tuple_.raw[:4]
    start = tuple_.reference_tag + lba - first
    return b"".join(head + (start + n & 0xFFFFFFFF).to_bytes(4, "big") for n in range(blocks))


def check_equal(medium: bytes, sent: bytes, protection: Protection, block_bytes: int) -> None:
    """Refuse data, or parts of tuples that are checked, which are not those of the medium.

    `block_bytes` are those of a block and what is moved behind it. Spec: SBC-3 5.29.
    """
    tuples = protection.tuple_bytes > 0
    ours = _compared(medium, protection, block_bytes) if tuples else medium
    theirs = _compared(sent, protection, block_bytes) if tuples else sent
    if ours == theirs:
        return
    if tuples:
        pairs = zip(_blocks(ours, block_bytes), _blocks(theirs, block_bytes), strict=True)
        one, other = next(pair for pair in pairs if pair[0] != pair[1])
        if one[:-TUPLE_BYTES] == other[:-TUPLE_BYTES]:
            guards = [TUPLE.parse(each[-TUPLE_BYTES:]).guard for each in (one, other)]
            same = guards[0] == guards[1]
            raise CheckCondition(Sense(_WRONG_REFERENCE_TAG if same else _WRONG_GUARD))
    raise CheckCondition(Sense(MISCOMPARE_DURING_VERIFY_OPERATION))


def _compared(data: bytes, protection: Protection, block_bytes: int) -> bytes:
    """Return blocks with zeroes for what of their tuples is not checked.

    As this is of thousands of blocks, it is not done block by block.
    """
    compared = bytearray(data)
    zeroes = bytes(len(data) // block_bytes)
    for name, check in _CHECKED_BY.items():
        if protection.verify & check:
            continue
        field = TUPLE.by_name[name]
        start = block_bytes - TUPLE_BYTES + field.byte
        for at in range(start, start + field.width // 8):
            compared[at::block_bytes] = zeroes
    return bytes(compared)


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
