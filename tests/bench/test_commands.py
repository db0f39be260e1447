"""The commands that are measured beside READ and WRITE."""

from __future__ import annotations

from bench import commands
from scsi2nvme.command import Hot
from scsi2nvme.commands import COMMANDS


def test_every_kind_of_the_hot_path_is_measured() -> None:
    measured = {
        row.hot
        for row in COMMANDS
        if any(each.startswith(row.name.removesuffix(" (10)")) for each in commands.COMMANDS)
    }
    # WRITE ATOMIC is a WRITE that is never cut.
    elsewhere = {Hot.NO, Hot.READ, Hot.WRITE, Hot.WRITE_ATOMIC}
    assert measured - elsewhere == set(Hot) - elsewhere


def test_the_table_has_a_row_for_each() -> None:
    figures = {"iops": 250000.4, "cpu_us": 2.5, "p50_us": 90.0, "p99_us": 101.0}
    lines = commands.markdown(dict.fromkeys(commands.COMMANDS, figures)).splitlines()
    assert "| UNMAP of 256 KiB | 250000 | 2.50 | 90.0 | 101 |" in lines
    assert len(lines) == 2 + len(commands.COMMANDS)
