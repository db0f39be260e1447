"""Writes down what logical units count, now and then, and when they go."""

from __future__ import annotations

import asyncio
import contextlib

from scsi2nvme.service.registry import Registry
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import UnsavedState

# One small file for each logical unit that has done anything: a crash loses no more than that.
EVERY_S = 600.0
PAUSE_S = 0.05  # between one and the next


class Keeper:
    """Has the log parameters of all logical units saved, while it runs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """End, with what there is saved."""
        if self._task is not None:
            self._task.cancel()
        for lu in self._registry.units:
            keep(lu)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            for lu in list(self._registry.units):
                if lu in self._registry.units:
                    keep(lu)
                await asyncio.sleep(PAUSE_S)  # a disk may be slow, and others wait meanwhile


def keep(lu: LogicalUnit) -> None:
    """Save what a logical unit counts; if that fails, the store has told why."""
    with contextlib.suppress(UnsavedState):
        lu.log.save()
