"""Controllers that grant little, or tell odd things of themselves: served as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import IQN, Daemon, scsi2nvme, target, targets
from tests.iscsi_client import Initiator, LoginError
from tests.support import row

BLOCK = 4096
MIB = 1 << 20
DISK = f"emulated:memory,size=32M,block={BLOCK}"


REFUSALS = {
    "tell=cap.mqes:0": "CAP.MQES is 0",
    "tell=cap.mpsmin:1": "pages of 8192 bytes, 4096 wanted (CAP.MPSMIN)",
    "tell=cap.css:0x80": "no NVM command set (CAP.CSS=0x80)",
    "tell=ctrl.sqes:0x77": "submission queue entries of 128 bytes",
    "tell=ctrl.cqes:0x55": "completion queue entries of 32 bytes",
    "tell=ctrl.cntrltype:3": "it is an administrative controller",
}


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


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_few_queue_pairs_are_driven_by_few_reactors(tmp_path: Path, pairs: int) -> None:
    """With one, the control thread does everything. Sessions go where the others are."""
    with Daemon(tmp_path, f"{DISK},queues={pairs}", arguments=("--reactors", "3")) as daemon:
        address = "127.0.0.1", daemon.port
        sessions = [Initiator(address, isid=bytes([0x80, 0, 0, 0, 0, n])) for n in range(3)]
        for one in sessions:
            one.login(IQN)
            one.command(0, bytes(6))
            exercise(one)
        done = scsi2nvme("reset", "0", "--state-dir", str(tmp_path))
        assert done.returncode == 0, done.stderr
        for one in sessions:
            exercise(one)
            one.close()
        assert "traceback" not in daemon.log.read_text().lower()


def write_protected(one: Initiator) -> None:
    write = one.command(0, row("WRITE (10)").build(transfer_length=1), data_out=bytes(BLOCK))
    assert write.sense_triple == (7, 0x27, 0x00)
    good(one, "READ (10)", data_in=BLOCK, transfer_length=1)
    mode = good(one, "MODE SENSE (6)", data_in=255, page_code=0x3F, allocation_length=255)
    assert mode[2] & 0x80  # WP


def test_a_medium_in_read_only_mode_is_write_protected(tmp_path: Path) -> None:
    with disk(tmp_path, "tell=smart.critical_warning:8") as one:
        write_protected(one)


def test_a_disk_that_cannot_be_driven_leaves_the_others_served(tmp_path: Path) -> None:
    bad = f"{DISK},tell=cap.mqes:0"
    config = targets(bad, DISK)
    with Daemon(tmp_path, config=config) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        assert daemon.logs(f"controller '{bad}': its I/O queues have one entry (CAP.MQES is 0)")
        assert daemon.log.read_text().count("\n") == 1
        with Initiator(("127.0.0.1", daemon.port)) as other, pytest.raises(LoginError):
            other.login(IQN)
        one.login(target(1))
        one.command(0, bytes(6))
        exercise(one)
        where = ("--state-dir", str(tmp_path))
        assert scsi2nvme("id-ctrl", *where, "1").returncode == 0
        done = scsi2nvme("id-ctrl", *where, "0")
        assert (done.returncode, "CAP.MQES is 0" in done.stderr) == (1, True)


@pytest.mark.parametrize("option", REFUSALS)
def test_a_disk_that_cannot_be_driven_is_refused_in_one_line(option: str) -> None:
    done = scsi2nvme("id-ctrl", f"{DISK},{option}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert REFUSALS[option] in done.stderr
