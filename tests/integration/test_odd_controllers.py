"""Controllers that grant little, or tell odd things of themselves: served as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

BLOCK = 4096
MIB = 1 << 20
DISK = f"emulated:memory,size=32M,block={BLOCK}"


@contextmanager
def disk(tmp_path: Path, *options: str) -> Iterator[Initiator]:
    """Serve such a disk to an initiator that has taken its unit attention."""
    words = ",".join([DISK, *options])
    with Daemon(tmp_path, words) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        yield one


def good(one: Initiator, name: str, data_out: bytes = b"", data_in: int = 0, **cdb: int) -> bytes:
    result = one.command(0, row(name).build(**cdb), data_out=data_out, data_in=data_in)
    assert result.status == 0, (name, result.sense_triple)
    return result.data


def exercise(one: Initiator) -> None:
    """Move more than small queues hold at once, by commands hot and cold."""
    blocks = 2 * MIB // BLOCK
    data = bytes(range(256)) * (2 * MIB // 256)
    zeroes = bytes(2 * MIB)
    good(one, "WRITE (10)", data, lba=7, transfer_length=blocks)
    assert good(one, "READ (10)", data_in=2 * MIB, lba=7, transfer_length=blocks) == data
    good(one, "VERIFY (10)", lba=7, verification_length=blocks)
    good(one, "VERIFY (10)", data, lba=7, verification_length=blocks, bytchk=1)
    good(one, "ORWRITE (16)", zeroes, lba=7, transfer_length=blocks)
    good(one, "WRITE AND VERIFY (10)", data, lba=7, transfer_length=blocks)
    good(one, "SYNCHRONIZE CACHE (10)")
    pair = data[:BLOCK] + zeroes[:BLOCK]
    good(one, "COMPARE AND WRITE", pair, lba=7, number_of_blocks=1)
    assert good(one, "READ (10)", data_in=BLOCK, lba=7, transfer_length=1) == zeroes[:BLOCK]
    good(one, "WRITE SAME (16)", data[:BLOCK], lba=7, number_of_blocks=blocks)
    unmap = bytes([0, 22, 0, 16, 0, 0, 0, 0, *bytes(7), 7, 0, 0, 0, 8, *bytes(4)])
    good(one, "UNMAP", unmap, parameter_list_length=24)


@pytest.mark.parametrize("mqes", [1, 2, 5])
def test_small_queues_are_enough_for_everything(tmp_path: Path, mqes: int) -> None:
    with disk(tmp_path, f"tell=cap.mqes:{mqes}") as one:
        exercise(one)
