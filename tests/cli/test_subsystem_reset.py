"""`subsystem-reset`: all controllers of an NVM subsystem, of a daemon and of a SPEC."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

DISK = "emulated:memory,size=8M"


def run(*words: str) -> tuple[int, str]:
    with redirect_stdout(io.StringIO()) as told, redirect_stderr(told):
        return main(["subsystem-reset", *words]), told.getvalue()


@pytest.mark.parametrize(
    ("disk", "status", "told"),
    [
        (f"{DISK},nssr=on", 0, "resetting subsystem: Success"),
        (DISK, 1, "it has no NVM subsystem reset (CAP.NSSRS)"),
    ],
)
def test_of_a_controller_that_is_opened_for_it(disk: str, status: int, told: str) -> None:
    ended, shown = run(disk)
    assert ended == status
    assert told in shown


def test_while_it_is_served_it_is_forced(tmp_path: Path) -> None:
    """What initiators do is repeated afterwards."""
    with (
        Daemon(tmp_path, f"{DISK},nssr=on") as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.hear()
        write = row("WRITE (10)").build(lba=3, transfer_length=1)
        assert one.command(0, write, data_out=b"\x5a" * 512).status == Status.GOOD
        status, told = run("0", "--state-dir", str(tmp_path))
        assert status == 1
        assert "refused while the controller is served" in told
        assert run("0", "--force", "--state-dir", str(tmp_path))[0] == 0
        one.hear()
        read = row("READ (10)").build(lba=3, transfer_length=1)
        assert one.command(0, read, data_in=512).data == b"\x5a" * 512
