"""The binding floor: checksums, memory, errors and lifetimes."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.dataplane import (
    Emulator,
    NvmeOp,
    Plane,
    PlaneController,
    PlaneNexus,
    PlaneUnit,
    Port,
    QueuePair,
    Region,
    UnitParameters,
    crc32c,
    hot_data_bytes,
    hot_translate,
)
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from tests.support import row

PAGE = 4096


# CRC32C


def test_the_check_value() -> None:
    """RFC 7143 appendix: the CRC of "123456789"."""
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_examples_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


# Around these the implementation changes its way: words, blocks, three lanes at a time.
EDGES = sorted(
    length + change
    for length in (0, 8, 64, 255, 256, 512, 768, 1024, 1536, 3072, 4096, 6144, 8192, 12288, 24576)
    for change in (-1, 0, 1, 7)
    if length + change >= 0
)
PATTERN = bytes((index * 167 + (index >> 8) * 13) & 0xFF for index in range(EDGES[-1] + 16))


@pytest.mark.parametrize("length", EDGES)
def test_every_length_and_alignment(length: int) -> None:
    for offset in (0, 1, 3, 8):
        data = PATTERN[offset : offset + length]
        view = memoryview(bytearray(PATTERN))[offset : offset + length]
        assert crc32c(view) == google_crc32c.value(data)


def test_a_megabyte() -> None:
    data = PATTERN * 40
    assert crc32c(data) == google_crc32c.value(data)


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_crc_goes_on(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == google_crc32c.value(first + second)


# Memory


@pytest.fixture
def memory() -> Iterator[Region]:
    with mmap.mmap(-1, 16 * PAGE) as buffer:
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        yield Region(address, 1 << 40, 16 * PAGE)


def test_a_region_is_the_memory_itself(memory: Region) -> None:
    memory.view()[:4] = b"abcd"
    part = memory.slice(2, 2)
    assert (part.vaddr, part.iova, part.length) == (memory.vaddr + 2, memory.iova + 2, 2)
    assert bytes(part.view()) == b"cd"
    part.view()[:] = b"xy"
    assert bytes(memory.view()[:4]) == b"abxy"
    assert memory.slice(16 * PAGE, 0).length == 0


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, 1), (0, -1), (0, 16 * PAGE + 1), (16 * PAGE, 1)]
)
def test_a_slice_stays_inside(memory: Region, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        memory.slice(offset, length)


# Errors


def test_errors_are_exceptions_with_a_reason(memory: Region) -> None:
    emulator = Emulator()
    try:
        with pytest.raises(OSError, match="SQ 1"):
            emulator.create_sq(1, 1, memory.iova, 8)  # without its CQ
        with pytest.raises(OSError, match="namespace 7"):
            emulator.remove_namespace(7)
    finally:
        emulator.close()
    emulator.close()  # twice is harmless


@pytest.mark.parametrize(("depth", "misalignment"), [(1, 0), (64, 0), (4, 512)])
def test_a_queue_pair_needs_room_and_alignment(
    memory: Region, depth: int, misalignment: int
) -> None:
    emulator = Emulator()
    port = Port.emulated(emulator)
    place = Region(memory.vaddr + misalignment, memory.iova + misalignment, 8 * PAGE)
    with pytest.raises(OSError, match="queue pair 1"):
        QueuePair(port, 1, depth, place)
    port.close()
    emulator.close()


def test_a_full_queue_says_so(memory: Region) -> None:
    emulator = Emulator()
    port = Port.emulated(emulator)
    queue = QueuePair(port, 1, 4, memory)
    cids = [queue.place(bytes(64), None, 0, 0) for _ in range(4)]
    assert cids[3] is None
    assert len(set(cids[:3])) == 3
    assert queue.free_slots == 0
    queue.abandon(0x371)
    assert [each.status for each in queue.poll()] == [0x371] * 3
    queue.close()
    port.close()
    emulator.close()


def test_a_lun_beyond_flat_space_is_refused() -> None:
    plane = Plane([-1])
    controller = PlaneController(plane, 1)
    unit = PlaneUnit(controller, PARAMETERS)
    nexus = PlaneNexus(plane, 2)
    nexus.map(16383, unit)
    with pytest.raises(OSError, match="LUN 16384"):
        nexus.map(16384, unit)
    for each in (nexus, unit, controller, plane):
        each.close()


# The hot path as a pure function

PARAMETERS = UnitParameters(
    nsid=3,
    block_bytes=512,
    blocks=1 << 33,
    maximum_blocks=256,
    boundary_blocks=0,
    volatile_cache=True,
)


def test_a_read_becomes_reads() -> None:
    lba = (1 << 32) + 5
    cdb = row("READ (16)").build(lba=lba, transfer_length=300, fua=1)
    ops = hot_translate(PARAMETERS, cdb)
    assert ops is not None
    assert [(op.opcode, op.slba, op.blocks, op.nsid) for op in ops] == [
        (2, lba, 256, 3),
        (2, lba + 256, 44, 3),
    ]
    sqe = ops[0].sqe
    assert sqe[:8] == bytes.fromhex("02000000 03000000")
    assert sqe[8:40] == bytes(32)
    assert sqe[40:52] == bytes.fromhex("05000000 01000000 ff000040")
    assert sqe[52:] == bytes(12)


def test_a_boundary_cuts() -> None:
    parameters = UnitParameters(3, 512, 1 << 20, 256, 8, False)
    ops = hot_translate(parameters, row("WRITE (10)").build(lba=6, transfer_length=12))
    assert ops is not None
    assert [(op.opcode, op.slba, op.blocks) for op in ops] == [(1, 6, 2), (1, 8, 8), (1, 16, 2)]


def test_a_flush_is_sent_only_to_a_cache() -> None:
    cdb = row("SYNCHRONIZE CACHE (10)").build()
    sent = hot_translate(PARAMETERS, cdb)
    assert sent == [NvmeOp(0, 0, 1, 0, 3, bytes.fromhex("00000000 03000000") + bytes(56))]
    assert hot_translate(UnitParameters(3, 512, 8, 8, 0, False), cdb) == []


@pytest.mark.parametrize(
    "cdb",
    [
        b"",
        b"\x28",
        row("READ (10)").build(lba=0, transfer_length=1)[:9],
        row("READ (16)").build(lba=1 << 33, transfer_length=1),
        row("READ (16)").build(lba=(1 << 64) - 1, transfer_length=0xFFFFFFFF),
        row("READ (16)").build(lba=0, transfer_length=MAXIMUM_TRANSFER_BYTES // 512 + 1),
        row("READ (10)").build(lba=0, transfer_length=1, rdprotect=1),
        row("READ (10)").build(lba=0, transfer_length=1, naca=1),
        bytes([0x28, 0x01, *bytes(8)]),  # a reserved bit
        row("INQUIRY").build(allocation_length=96),
        row("SYNCHRONIZE CACHE (10)").build(immed=1),
        bytes([0xFF] * 16),
    ],
    ids=lambda cdb: cdb.hex() or "empty",
)
def test_where_the_hot_path_steps_aside(cdb: bytes) -> None:
    assert hot_translate(PARAMETERS, cdb) is None


@pytest.mark.parametrize(
    ("cdb", "expected"),
    [
        (b"", (0, 0)),
        (row("INQUIRY").build(allocation_length=96), (96, 1)),
        (row("READ (6)").build(), (256 * 512, 1)),
        (row("READ CAPACITY (10)").build(), (8, 1)),
        (row("WRITE SAME (10)").build(number_of_blocks=9), (512, 2)),
        (row("WRITE SAME (16)").build(number_of_blocks=9, ndob=1), (0, 2)),
        (row("COMPARE AND WRITE").build(number_of_blocks=2), (2048, 2)),
        (row("VERIFY (10)").build(verification_length=9), (0, 2)),
        (row("VERIFY (10)").build(verification_length=9, bytchk=1), (9 * 512, 2)),
        (row("VERIFY (10)").build(verification_length=9, bytchk=3), (512, 2)),
        (row("FORMAT UNIT").build(fmtdata=1), (4, 2)),
        (row("FORMAT UNIT").build(fmtdata=1, longlist=1), (8, 2)),
        (row("READ (16)").build(transfer_length=0xFFFFFFFF), (0xFFFFFFFF * 512, 1)),
        (bytes([0x9E, 0x1F, *bytes(14)]), (0, 0)),  # no such service action
    ],
)
def test_how_much_data_a_cdb_announces(cdb: bytes, expected: tuple[int, int]) -> None:
    assert hot_data_bytes(cdb, 512) == expected
