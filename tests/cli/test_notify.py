"""What a service manager is told: that it goes on, and what is served."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from scsi2nvme.cli.daemon.notify import keep_telling
from tests.daemon import IQN, MEMORY, FreshDaemon, Process
from tests.iscsi_client import Initiator


@pytest.mark.parametrize(
    ("pid", "first"),
    [(os.getpid(), "WATCHDOG=1\nSTATUS=well"), (1, "STATUS=well")],
    ids=["ours", "another's"],
)
def test_the_watchdog_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int, first: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.setenv("WATCHDOG_PID", str(pid))

    async def told(manager: socket.socket) -> None:
        telling = asyncio.ensure_future(keep_telling(lambda: "well"))
        for _ in range(1 + 2 * ("WATCHDOG" in first)):
            words = await asyncio.to_thread(manager.recv, 4096)
            assert words.decode() == first
        telling.cancel()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(str(tmp_path / "manager"))
        asyncio.run(told(manager))


def test_nobody_is_told_where_nobody_manages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    asyncio.run(asyncio.wait_for(keep_telling(lambda: "well"), 10))
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    asyncio.run(asyncio.wait_for(keep_telling(lambda: "well"), 10))


def test_a_manager_that_does_not_listen_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is full, as while it hangs, or is flooded: the loop must go on all the same."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as flood,
    ):
        manager.bind(str(tmp_path / "manager"))
        with suppress(BlockingIOError):
            while True:
                flood.sendto(b"x", str(tmp_path / "manager"))

        async def told() -> None:
            telling = asyncio.ensure_future(keep_telling(lambda: "well"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not telling.done()  # it is tried again
            telling.cancel()

        asyncio.run(told())


def test_a_state_that_cannot_be_told_is_no_end_of_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that serves well must not be killed for want of words."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    def status() -> str:
        raise LookupError("of a ring that is just going")

    async def told(manager: socket.socket) -> None:
        telling = asyncio.ensure_future(keep_telling(status))
        for _ in range(2):
            assert await asyncio.to_thread(manager.recv, 4096) == b"WATCHDOG=1"
        telling.cancel()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(str(tmp_path / "manager"))
        asyncio.run(told(manager))
    assert "of a ring" in caplog.text


class Managed(FreshDaemon):
    """One that a service manager has started, which is told every 0.1 s."""

    def begin(self, stdout: int, stderr: int, environment: dict[str, str]) -> Process:
        """Begin its process."""
        manager = str(self.state_dir / "manager")
        told = {"NOTIFY_SOCKET": manager, "WATCHDOG_USEC": "300000"}
        return super().begin(stdout, stderr, environment | told)


def test_what_is_served_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(30)
        manager.bind(str(tmp_path / "manager"))
        with Managed(tmp_path, MEMORY) as running:
            assert manager.recv(4096) == b"READY=1"
            assert manager.recv(4096).endswith(b"STATUS=1 of 1 controllers live, 0 sessions")
            with Initiator(("127.0.0.1", running.port)) as one:
                one.login(IQN)
                while b"live, 1 session" not in manager.recv(4096):
                    pass
