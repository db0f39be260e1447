"""Streams of writes over a real controller and portal, also after it was reset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon, scsi2nvme
from tests.iscsi_client import Initiator

BLOCK = 512
STREAM_NOT_OPEN = (5, 0x2C, 0x0F)
_STATUS = "-n 1 --cdw11=0x0102 --cdw10=3 -r -l 16 -b --force"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    disk = "emulated:memory,size=64M,streams=7"
    with Daemon(tmp_path_factory.mktemp("daemon"), disk) as daemon:
        yield daemon


@pytest.fixture
def one(daemon: Daemon) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        reset(daemon)
        yield one


def reset(daemon: Daemon) -> None:
    assert scsi2nvme("reset", "0", "--state-dir", str(daemon.state_dir)).returncode == 0


def open_streams(daemon: Daemon) -> list[int]:
    """Return the streams that the controller says are open."""
    where = "--state-dir", str(daemon.state_dir)
    done = scsi2nvme("admin-passthru", *where, "0", *_STATUS.split(), "-o", "0x1a")
    assert done.returncode == 0, done.stderr
    raw = done.stdout.encode("latin-1")
    count, *found = (int.from_bytes(raw[at : at + 2], "little") for at in range(0, 16, 2))
    return found[:count]


def write(one: Initiator, cdb: str, blocks: int, byte: int) -> None:
    data = bytes([byte]) * BLOCK * blocks
    assert one.command(0, bytes.fromhex(cdb), data_out=data).status == 0
    read = bytes.fromhex(f"88 00 0000000000001000 {blocks:08X} 00 00")
    assert one.command(0, read, data_in=len(data)).data == data


def test_groups_are_streams(one: Initiator, daemon: Daemon) -> None:
    for group in (0, 2, 5, 63):
        write(one, f"8A 00 0000000000001000 00000008 {group:02X} 00", 8, group + 1)
    assert open_streams(daemon) == [2, 5]
    write(one, "8A 00 0000000000001000 00001000 03 00", 0x1000, 9)  # by several Writes
    assert open_streams(daemon) == [2, 3, 5]


def test_a_stream_is_opened_written_and_closed(one: Initiator, daemon: Daemon) -> None:
    control = bytes.fromhex("9E 34 0000 0000 00000000 00000008 00 00")
    stream = int.from_bytes(one.command(0, control, data_in=8).data[4:6], "big")
    assert stream == 6
    write(one, "9A 00 0000000000001000 0006 0008 00 00", 8, 7)
    assert open_streams(daemon) == [6]
    status = bytes.fromhex("9E 16 0000 0006 00000000 00000010 00 00")
    data = one.command(0, status, data_in=16).data
    assert data == bytes.fromhex("00000008 0000 0007 0000 0006 00000000")
    assert one.command(0, bytes.fromhex("9E 54 0000 0006 00000000 00000000 00 00")).status == 0
    assert open_streams(daemon) == []
    refused = bytes.fromhex("9A 00 0000000000001000 0006 0001 00 00")
    assert one.command(0, refused, data_out=bytes(BLOCK)).sense_triple == STREAM_NOT_OPEN


def test_streams_that_a_reset_has_taken(tmp_path: Path) -> None:
    """What is enabled is refused from the second time on, and what is written is written."""
    disk = "emulated:memory,size=64M,streams=7,fault=directive-send:status=1/7F:after=1"
    page = bytes.fromhex("12 01 B7 0020 00")
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        assert one.command(0, page, data_in=32).data[5:8] == bytes([1, 0, 7])
        write(one, "8A 00 0000000000001000 00000008 02 00", 8, 1)
        reset(daemon)
        assert one.command(0, bytes(6)).sense_triple == (6, 0x2A, 0x01)  # mode page 0Ah/05h
        assert one.command(0, bytes(6)).sense_triple == (6, 0x3F, 0x03)  # page B7h
        assert one.command(0, page, data_in=32).data[5:8] == bytes(3)
        write(one, "8A 00 0000000000001000 00000008 02 00", 8, 2)
