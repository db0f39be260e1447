"""What is forked ends, writes and is told what to do as the program is that begins anew."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests import fork_server
from tests.daemon import MEMORY, PROGRAM, Daemon, scsi2nvme


@pytest.mark.parametrize(
    "words", [["--version"], ["serve", "--help"], ["serve"], ["list", "nowhere"]], ids=" ".join
)
def test_it_says_the_same(words: list[str]) -> None:
    fresh = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=60)
    forked = scsi2nvme(*words)
    assert (forked.stdout, forked.stderr) == (fresh.stdout, fresh.stderr)
    assert forked.returncode == fresh.returncode


def test_its_end_is_told(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as daemon:
        assert isinstance(daemon.process, fork_server.Forked)
        assert daemon.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(0.01)
        assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL


def test_it_may_be_signalled_until_its_end_is_known() -> None:
    with Path(os.devnull).open("w") as null:
        program = fork_server.fork(["--version"], null.fileno(), null.fileno())
    assert select.select([program._line], [], [], 60)[0]  # it has ended
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait(60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)


def test_it_has_the_environment_and_directory_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    words = ["serve", "--controller", MEMORY, "--portal", "127.0.0.1:0", "--state-dir", "state"]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        Path(os.devnull).open("w") as null,
    ):
        manager.settimeout(60)
        manager.bind("notify")
        program = fork_server.fork(words, null.fileno(), null.fileno())
        try:
            assert manager.recv(100) == b"READY=1"
            assert (tmp_path / "state/control.sock").exists()
        finally:
            program.send_signal(signal.SIGTERM)
            assert program.wait(60) == 0
