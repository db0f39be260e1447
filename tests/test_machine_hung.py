"""What is told of a machine in which something hangs, as far as that can be seen outside of one."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from pathlib import Path

import pytest

from tests.daemon import MEMORY, Daemon
from tests.system import hung
from tests.waiting import until


def test_a_thread_tells_where_it_waits() -> None:
    release = threading.Event()
    waiting = threading.Thread(target=release.wait)
    waiting.start()
    try:
        path = Path(f"/proc/{os.getpid()}/task/{waiting.native_id}")
        until(lambda: (path / "stat").read_text().rpartition(")")[2].split()[0] == "S", "it waits")
        said = [hung.thread(path), *hung.stack(path)]
    finally:
        release.set()
        waiting.join()
    assert f"thread {waiting.native_id} " in said[0]
    assert said[1].startswith("  call ")
    assert "<" not in said[1]  # why it cannot be told


def test_a_ring_tells_how_far_it_is() -> None:
    box = struct.pack("<HHIII", 2, 1, 128, 4096, 1344).ljust(64, b"\0") + struct.pack("<I", 1280)
    memory = ctypes.create_string_buffer(box)
    told = hung.ring(os.getpid(), ctypes.addressof(memory))
    assert told == "head 1344, tail 1280 of 4096"
    assert hung.ring(os.getpid(), 0).startswith("<")


def test_a_daemon_is_found_by_its_control_socket(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as daemon:
        assert hung.state_dir(daemon.pid) == tmp_path


def test_everything_is_told_whatever_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PROC", "_SYS", "_TARGET", "_PID"):
        monkeypatch.setattr(hung, name, tmp_path / name)
    monkeypatch.setattr(hung, "_said", lambda *words: iter(()))
    said = list(hung.report())
    assert [line for line in said if line.startswith("--- ")] == [
        f"--- {part}" for part in ("kernel", "disks", "interrupts", "threads", "daemon")
    ]
    assert not [line for line in said if "Error(" in line]
