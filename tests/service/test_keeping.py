"""What logical units count, written down now and then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from scsi2nvme.service import keeping
from scsi2nvme.service.keeping import Keeper
from scsi2nvme.service.registry import Registry


class Unit:
    """A logical unit, and its log parameters, that remembers when it was saved."""

    def __init__(self, done: list[Unit | None]) -> None:
        self._done = done
        self.log = self

    def save(self) -> None:
        self._done.append(self)


def test_others_have_their_turn_between_two_that_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "EVERY_S", 0.0)
    monkeypatch.setattr(keeping, "PAUSE_S", 0.0)
    done: list[Unit | None] = []
    first, second, gone = units = [Unit(done) for _ in range(3)]
    registry = SimpleNamespace(units=dict.fromkeys(units))

    async def work() -> None:
        keeper = Keeper(cast(Registry, registry))
        keeper.start()
        while second not in done:
            done.append(None)
            await asyncio.sleep(0)
            registry.units.pop(gone, None)
        await asyncio.sleep(0)
        keeper.stop()

    asyncio.run(work())
    saved = done.index(first), done.index(second)
    assert None in done[slice(*saved)]
    assert gone not in done
