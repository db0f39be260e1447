"""SCSI commands that move data, made from the command table, and the rules of each kind.

What a row does follows from its `transfer`, its `data` and its fields, so that a new row is
taken in by itself; of a kind that is new, a test says that it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scsi2nvme.command import Command, Data, Transfer
from scsi2nvme.commands import (
    COMMANDS,
    compare_and_write,
    format_unit,
    provisioning,
    sanitize,
    write_atomic,
    write_long,
    write_scattered,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.model.choices import Choices
from tests.model.medium import Medium

_ONE_BLOCK = (Transfer.ONE_BLOCK, Transfer.ONE_BLOCK_UNLESS_NDOB)
_EVERY_BLOCK_COMPARED, _ONE_BLOCK_COMPARED = 1, 3  # BYTCHK
_UNMAP_HEADER, _UNMAP_DESCRIPTOR = 8, 16  # bytes
_LONGEST = 16  # bytes of a CDB


def _is_unmap(row: Command) -> bool:
    return row.translate is provisioning.unmap


def is_scattered(row: Command) -> bool:
    """Whether a row writes the ranges that its data list."""
    return row.translate is write_scattered.write_scattered and row.length <= _LONGEST


def _is_of_blocks(row: Command) -> bool:
    """Whether a row names blocks by LBA and count, and moves blocks if it moves anything.

    Those of 32 bytes are for disks with protection information, those of streams for disks with
    such, which the model's have not.
    """
    names = row.structure.by_name
    counts = names.get(row.length_field) is not None and row.transfer != Transfer.BYTES
    return counts and {"lba", "str_id"} & names.keys() == {"lba"} and row.length <= _LONGEST


def _is_listed(row: Command) -> bool:
    return _is_unmap(row) or is_scattered(row)


ROWS = tuple(row for row in COMMANDS if _is_of_blocks(row) or _is_listed(row))
# What they do to the whole disk has tests of its own.
OTHERS = (
    *(row for row in COMMANDS if row.translate is format_unit.format_unit),
    *sanitize.COMMANDS,
    *write_long.COMMANDS,
)


def joins_medium(row: Command) -> bool:
    """Whether a row ORs its data to what is on the medium."""
    return row.translate is compare_and_write.orwrite


def takes_fewer_blocks(row: Command) -> bool:
    """Whether a row takes fewer blocks than its CDB announces (docs/reliability.md)."""
    several = row.data is Data.OUT and row.transfer is Transfer.BLOCKS
    return several and not row.exclusive and not row.whole


@dataclass(frozen=True)
class Wish:
    """What a request is made of: plain values, which hypothesis can shrink."""

    row: Command
    lba: int
    blocks: int
    flags: Mapping[str, int]
    ranges: tuple[tuple[int, int], ...]  # of UNMAP and WRITE SCATTERED
    length: int  # expected data transfer length against what the CDB announces
    content: int
    differs_at: int | None  # byte of the compared data that is not the medium's

    def __repr__(self) -> str:
        rest = f"{self.ranges} {self.length:+} content={self.content} differs_at={self.differs_at}"
        return f"<{self.row.name} {self.lba}+{self.blocks} {dict(self.flags)} {rest}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # what hypothesis prints


@dataclass(frozen=True)
class Request:
    """A command as it is sent. `blocks` are those that it names; `sent` is of its data."""

    row: Command
    cdb: bytes
    values: Mapping[str, int]
    lba: int
    blocks: int
    ranges: tuple[tuple[int, int], ...]
    announced: int
    expected: int
    data_out: bytes = field(repr=False)
    block_bytes: int

    def __repr__(self) -> str:
        return f"{self.row.name} {self.cdb.hex()} EDTL {self.expected} of {self.announced}"

    @cached_property
    def sent(self) -> bytes:
        """What arrives of the data that the CDB announces."""
        return self.data_out[: self.announced]

    def block(self, index: int) -> bytes:
        """Return one block of the data."""
        return self.sent[index * self.block_bytes : (index + 1) * self.block_bytes]


_WORD_BYTES = 16
_WORD_MASK = (1 << 8 * _WORD_BYTES) - 1
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, so that unlike numbers stay unlike


def pattern(content: int, index: int, block_bytes: int) -> bytes:
    """Return a block that no other block is like."""
    word = (content << 32 | index) * _MIX & _WORD_MASK
    return word.to_bytes(_WORD_BYTES, "big") * (block_bytes // _WORD_BYTES)


# ---- choices ----

MOST_BLOCKS = 600
_BLOCK = 512


def wish_of(choose: Choices, capacity: int) -> Wish:
    """Choose any command that moves data; most are well-formed, and crowd around a few places."""
    row = choose.one(ROWS)
    blocks = choose.number(0, choose.one((20, 20, MOST_BLOCKS)))
    bases = (0, 0, 0, 1000, capacity // 2 + 5, max(0, capacity - blocks))
    lba = choose.one(bases) + choose.number(0, 24)
    by_name = row.structure.by_name
    flags = {name: choose.one(values) for name, values in _FLAGS.items() if name in by_name}
    ranges: tuple[tuple[int, int], ...] = ()
    if _is_listed(row):
        count = choose.number(0, 4)
        ranges = tuple((choose.number(0, 60), choose.number(0, 30)) for _ in range(count))
    length = choose.one(_LENGTHS)(choose)
    content = choose.number(0, 1 << 32)
    differs_at = choose.number(0, 4096) if choose.one((False, False, True)) else None
    return Wish(row, lba, blocks, flags, ranges, length, content, differs_at)


_BIT, _RARE_BIT = (0, 1), (0,) * 15 + (1,)
# Fields that have a meaning here; others stay zero.
_FLAGS: Mapping[str, Sequence[int]] = {
    "anchor": _RARE_BIT,
    "atomic_boundary": (0, 0, 0, 4, 600),
    "bytchk": (0, 1, 1, 3, 3, 2),
    "dpo": _BIT,
    "fua": _BIT,
    "fua_nv": _BIT,
    "group": range(64),
    "immed": _BIT,
    "ndob": _BIT,
    "sync_nv": _BIT,
    "unmap": _BIT,
    **{f"{name}protect": _RARE_BIT for name in ("rd", "wr", "vr", "or")},
}


def _exact(choose: Choices) -> int:
    return 0


# The expected data transfer length against what the CDB announces.
_LENGTHS: tuple[Callable[[Choices], int], ...] = (
    _exact,
    _exact,
    _exact,
    lambda choose: choose.number(-3, 3) * _BLOCK,
    lambda choose: choose.number(-2000, 2000),
    lambda choose: choose.number(0, 200) * 8 * _BLOCK + 1,
    lambda choose: -(1 << 32),
)


# ---- from a wish to a request ----


def request_of(wish: Wish, medium: Medium) -> Request:
    """Return the command that is wished for, compared data being those of `medium` for the most."""
    row, size = wish.row, medium.block_bytes
    by_name = row.structure.by_name
    values = {name: value for name, value in wish.flags.items() if name in by_name}
    data = b""
    if _is_unmap(row):
        data = _unmap_list(wish.ranges)
        values[row.length_field] = len(data)
    elif is_scattered(row):
        values |= _scattered_values(wish.ranges)
    else:
        values["lba"] = min(wish.lba, by_name["lba"].maximum)
        values[row.length_field] = min(wish.blocks, by_name[row.length_field].maximum)
    cdb = row.build(**values)
    parsed = row.structure.parse(cdb)
    blocks = 0 if _is_listed(row) else _count(row, values)
    announced = row.data_bytes(parsed, size)
    if row.data is Data.OUT and not _is_unmap(row):
        data = _data(wish, values.get("lba", 0), blocks, announced, medium)
    expected = max(0, announced + wish.length)
    if row.data is Data.OUT:
        data = data[:expected].ljust(expected, b"\xee")
    return Request(
        row, cdb, values, values.get("lba", 0), blocks, wish.ranges, announced, expected, data, size
    )


def _count(row: Command, values: Mapping[str, int]) -> int:
    return values[row.length_field] or row.zero_length_means


def _unmap_list(ranges: tuple[tuple[int, int], ...]) -> bytes:
    length = len(ranges) * _UNMAP_DESCRIPTOR
    header = (length + 6).to_bytes(2, "big") + length.to_bytes(2, "big") + bytes(4)
    return header + b"".join(
        lba.to_bytes(8, "big") + count.to_bytes(4, "big") + bytes(4) for lba, count in ranges
    )


def _scattered_values(ranges: tuple[tuple[int, int], ...]) -> dict[str, int]:
    return {
        "logical_block_data_offset": 1,
        "number_of_lba_range_descriptors": len(ranges),
        "buffer_transfer_length": sum(count for _, count in ranges),
    }


def _scattered_list(ranges: tuple[tuple[int, int], ...]) -> bytes:
    return bytes(32) + b"".join(
        (lba.to_bytes(8, "big") + count.to_bytes(4, "big")).ljust(32, b"\0")
        for lba, count in ranges
    )


def _data(wish: Wish, lba: int, blocks: int, announced: int, medium: Medium) -> bytes:
    """Return as many bytes as the CDB announces."""
    row, size = wish.row, medium.block_bytes
    count = announced // size
    new = b"".join(pattern(wish.content, index, size) for index in range(count))
    if is_scattered(row):
        return _scattered_list(wish.ranges).ljust(size, b"\0") + new[size:]
    if row.transfer in _ONE_BLOCK:
        return bytes(announced) if wish.content % 3 == 0 else new
    if row.transfer is Transfer.BYTCHK:
        return _compared(wish, medium.guess(lba, count))
    if row.transfer is Transfer.TWICE_BLOCKS:
        return _compared(wish, medium.guess(lba, blocks)) + new[: announced // 2]
    return new


def _compared(wish: Wish, data: bytes) -> bytes:
    if wish.differs_at is None or not data:
        return data
    changed = bytearray(data)
    changed[wish.differs_at % len(data)] ^= 1 << wish.content % 8
    return bytes(changed)


# ---- rules ----


def compares(request: Request) -> Mapping[int, bytes]:
    """Return what a command holds the blocks against."""
    if request.row.transfer is Transfer.TWICE_BLOCKS:
        return {request.lba + index: request.block(index) for index in range(request.blocks)}
    if request.row.transfer is Transfer.BYTCHK and request.announced:
        one = request.values["bytchk"] == _ONE_BLOCK_COMPARED
        return {
            request.lba + index: request.block(0 if one else index)
            for index in range(request.blocks)
        }
    return {}


def compares_what_it_wrote(request: Request) -> bool:
    """Whether it is WRITE AND VERIFY with BYTCHK: what others write in between is a miscompare."""
    is_write = takes_fewer_blocks(request.row)
    return is_write and request.values.get("bytchk") == _EVERY_BLOCK_COMPARED


def is_refused(request: Request, lu: LogicalUnit, *, protected: bool) -> bool:
    """Whether a command must be refused for what it says, before anything is done."""
    row, values = request.row, request.values
    if row.modifies_medium and protected:
        return True
    if any(values.get(name) for name in values if name.endswith("protect") or name == "anchor"):
        return True
    if "bytchk" in values and values["bytchk"] not in _meant(row):
        return True
    if any(lba + count > lu.capacity_blocks for lba, count in named(request)):
        return True
    return _has_wrong_count(request, lu) or _has_wrong_data(request)


def _meant(row: Command) -> tuple[int, ...]:
    """Return the values of BYTCHK. Spec: SBC-3 5.29, 5.37."""
    if row.transfer is Transfer.BYTCHK:
        return (0, _EVERY_BLOCK_COMPARED, _ONE_BLOCK_COMPARED)
    return (0, _EVERY_BLOCK_COMPARED)


def _has_wrong_count(request: Request, lu: LogicalUnit) -> bool:
    if request.row.translate is write_atomic.write_atomic:
        limits = lu.atomic_limits()
        boundary = request.values.get("atomic_boundary", 0)
        most = max(request.blocks, boundary)
        aligned = request.lba % limits.alignment == 0
        return not lu.writes_atomically or most > limits.blocks or not aligned
    if request.row.transfer in _ONE_BLOCK:
        return not request.blocks and lu.write_same_non_zero
    return False


def _has_wrong_data(request: Request) -> bool:
    """Spec: docs/reliability.md, what GOOD means."""
    row, announced, expected = request.row, request.announced, request.expected
    if row.data is not Data.OUT:
        return False
    if row.transfer in (Transfer.TWICE_BLOCKS, *_ONE_BLOCK):
        return expected != announced
    if expected >= announced:
        return False
    return not takes_fewer_blocks(row) or bool(expected % request.block_bytes)


def named(request: Request) -> tuple[tuple[int, int], ...]:
    """Return the (LBA, blocks) that a command names."""
    if _is_listed(request.row):
        return request.ranges if request.expected >= request.announced else ()
    return ((request.lba, request.blocks),)
