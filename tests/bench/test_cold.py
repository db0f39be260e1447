"""Commands of the engine, and their report."""

from __future__ import annotations

from bench import cold
from scsi2nvme import commands
from scsi2nvme.command import Hot


def test_the_engine_answers_them() -> None:
    found = [commands.find(cdb) for cdb in cold.COMMANDS.values()]
    assert all(row is not None and row.hot is Hot.NO for row in found)
    loads = cold.loads(1)
    assert {name: work.cdb for name, work in loads.items()} == cold.COMMANDS
    for work in loads.values():  # of what kind is known to the load generator
        words = work.arguments()
        assert words[words.index("--operation") + 1] == "read"
        assert words[words.index("--cdb") + 1] == work.cdb.hex()


def test_the_report_has_a_row_per_command() -> None:
    figures = {name: {"iops": 26000.0, "cpu_us": 21.5} for name in cold.COMMANDS}
    lines = cold.markdown({"commands": figures}).splitlines()
    assert "| INQUIRY, page 83h | 26000 | 21.5 |" in lines
    assert len(lines) == len(cold.COMMANDS) + 2
