"""A daemon whose controller misbehaves: initiators see a pause at most, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import load
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator

# The daemon's time limit of a command, the grace of an aborted one, and some more.
PAUSE_SECONDS = 50
NAMESPACE_NOT_READY = "0/82"
ABORT_TASK = 1


def verified(tmp_path: Path, seconds: int, *faults: str) -> tuple[dict[str, Any], str]:
    """Run the verifying workload over a disk with faults; gives what it measured and the log."""
    disk = ",".join([spec("emulated", tmp_path, size_mib=32), *(f"fault={f}" for f in faults)])
    with Daemon(tmp_path, disk) as daemon:
        options = ["--verify", "--operation", "mixed", "--sessions", "4", "--depth", "4"]
        options += ["--cells", "8", "--flush-every", "50", "--seconds", str(seconds)]
        done = subprocess.run(
            [load.program(), "--url", daemon.url(), *options],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    words = daemon.log.read_text()
    assert "Traceback" not in words
    result: dict[str, Any] = json.loads(done.stdout)
    assert (result["errors"], result["data_errors"], result["lost"]) == (0, 0, False)
    return result, words


@pytest.mark.slow
def test_commands_that_never_complete_are_recovered(tmp_path: Path) -> None:
    """Each is noticed, aborted, and done again."""
    result, words = verified(tmp_path, PAUSE_SECONDS, "write:hang:count=2", "read:hang:count=2")
    assert words.count("is overdue: aborted") == 4
    assert result["all_operations"] > 100


def test_what_its_initiator_aborts_is_aborted_on_the_device(tmp_path: Path) -> None:
    """It would be overdue only much later."""
    disk = spec("emulated", tmp_path, size_mib=32) + ",fault=read:hang:count=1"
    with Daemon(tmp_path, disk) as daemon:
        with Initiator(("127.0.0.1", daemon.port)) as one:
            one.login(IQN)
            one.command(0, bytes(6))
            read = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
            itt = one.next_itt()
            one.send(one.command_bhs(0, read, itt=itt, edtl=512, read=True))
            one.sock.settimeout(20)
            assert one.task_management(ABORT_TASK, referenced=itt).response == 0
            assert one.command(0, read, data_in=512).status == 0
        assert daemon.logs("is not wanted any more: aborted")


def test_passing_failures_are_not_seen(tmp_path: Path) -> None:
    faults = [f"{name}:status={NAMESPACE_NOT_READY}:count=4" for name in ("read", "write", "flush")]
    _, words = verified(tmp_path, 1, *faults)
    assert words == ""


def test_a_slow_command_holds_nobody_up(tmp_path: Path) -> None:
    """What is slow is answered late; another session's commands overtake it."""
    disk = spec("emulated", tmp_path, size_mib=32) + ",fault=read:delay=2000:lba=0-0:count=1"
    with Daemon(tmp_path, disk) as daemon:
        address = ("127.0.0.1", daemon.port)
        with Initiator(address, "iqn.2026-11.test:slow") as slow, Initiator(address) as other:
            for one in (slow, other):
                one.login(IQN)
                one.command(0, bytes(6))
            read = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
            itt = slow.next_itt()
            slow.send(slow.command_bhs(0, read, itt=itt, edtl=512, read=True))
            elsewhere = bytes([0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0])
            for _ in range(100):
                assert other.command(0, elsewhere, data_in=512).status == 0
            slow.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                slow.sock.recv(1)
            slow.sock.settimeout(20)
            assert slow.finish(itt).status == 0


def test_a_medium_error_is_told_and_nothing_else_suffers(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=32) + ",fault=read:status=2/81:lba=100-107"
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        for lba, blocks, good in ((90, 10, True), (96, 16, False), (108, 9, True)):
            read = bytes([0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0])
            result = one.command(0, read, data_in=blocks * 512)
            assert (result.status == 0) == good
            if not good:
                assert result.sense_triple == (3, 0x11, 0x00)
