"""What a CDB asks of protection information: RDPROTECT, WRPROTECT, VRPROTECT. Spec: SBC-3 4.22.

Application tags are checked where an initiator has made them its own (ATO), and has said what they
are to be: in a 32-byte CDB, else by mode page 0Ah/02h (ATMPE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scsi2nvme.command import Task
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.protection import (
    CHECK_APPLICATION,
    CHECK_GUARD,
    CHECK_REFERENCE,
    NO_APPLICATION_TAG,
    PRACT,
    TUPLE_BYTES,
    ApplicationTag,
    Protection,
    moved,
)
from scsi2nvme.scsi.result import CheckCondition
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
    LOGICAL_BLOCK_GUARD_CHECK_FAILED,
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    FieldPointer,
    Sense,
    SenseKey,
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
EXPECTED_APPLICATION_TAG, APPLICATION_TAG_MASK = "expected_application_tag", "application_tag_mask"

# By what RDPROTECT and its like hold when tuples are moved, on the way in as on the way out; and
# what VERIFY compares, where that is sent. Spec: SBC-3 5.11 (RDPROTECT), 5.33 (WRPROTECT);
# SBC-4 5.36 (VRPROTECT with BYTCHK).
_ALL = CHECK_GUARD | CHECK_APPLICATION | CHECK_REFERENCE
_CHECKS = {
    0b001: _ALL,
    0b010: CHECK_APPLICATION | CHECK_REFERENCE,
    0b011: 0,
    0b100: CHECK_GUARD,
    0b101: _ALL,
}
_COMPARED = {
    0b001: _ALL,
    0b010: CHECK_APPLICATION | CHECK_REFERENCE,
    0b011: _ALL,
    0b100: _ALL,
    0b101: CHECK_GUARD | CHECK_APPLICATION,
}
_PARTS = {
    "guard": (CHECK_GUARD, LOGICAL_BLOCK_GUARD_CHECK_FAILED),
    "application_tag": (CHECK_APPLICATION, LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED),
    "reference_tag": (CHECK_REFERENCE, LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED),
}
_EVERYWHERE = range(1 << 64)
_TYPE_WITH_LONG_CDBS, _TYPE_WITHOUT_REFERENCE_TAGS = 2, 3


def protection_of(task: Task) -> Protection:
    """Return what a command that moves, verifies or repeats blocks says of their tuples.

    What is not transferred to this nexus, or is reserved, is refused. Spec: SBC-3 4.22.2.
    """
    expected = task.cdb.get(EXPECTED_TAG)
    lba = 0 if expected is None else task.cdb["lba"]
    named = None
    if EXPECTED_APPLICATION_TAG in task.cdb:
        named = task.cdb[EXPECTED_APPLICATION_TAG], task.cdb[APPLICATION_TAG_MASK]
    return protection_of_range(task, lba, expected, named)


def protection_of_range(
    task: Task, lba: int, expected: int | None, named: tuple[int, int] | None
) -> Protection:
    """Return the same of blocks from an LBA on, of whose reference tags the first is `expected`.

    `named` are the application tag and its mask. None: the command names none.
    """
    name, facts, kept = task.command.protect_field, task.lu.facts, task.lu.protection
    code = task.cdb[name] if name else 0
    shift = 0 if expected is None else expected - lba
    if not code:
        if expected is None:
            return kept
        checks = CHECK_GUARD | CHECK_REFERENCE
        return replace(
            Protection(PRACT | checks, PRACT, checks, tagged=True, shift=shift),
            application_tag=kept.application_tag,
            expected=_expected(kept, named),
        )
    if not task.moves_protection or code not in _CHECKS:
        raise task.invalid_field(name)
    if facts.protection_type == _TYPE_WITH_LONG_CDBS and expected is None:
        raise CheckCondition(Sense(INVALID_COMMAND_OPERATION_CODE, pointer=FieldPointer(0)))
    checks, compared, tags = _CHECKS[code], _COMPARED[code], _expected(kept, named)
    tagged = facts.protection_type != _TYPE_WITHOUT_REFERENCE_TAGS
    if not tagged:
        checks &= ~CHECK_REFERENCE
    if not tagged and not kept.application_tag:
        compared &= ~CHECK_REFERENCE
    return moved(
        checks & ~CHECK_APPLICATION,  # which a command checks where it says what is expected
        tagged=tagged,
        shift=shift if tagged else 0,
        expected=tags if checks & CHECK_APPLICATION else (),
        compared=compared if tags else compared & ~CHECK_APPLICATION,
    )


def _expected(kept: Protection, named: tuple[int, int] | None) -> tuple[ApplicationTag, ...]:
    """Return which application tags blocks are to have. Spec: SBC-4 5.16, 5.36, 5.40.2."""
    if named is None:
        return kept.expected
    tag, mask = named
    return (ApplicationTag(_EVERYWHERE, tag, mask),) if kept.application_tag and mask else ()


def protection_without_data(task: Task) -> Protection:
    """Return the same for blocks that are not sent, with tuples that the controller makes."""
    asked, kept = protection_of(task), task.lu.protection
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
    """Refuse data, or parts of tuples that are compared, which are not those of the medium.

    `block_bytes` are those of a block and what is moved behind it. Spec: SBC-4 5.36 table 128.
    """
    if medium == sent:
        return
    if not protection.tuple_bytes:
        raise CheckCondition(Sense(MISCOMPARE_DURING_VERIFY_OPERATION))
    ours, theirs = (_compared(each, protection, block_bytes) for each in (medium, sent))
    if ours == theirs:
        return
    for one, other, tuple_ in zip(
        *(_blocks(each, block_bytes) for each in (ours, theirs, medium)), strict=True
    ):
        if one == other:
            continue
        if one[:-TUPLE_BYTES] != other[:-TUPLE_BYTES]:
            raise CheckCondition(Sense(MISCOMPARE_DURING_VERIFY_OPERATION))
        _check_tuple(one, other, tuple_, protection)


def _check_tuple(one: bytes, other: bytes, medium: bytes, protection: Protection) -> None:
    """Refuse a tuple that differs, unless that of the medium says that it is not looked at."""
    found = TUPLE.parse(medium[-TUPLE_BYTES:])
    untagged = protection.tagged or found.reference_tag == 0xFFFFFFFF
    if found.application_tag == NO_APPLICATION_TAG and untagged:
        return
    ours, theirs = (TUPLE.parse(each[-TUPLE_BYTES:]) for each in (one, other))
    code = next(code for name, (_, code) in _PARTS.items() if ours[name] != theirs[name])
    raise CheckCondition(Sense(replace(code, key=SenseKey.MISCOMPARE)))


def _compared(data: bytes, protection: Protection, block_bytes: int) -> bytes:
    """Return blocks with zeroes for what of their tuples is not compared.

    As this is of thousands of blocks, it is not done block by block.
    """
    compared = bytearray(data)
    zeroes = bytes(len(data) // block_bytes)
    for name, (check, _) in _PARTS.items():
        if protection.compared & check:
            continue
        field = TUPLE.by_name[name]
        start = block_bytes - TUPLE_BYTES + field.byte
        for at in range(start, start + field.width // 8):
            compared[at::block_bytes] = zeroes
    return bytes(compared)


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
