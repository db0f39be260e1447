"""Requests from the tables' rows by the thousand: what `strategies` has, thrown by a seeded dice.

Hypothesis chooses well, and shrinks, but takes a millisecond for a CDB. What a dice throws costs a
hundredth of that, and is repeated by its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from scsi2nvme import commands
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.commands.provisioning import UNMAP_BLOCK_DESCRIPTOR, UNMAP_HEADER
from scsi2nvme.fields import Field
from scsi2nvme.fuzz import native, strategies
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit

# One of so many is as large as it likes: it costs as much as a hundred others.
_LARGE = 64
_SMALL_BLOCKS = 16
_FLAGS = ("dpo", "fua", "group")


class Dice:
    """Throws CDBs of rows, with the data-out that they announce, for one logical unit."""

    def __init__(self, lu: LogicalUnit, seed: str) -> None:
        self._lu, self._random = lu, random.Random(seed)
        near = strategies.near_capacity(lu.capacity_blocks)
        self._edges = cache(lambda field: strategies.field_edges(field, *near))
        self._counts = {
            row.name: native.taken_counts(row, lu)
            for row in commands.COMMANDS
            if row.hot is not Hot.NO and "lba" in row.structure.by_name
        }

    def request(self, row: Command) -> tuple[bytes, bytes]:
        """Return a CDB, mostly of a row, and its data, as the hot path gets them."""
        cdb, data = self._random.choice(self._ways)(self, row)
        if not self._random.randrange(8) and len(cdb) >= row.length:
            whole = bytearray(cdb)
            row.structure.by_name["naca"].write(whole, 1, "big")
            cdb = bytes(whole)
        return cdb, self._just_announced(cdb, data)

    # Ways to make one

    def _plain(self, row: Command) -> tuple[bytes, bytes]:
        """Return a request that the hot path takes, as a rule."""
        dice, fields = self._random, row.structure.by_name
        values = {name: dice.randint(0, fields[name].maximum) for name in _FLAGS if name in fields}
        if row.hot is Hot.UNMAP:
            return self._unmap(row, values)
        if not self._counts.get(row.name):
            return row.build(**values), b""
        count = self._count(row)
        most = min(fields["lba"].maximum, self._lu.capacity_blocks - count)
        lba = native.in_zone(self._lu, dice.choice((most, dice.randint(0, most))), count)
        values |= {row.length_field: count, "lba": lba}
        if "bytchk" in fields:
            values["bytchk"] = dice.choice(native.checks(row, self._lu) or (0,))
        if "unmap" in fields:
            values["unmap"] = dice.randrange(2)
        return row.build(**values), dice.choice((b"\0", b"\1", b"\0\1\2"))

    def _near_edges(self, row: Command) -> tuple[bytes, bytes]:
        """Return a CDB whose fields are arbitrary, its blocks often just within the capacity."""
        dice = self._random
        values = {
            field.name: self._value(field)
            for field in row.fields
            if field.name in (row.length_field, "lba") or dice.randrange(2)
        }
        if row.name in self._counts and dice.randrange(_LARGE) and self._is_large(row, values):
            values[row.length_field] = dice.randrange(_SMALL_BLOCKS)
        if row.name in self._counts and dice.randrange(2):
            fits = self._lu.capacity_blocks - values[row.length_field] + dice.randrange(-1, 2)
            values["lba"] = min(max(fits, 0), row.structure.by_name["lba"].maximum)
        return row.build(**values), dice.choice((b"\0", dice.randbytes(dice.randint(1, 48))))

    def _damaged(self, row: Command) -> tuple[bytes, bytes]:
        """Return the same with reserved bits set."""
        way = self._random.choice((Dice._plain, Dice._near_edges))
        cdb, data = way(self, row)
        places = strategies.reserved_bits(row)
        if not places:
            return cdb, data
        whole = bytearray(cdb)
        for byte, bit in self._random.choices(places, k=self._random.randint(1, 3)):
            whole[byte] |= 1 << bit
        return bytes(whole), data

    def _anything(self, row: Command) -> tuple[bytes, bytes]:
        """Return any bytes of any length, often nearly a CDB."""
        dice = self._random
        noise = dice.randbytes(dice.randint(0, strategies.LONGEST_CDB))
        head, data = dice.choice((Dice._plain, Dice._near_edges))(self, row)
        match dice.randrange(4):
            case 0:
                return noise, data
            case 1:
                return (head + noise)[: dice.randint(0, strategies.LONGEST_CDB)], data
        mixed = bytearray(head)
        for _ in range(dice.randint(1, 4)):
            mixed[dice.randrange(len(mixed))] ^= 1 << dice.randrange(8)
        return bytes(mixed), data

    _ways: tuple[Callable[[Dice, Command], tuple[bytes, bytes]], ...] = (
        *(_plain, _plain, _near_edges, _near_edges),
        *(_damaged, _anything),
    )

    # Parts

    def _value(self, field: Field) -> int:
        dice = self._random
        match dice.randrange(3):
            case 0:
                return dice.randint(0, min(field.maximum, 16))
            case 1:
                return dice.choice(self._edges(field))
        return dice.randint(0, field.maximum)

    def _count(self, row: Command) -> int:
        counts, dice = self._counts[row.name], self._random
        if row.hot is Hot.PRE_FETCH or not isinstance(counts, range) or not dice.randrange(_LARGE):
            return dice.choice(counts)
        return dice.choice(counts[:_SMALL_BLOCKS])

    def _is_large(self, row: Command, values: dict[str, int]) -> bool:
        """Whether a CDB moves so much that it takes long."""
        bytes_moved = values[row.length_field] * self._lu.block_bytes
        return strategies.MOST_DATA // 8 < bytes_moved <= MAXIMUM_TRANSFER_BYTES

    def _unmap(self, row: Command, values: dict[str, int]) -> tuple[bytes, bytes]:
        """Return an UNMAP whose list one Dataset Management can do, or hardly, or none."""
        dice, lu = self._random, self._lu
        limits, descriptors = lu.unmap_limits, b""
        numbers = (0, 1, 1, 2, 7, 17) if dice.randrange(_LARGE) else (120, limits.ranges, 256, 257)
        for _ in range(dice.choice(numbers)):
            most = min(lu.capacity_blocks, limits.blocks_of_range + 1, 0xFFFFFFFF)
            few = min(most, _SMALL_BLOCKS)
            count = dice.choice((most, dice.randint(0, most), dice.randint(0, few)))
            lba = dice.randint(0, lu.capacity_blocks - count + (not dice.randrange(16)))
            descriptors += UNMAP_BLOCK_DESCRIPTOR.build(lba=lba, number_of_blocks=count)
        size, wrong = len(descriptors), dice.choice((0,) * 12 + (1, 16, -1, -16))
        header = UNMAP_HEADER.build(
            unmap_data_length=size + 6,
            unmap_block_descriptor_data_length=max(size + wrong, 0),
        )
        return row.build(**values, **{row.length_field: size + 8}), header + descriptors

    def _just_announced(self, cdb: bytes, data: bytes) -> bytes:
        """Return just the data that a CDB announces: a whole list, or a pattern repeated."""
        row = commands.find(cdb)
        if row is None or len(cdb) < row.length or row.data is not Data.OUT:
            return b""
        size = row.data_bytes(row.structure.parse(cdb), self._lu.block_bytes)
        if size > MAXIMUM_TRANSFER_BYTES:
            return b""
        if row.hot is Hot.COMPARE_AND_WRITE:
            return data[:1] * (size // 2) + self._random.randbytes(1) * (size // 2)
        if row.hot is Hot.UNMAP:
            return data[:size] + bytes(size - len(data[:size]))
        return (data * (size // max(len(data), 1) + 1))[:size].ljust(size, b"\0")
