"""Loads that grow in breadth only, and their report."""

from __future__ import annotations

from bench import growth


def test_always_as_many_commands_are_under_way() -> None:
    assert {each.depth * each.sessions for each in growth.session_loads(1)} == {growth.OUTSTANDING}
    for count in growth.NAMESPACES:
        work = growth.namespace_load(count, 1)
        assert work.depth * work.sessions == growth.OUTSTANDING
        assert work.luns == count


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
    }
    lines = growth.markdown(report).splitlines()
    assert "| start to ready, ms | 1.00 | 1.00 |" in lines
    assert "| CPU µs per I/O at sessions | 1 | 64 |" in lines
    assert "| scsi2nvme ÷ floor | 1.25 | 1.00 |" in lines
    assert "| tgt | 20.0 | 80.0 |" in lines
