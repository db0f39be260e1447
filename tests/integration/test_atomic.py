"""Writes of other kinds than WRITE, over a real controller and portal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator

BLOCK = 512
DISK = "emulated:memory,size=64M,atomic=128K,atomic-boundary=256K,uncorrectable=on"
INVALID_FIELD_IN_CDB = (5, 0x24, 0)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), DISK) as daemon:
        yield daemon


@pytest.fixture
def one(daemon: Daemon) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        yield one


def test_an_atomic_write_up_to_its_limits(one: Initiator) -> None:
    limits = one.command(0, bytes.fromhex("12 01 B0 0040 00"), data_in=64).data
    most, alignment = (int.from_bytes(limits[at : at + 4], "big") for at in (44, 48))
    assert (most, alignment) == (256, 256)
    data = bytes(range(256)) * 2 * most
    whole = bytes.fromhex("9C 00 0000000000000100 0000 0100 00 00")
    assert one.command(0, whole, data_out=data).status == 0
    read = bytes.fromhex("88 00 0000000000000100 00000100 00 00")
    assert one.command(0, read, data_in=len(data)).data == data
    for cdb in (
        "9C 00 0000000000000080 0000 0100 00 00",  # crosses a boundary
        "9C 00 0000000000000100 0000 0101 00 00",
        "9C 00 0000000000000100 0101 0100 00 00",
    ):
        blocks = int(cdb.split()[4], 16)
        refused = one.command(0, bytes.fromhex(cdb), data_out=bytes(blocks * BLOCK))
        assert refused.sense_triple == INVALID_FIELD_IN_CDB
    assert one.command(0, read, data_in=len(data)).data == data


def test_ranges_by_one_command(one: Initiator) -> None:
    ranges = (5000, 3), (5010, 1)
    head = bytes(32) + b"".join(
        (lba.to_bytes(8, "big") + count.to_bytes(4, "big")).ljust(32, b"\0")
        for lba, count in ranges
    )
    data = head.ljust(BLOCK, b"\0") + b"".join(bytes([each]) * BLOCK for each in b"abcd")
    cdb = bytes.fromhex("9F 12 00 00 0001 0000 0002 00000004 00 00")
    assert one.command(0, cdb, data_out=data).status == 0
    read = bytes.fromhex("88 00 0000000000001388 0000000B 00 00")
    blocks = one.command(0, read, data_in=11 * BLOCK).data
    assert blocks[::BLOCK] == b"abc" + bytes(7) + b"d"


def test_a_block_that_cannot_be_read(one: Initiator) -> None:
    mark = bytes.fromhex("9F 51 0000000000001770 0000 0000 00 00")
    assert one.command(0, mark).status == 0
    read = bytes.fromhex("88 00 000000000000176E 00000004 00 00")
    assert one.command(0, read, data_in=4 * BLOCK).sense_triple == (3, 0x11, 0)
    verify = bytes.fromhex("8F 00 000000000000176E 00000004 00 00")
    assert one.command(0, verify).sense_triple == (3, 0x11, 0)
    write = bytes.fromhex("8A 00 0000000000001770 00000001 00 00")
    assert one.command(0, write, data_out=b"w" * BLOCK).status == 0
    assert one.command(0, read, data_in=4 * BLOCK).data == bytes(2 * BLOCK) + b"w" * BLOCK + bytes(
        BLOCK
    )
