"""Changes that fail in a way that nobody expected: all or nothing holds of these as well."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.api.configuration import ConfigFile, ControllerTable
from scsi2nvme.api.statistics import AllCounts
from scsi2nvme.cli.config import Settings, TargetSettings, settings
from scsi2nvme.cli.daemon.changes import Changes, Source
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.health import Health
from scsi2nvme.cli.daemon.metrics import Metrics


async def nobody_is_ill() -> tuple[Health, ...]:
    return ()


NOWHERE = Metrics(lambda: AllCounts(0, (), ()), dict, nobody_is_ill)
SPECS = [f"emulated:memory,size=1M,serial=S{number}" for number in range(4)]


class Controllers:
    """Those that are there, by their SPECs; to bring up or let go of some is broken."""

    def __init__(self, come: str = "", go: str = "") -> None:
        self.there = SPECS[:1]
        self.served: list[Served] = []
        self.broken_to_come, self.broken_to_go = come, go

    async def come(self, target: TargetSettings) -> None:
        if target.spec.text == self.broken_to_come:
            raise RuntimeError("it cannot come")
        self.there.append(target.spec.text)

    async def go(self, number: int) -> None:
        if self.there[number] == self.broken_to_go:
            raise RuntimeError("it cannot go")
        del self.there[number]

    def number_of(self, row: ControllerTable) -> int:
        return self.there.index(row.spec)


def of(*specs: str) -> Settings:
    rows = tuple(ControllerTable(spec) for spec in specs)
    file = ConfigFile(controllers=rows)
    return settings(file, default_state_dir=Path("/nowhere"), maximum_reactors=1)


@pytest.mark.parametrize("go", ["", SPECS[2]])
def test_what_was_done_before_is_undone(caplog: pytest.LogCaptureFixture, go: str) -> None:
    """As far as it can be: what cannot is told."""
    controllers: Any = Controllers(SPECS[3], go)
    changes = Changes(of(SPECS[0]), controllers, NOWHERE, None)
    before = changes.config
    rows = tuple(ControllerTable(spec) for spec in SPECS)
    with pytest.raises(RuntimeError, match="it cannot come"):
        asyncio.run(changes.change(lambda now: replace(now, controllers=rows)))
    assert changes.config == before
    assert controllers.there == [SPECS[0], *([go] if go else [])]
    assert ("it cannot come; and what was changed" in caplog.text) == bool(go)


def test_the_next_signal_counts_after_one_that_went_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.toml"
    path.touch()
    given = [of(*SPECS), of(*SPECS[:2])]
    controllers: Any = Controllers(SPECS[3])
    changes = Changes(of(SPECS[0]), controllers, NOWHERE, Source(path, lambda: given.pop(0)))

    async def two_signals() -> None:
        told = asyncio.Event()
        reloading = asyncio.ensure_future(changes.reload_whenever(told))
        async with asyncio.timeout(10):
            told.set()
            while "configuration not reloaded" not in caplog.text:
                await asyncio.sleep(0)
            told.set()
            while controllers.there != SPECS[:2]:
                await asyncio.sleep(0)
        reloading.cancel()

    asyncio.run(two_signals())
