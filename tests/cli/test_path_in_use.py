"""Which of its controllers a disk with several is reached by, as those are told who watch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.cli.daemon.metrics.families import ROWS, Seen
from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.cli.verbs.shell.session import Session
from scsi2nvme.cli.verbs.stat import reports
from scsi2nvme.cli.verbs.stat.reports import Line
from tests.cli.test_inventory import written
from tests.cli.test_two_controllers import OTHER, twins


def test_whoever_watches_is_told_by_which_one_commands_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By everything that shows disks: counts, reports, metrics, and the shell."""

    def told(daemon: Daemon) -> tuple[list[tuple[bool, str]], dict[str, list[float]], Line, Line]:
        counts = daemon.counting.counts()
        (unit,) = counts.units
        metrics = {
            row.name: [sample.value for sample in row.metric(Seen(counts, {})).samples]
            for row in ROWS
            if row.name.startswith("scsi2nvme_path_")
        }
        (disk,) = reports.lines(None, counts, "disk")
        (controller,) = reports.lines(None, counts, "controller")
        assert (disk.in_use, controller.name) == (unit.in_use, unit.in_use)
        assert f"{unit.controller}/1 by {unit.in_use} " in reports.table("disk", [disk])
        return [(path.in_use, path.way) for path in unit.paths], metrics, disk, controller

    def listed() -> None:
        session = Session(tmp_path)
        session.prefs["color_mode"] = False
        session.run_cmdline("/disks ls")

    async def work() -> None:
        async with twins(tmp_path) as both:
            await written(both.one, 0, 5)
            paths_, metrics, disk, _ = told(both.daemon)
            assert paths_ == [(True, "optimized"), (False, "optimized")]
            assert metrics == {"scsi2nvme_path_in_use": [1, 0], "scsi2nvme_path_usable": [1, 1]}
            first = disk.in_use
            both.pull(0)
            await both.active(OTHER)
            paths_, metrics, disk, _ = told(both.daemon)
            assert paths_ == [(False, "lost"), (True, "optimized")]
            assert metrics == {"scsi2nvme_path_in_use": [0, 1], "scsi2nvme_path_usable": [0, 1]}
            assert disk.in_use != first
            await asyncio.to_thread(listed)

    asyncio.run(work())
    shown = capsys.readouterr().out
    assert "; one of its ways, not in use, lost]" in shown
    assert "; one of its ways, in use, optimized]" in shown
