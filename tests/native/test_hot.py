"""The hot path as a pure function."""

from __future__ import annotations

import pytest

from scsi2nvme.native.hot import NvmeOp, hot_data_bytes, hot_translate
from scsi2nvme.native.plane import UnitParameters
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from tests.support import row

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
    without = UnitParameters(3, 512, 8, 8, 0, False)
    assert hot_translate(without, cdb) == []
    assert hot_translate(without, row("SYNCHRONIZE CACHE (10)").build(immed=1)) == []


@pytest.mark.parametrize(
    "cdb",
    [
        row("TEST UNIT READY").build(),
        row("TEST UNIT READY").build(lun=3),
        row("PRE-FETCH (10)").build(lba=9, prefetch_length=0),
        row("PRE-FETCH (16)").build(lba=(1 << 33) - 4, prefetch_length=4, immed=1),
        row("PRE-FETCH (16)").build(lba=1 << 33),
    ],
    ids=lambda cdb: cdb.hex(),
)
def test_what_needs_no_nvme_command(cdb: bytes) -> None:
    assert hot_translate(PARAMETERS, cdb) == []


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
        row("TEST UNIT READY").build(naca=1),
        bytes([0, 1, *bytes(4)]),  # a reserved bit
        row("PRE-FETCH (16)").build(lba=(1 << 33) - 4, prefetch_length=5),
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
