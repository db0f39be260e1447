"""Names that collide while the daemon runs: in one process, so that a test can change a disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from tests.cli.serving import TWO_DISKS, running, serving
from tests.daemon import free_port

CHANGED = ControllerEvent(2, 0, 4, namespaces=frozenset({1}))


def test_a_namespace_that_gets_anothers_identifiers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is another logical unit then. Both are renamed; one that cannot be told apart fails."""
    configured = serving(tmp_path, *TWO_DISKS, port=free_port())

    async def work() -> None:
        async with running(configured) as daemon:
            first, second = daemon.served
            units: list[LogicalUnit] = []
            own = second.controller.namespaces[1]
            copied = first.controller.namespaces[1]

            async def become(**values: object) -> None:
                second.controller.namespaces = {1: replace(own, **values)}  # type: ignore[arg-type]
                await daemon.controllers._follow(second, CHANGED)
                units[:] = [one.units[1] for one in (first, second)]

            await become()
            assert [lu.ambiguous for lu in units] == [False, False]
            await become(nguid=copied.nguid)
            assert [lu.ambiguous for lu in units] == [True, True]
            assert [lu.identity for lu in units] == ["A1-1", "B2-1"]
            await become(nguid=copied.nguid, controller=copied.controller)
            assert [lu.readiness for lu in units] == [Readiness.READY, Readiness.FAILED]
            await become(nguid=copied.nguid)
            assert [lu.readiness for lu in units] == [Readiness.READY] * 2
            await become()
            assert [lu.ambiguous for lu in units] == [True, False]

    asyncio.run(work())
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [("have the same identifiers" in line, "is not served" in line) for line in told] == [
        (True, False),
        (False, True),
    ]
