"""Loads that grow in breadth only, and their report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from bench import growth, load, peers


def test_always_as_many_commands_are_under_way() -> None:
    assert {each.depth * each.sessions for each in growth.session_loads(1)} == {growth.OUTSTANDING}
    for count in growth.NAMESPACES:
        work = growth.namespace_load(count, 1)
        assert work.depth * work.sessions == growth.OUTSTANDING
        assert work.luns == count
    work = growth.reactor_load(1)
    assert work.depth * work.sessions == growth.OUTSTANDING
    assert all(work.sessions % count == 0 for count in growth.REACTORS)


def test_the_report_has_a_row_per_target() -> None:
    figures = {"ready_ms": 1.0, "login_ms": 2.0, "kib": 3.0}
    idle = {"kib_per_session": 4.0, "idle_ms_per_s": 0.0}
    report = {
        "start_up": dict.fromkeys(growth.STARTS, figures),
        "idle": dict.fromkeys(growth.STARTS, idle),
        "sessions": {
            growth.FLOOR: {1: 4.0, 64: 8.0},
            "tgt": {1: 20.0, 64: 30.0},
            "scsi2nvme": {1: 5.0, 64: 8.0},
        },
        "namespaces": {"tgt": {1: 20.0, 256: 80.0}, "scsi2nvme": {1: 5.0, 256: 5.0}},
        "reactors": {"scsi2nvme": {1: 5.0, 2: 6.0}},
    }
    lines = growth.markdown(report).splitlines()
    assert "| start to ready, ms | 1.00 | 1.00 |" in lines
    assert "| CPU µs per I/O at sessions | 1 | 64 |" in lines
    assert "| scsi2nvme ÷ floor | 1.25 | 1.00 |" in lines
    assert "| tgt | 20.0 | 80.0 |" in lines
    assert "| CPU µs per I/O at reactors | 1 | 2 |" in lines


def test_starts_are_measured_with_bytecode_that_an_earlier_one_has_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []

    @contextmanager
    def start(directory: Path, units: int) -> Iterator[peers.Target]:
        kept = Path(os.environ["PYTHONPYCACHEPREFIX"])
        found.append((len(list(kept.iterdir())), "PYTHONDONTWRITEBYTECODE" in os.environ))
        (kept / str(len(found))).touch()
        yield peers.Target("ours", "iscsi://", os.getpid(), 0.0)

    def idle(url: str, count: int) -> AbstractContextManager[None]:
        return nullcontext()

    monkeypatch.setitem(growth.AMONG_SESSIONS, "ours", start)
    monkeypatch.setattr(load, "idle_sessions", idle)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    growth.Growth(tmp_path, growth.Settings(1, 1, 1, starts=2)).start_up("ours")
    assert found == [(0, False), (1, False), (2, False)]
    assert os.environ["PYTHONDONTWRITEBYTECODE"] == "1"
    assert "PYTHONPYCACHEPREFIX" not in os.environ
