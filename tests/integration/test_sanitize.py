"""SANITIZE over the portal: its progress, and whatever befalls host and daemon meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon, scsi2nvme
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row
from tests.waiting import until

ABORT_TASK, LOGICAL_UNIT_RESET = 1, 5
READY, ERASE = bytes(6), row("SANITIZE, BLOCK ERASE").build()
BLOCK = 512
READ = row("READ (10)").build(lba=3, transfer_length=1)
WRITE = row("WRITE (10)").build(lba=3, transfer_length=1)
IN_PROGRESS, FAILED = (2, 0x04, 0x1B), (3, 0x31, 0x03)
ALL = "sanitize=on,sanicap=block+crypto+overwrite"


def initiator(daemon: Daemon, *luns: int, name: str = "one") -> Initiator:
    one = Initiator(("127.0.0.1", daemon.port), name=f"iqn.2026-11.test:{name}")
    one.login(IQN)
    for lun in luns or (0, 1):
        while one.command(lun, READY).sense[2:3] == b"\x06":
            pass
    return one


def why(result: ScsiResult) -> tuple[int, int, int] | None:
    """Return the sense of a command that was refused."""
    if result.status == Status.GOOD:
        return None
    assert result.status == Status.CHECK_CONDITION
    sense = result.sense
    return sense[2] & 0xF, sense[12], sense[13]


def progress(one: Initiator, lun: int = 0) -> int | None:
    """Return what REQUEST SENSE tells, None if nothing is under way."""
    cdb = row("REQUEST SENSE").build(allocation_length=18)
    sense = one.command(lun, cdb, data_in=18).data
    if tuple(sense[i] for i in (2, 12, 13)) != IN_PROGRESS:
        return None
    assert sense[15] & 0x80
    return int.from_bytes(sense[16:18], "big")


def write_both(one: Initiator) -> None:
    for lun in (0, 1):
        assert one.command(lun, WRITE, data_out=b"x" * BLOCK).status == Status.GOOD


def read_both(one: Initiator) -> list[bytes]:
    return [one.command(lun, READ, data_in=BLOCK).data for lun in (0, 1)]


def test_all_logical_units_are_erased_whoever_looks_on(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=2, namespaces=2) + f",{ALL},sanitize_s=1"
    with (
        Daemon(tmp_path, disk) as daemon,
        initiator(daemon) as one,
        initiator(daemon, name="other") as other,
    ):
        write_both(one)
        itt = one.begin(0, ERASE)
        until(lambda: progress(other, 1) is not None, "it began")
        assert [why(other.command(lun, READY)) for lun in (0, 1)] == [IN_PROGRESS] * 2
        assert why(other.command(1, READ, data_in=BLOCK)) == IN_PROGRESS
        assert why(other.command(1, row("START STOP UNIT").build())) == IN_PROGRESS
        before = progress(other) or 0
        until(lambda: (progress(other) or 65536) > before, "it went on")
        assert one.finish(itt).status == Status.GOOD
        assert read_both(one) == [bytes(BLOCK)] * 2
        log = row("GET LBA STATUS (16)").build(allocation_length=24)
        assert one.command(1, log, data_in=24).data[20] == 1
        write_both(one)
        assert one.command(1, log, data_in=24).data[20] == 0


def test_nothing_stops_it(tmp_path: Path) -> None:
    """It goes on over aborts, resets, the loss of its session, and the death of the daemon."""
    disk = spec("emulated", tmp_path, size_mib=2, namespaces=2) + f",{ALL}"
    with Daemon(tmp_path, f"{disk},sanitize_s=600") as daemon:
        one = initiator(daemon)
        write_both(one)
        itt = one.begin(0, ERASE)
        with initiator(daemon, 1, name="other") as other:
            until(lambda: progress(other, 1) is not None, "it began")
            assert one.task_management(ABORT_TASK, referenced=itt).response == 0
            assert other.task_management(LOGICAL_UNIT_RESET, lun=1).response == 0
            one.close()
            done = scsi2nvme("reset", "0", "--state-dir", str(tmp_path))
            assert done.returncode == 0, done.stderr
            while other.command(1, READY).sense[2:3] == b"\x06":
                pass
            assert progress(other, 1) is not None
        with initiator(daemon) as one:
            assert [why(one.command(lun, READY)) for lun in (0, 1)] == [IN_PROGRESS] * 2
        daemon.stop(signal.SIGKILL)
        daemon.start()
        with initiator(daemon) as one:
            assert [why(one.command(lun, READY)) for lun in (0, 1)] == [IN_PROGRESS] * 2
            assert progress(one) is not None
    with Daemon(tmp_path, f"{disk},sanitize_s=1") as daemon, initiator(daemon) as one:
        until(lambda: progress(one) is None, "it ended")
        assert read_both(one) == [bytes(BLOCK)] * 2
    assert "Traceback" not in daemon.log.read_text()


def test_a_failure_is_picked_up_and_left(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=2, namespaces=2) + f",{ALL},sanitize_fails=1"
    unrestricted = row("SANITIZE, CRYPTOGRAPHIC ERASE").build(immed=1, ause=1)
    with Daemon(tmp_path, disk) as daemon, initiator(daemon) as one:
        write_both(one)
        assert one.command(0, unrestricted).status == Status.GOOD
        until(lambda: why(one.command(1, READY)) == FAILED, "it failed")
    with Daemon(tmp_path, disk) as daemon, initiator(daemon) as one:
        until(lambda: why(one.command(1, READY)) == FAILED, "the failure was noticed")
        assert one.command(0, row("SANITIZE, EXIT FAILURE MODE").build()).status == Status.GOOD
        assert read_both(one) == [b"x" * BLOCK] * 2


def test_nobody_may_by_default(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=2) + ",sanicap=block"
    with Daemon(tmp_path, disk) as daemon, initiator(daemon, 0) as one:
        assert why(one.command(0, ERASE)) == (5, 0x20, 0x00)
