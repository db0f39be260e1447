"""What hypervisors and clusters send is answered as they need it."""

from __future__ import annotations

import struct

import pytest

from scsi2nvme.scsi.status import Status
from tests.commands import playing
from tests.commands.initiators import STORIES
from tests.commands.vectors import block, hexed
from tests.model_mover import move_on_models
from tests.support import Bench, make_bench


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(blocks=1 << 16)
    for lba in range(16):
        bench.model.fill(lba, block(lba))
    move_on_models({bench.lu: bench.model})
    return bench


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well(name: str, bench: Bench) -> None:
    assert list(playing.differences(bench, STORIES[name], below=False)) == []


# Windows (ODX), of whose class driver Microsoft publishes the source.

_LIMITS = 36  # bytes of the Block Device ROD Limits descriptor, which it wants to be the first


def _ranges(*each: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in each)


def _populate(bench: Bench, identifier: int, *each: tuple[int, int]) -> bytes:
    """Return the token that Windows has made for a part of a file."""
    rest = _ranges(*each)
    head = struct.pack(">HBxIIxxH", 14 + len(rest), 0, 0, 0, len(rest))
    cdb = struct.pack(">BB4xIIxx", 0x83, 0x10, identifier, len(head + rest))
    assert bench.run(cdb, head + rest).status is Status.GOOD
    answer = _information(bench, identifier, 0x10, blocks=sum(blocks for _, blocks in each))
    length, descriptor = struct.unpack(">IH", answer[32:38])
    assert (length, descriptor) == (514, 0)
    return answer[38:]


def _information(bench: Bench, identifier: int, action: int, *, blocks: int) -> bytes:
    """Return what is told of what has ended well, asked with room for sense data."""
    cdb = struct.pack(">BBI4xIxx", 0x84, 0x07, identifier, 32 + 255 + 4 + 514)
    answer = bench.run(cdb).data_in
    told = struct.unpack(">IBBHIBBBBQH", answer[:26])
    assert told == (len(answer) - 4, action, 0x81, 0, 0, 0, 0, 0, 0xF1, blocks, 0)
    return answer


def _write(
    bench: Bench, identifier: int, token: bytes, offset: int, lba: int, blocks: int
) -> bytes:
    """Write a part of what a token stands for, and return the sense data."""
    rest = _ranges((lba, blocks))
    head = struct.pack(">HB5xQ512s6xH", 534 + len(rest), 0, offset, token, len(rest))
    cdb = struct.pack(">BB4xIIxx", 0x83, 0x11, identifier, len(head + rest))
    result = bench.run(cdb, head + rest)
    return b"" if result.sense is None else result.sense.fixed()


def test_windows_finds_the_limits(bench: Bench) -> None:
    page = bench.run(hexed("12 01 8F 00 FF 00")).data_in
    assert len(page) == 255
    kind, length, ranges, longest, default, most, optimal = struct.unpack(
        ">HH6xHIIQQ", page[4 : 4 + _LIMITS]
    )
    assert (kind, length) == (0, _LIMITS - 4)
    assert (ranges, longest, default) == (64, 600, 60)
    assert 0 < optimal <= most
    assert optimal * 512 <= 256 << 20


def test_windows_copies_a_file(bench: Bench) -> None:
    token = _populate(bench, 0, (8, 4), (2, 3))
    assert _write(bench, 1, token, 0, 0x100, 5) == b""
    assert _write(bench, 2, token, 3, 0x200, 2) == b""  # from an offset on
    assert bench.model.blocks(0x100, 5) == b"".join(map(block, (8, 9, 10, 11, 2)))
    assert bench.model.blocks(0x200, 2) == block(11) + block(2)
    _information(bench, 2, 0x11, blocks=2)
    # More than it stands for: Windows knows the reason by this.
    assert _write(bench, 3, token, 3, 0x200, 5)[2:14:10] == b"\x05\x0d"


def test_windows_clears_by_its_token_for_zeroes(bench: Bench) -> None:
    zeroes = hexed("FFFF0001 0000 01F8").ljust(512, b"\0")
    assert _write(bench, 4, zeroes, 0, 4, 2) == b""
    assert bench.model.blocks(3, 4) == block(3) + block(0) * 2 + block(6)


def test_windows_hears_of_a_token_that_is_none_any_more(bench: Bench) -> None:
    token = _populate(bench, 5, (8, 4))
    assert bench.do("WRITE (10)", block(1), lba=9, transfer_length=1).status is Status.GOOD
    assert _write(bench, 6, token, 0, 0x100, 4)[2:14] == hexed("05 00000000 0A 00000000 23 06")
