"""A disk with bad blocks: what initiators are told, and what they may believe of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row

BLOCK = 4096
MEDIUM_ERROR = 3


@contextmanager
def disk(tmp_path: Path, *faults: str) -> Iterator[Initiator]:
    """Serve a disk with faults to an initiator that has taken its unit attention."""
    words = ",".join([spec("emulated", tmp_path, block=BLOCK), *(f"fault={f}" for f in faults)])
    with Daemon(tmp_path, words) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        yield one


def information(result: ScsiResult) -> int | None:
    """Return INFORMATION of fixed format sense data, None if it is not valid."""
    assert result.sense_triple[0] == MEDIUM_ERROR
    return int.from_bytes(result.sense[3:7], "big") if result.sense[0] & 0x80 else None


def read(one: Initiator, lba: int, blocks: int) -> ScsiResult:
    cdb = row("READ (10)").build(lba=lba, transfer_length=blocks)
    return one.command(0, cdb, data_in=blocks * BLOCK)


def write(one: Initiator, lba: int, data: bytes) -> ScsiResult:
    cdb = row("WRITE (10)").build(lba=lba, transfer_length=len(data) // BLOCK)
    return one.command(0, cdb, data_out=data)


@pytest.mark.parametrize(("lba", "blocks"), [(90, 20), (0, 2048), (100, 1), (93, 8)])
def test_a_read_names_the_bad_block_and_sends_nothing(
    tmp_path: Path, lba: int, blocks: int
) -> None:
    with disk(tmp_path, "read:status=2/81:lba=100-100") as one:
        result = read(one, lba, blocks)
        assert information(result) == 100
        assert (result.data, result.underflow) == (b"", blocks * BLOCK)


def test_what_fails_late_at_a_lower_block_is_what_is_told(tmp_path: Path) -> None:
    late, soon = "write:status=2/80:delay=300:lba=0-0:count=1", "write:status=2/80:lba=800-900"
    with disk(tmp_path, late, soon) as one:
        data = b"\x5a" * (1024 * BLOCK)
        assert information(write(one, 0, data)) == 0


def test_all_before_the_block_was_written(tmp_path: Path) -> None:
    with disk(tmp_path, "write:status=2/80:lba=600-600") as one:
        data = b"\x5a" * (1024 * BLOCK)
        told = information(write(one, 0, data))
        if told is not None:  # where a piece begins there
            assert read(one, 0, told).data == data[: told * BLOCK]
        assert information(write(one, 600, data[: 8 * BLOCK])) == 600
        assert information(write(one, 590, data[: 20 * BLOCK])) is None


def test_a_part_of_a_block_is_not_good(tmp_path: Path) -> None:
    with disk(tmp_path) as one:
        cdb = row("WRITE (10)").build(transfer_length=1)
        result = one.command(0, cdb, data_out=b"\x5a" * 200)
        assert result.sense_triple == (5, 0x0E, 0x03)
        assert result.overflow == BLOCK - 200
        assert read(one, 0, 1).data == bytes(BLOCK)
