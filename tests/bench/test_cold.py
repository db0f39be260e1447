"""Commands of the engine, and their report."""

from __future__ import annotations

from bench import cold
from scsi2nvme import commands
from scsi2nvme.command import Hot


def test_the_engine_answers_them() -> None:
    found = [commands.find(cdb) for cdb in cold.COMMANDS.values()]
    assert all(row is not None and row.hot is Hot.NO for row in found)
    assert {work.cdb for work in cold.loads(1)} == set(cold.COMMANDS.values())


def test_the_report_has_a_row_per_command() -> None:
    figures = {name: {"iops": 26000.0, "cpu_us": 21.5} for name in cold.COMMANDS}
    lines = cold.markdown({"commands": figures}).splitlines()
    assert "| INQUIRY, page 83h | 26000 | 21.5 |" in lines
    assert len(lines) == len(cold.COMMANDS) + 2
