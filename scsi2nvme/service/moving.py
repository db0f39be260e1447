"""Copies under way: begun by a translation, and ended by it or by others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from scsi2nvme.unit.copies import Moved, Moving


class Run(Protocol):
    """What is to be done, and how much of it was."""

    @property
    def moved(self) -> int:
        """How many blocks were moved, from the first one on."""

    async def run(self) -> Any:
        """Do it, or as much as can be; what that comes to."""


class UnderWay(Moving):
    """A run as an errand of a translation's."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._task: asyncio.Task[Any] | None = None
        self._aborted = False

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        """See `Errand`."""

        def over(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                ended(task.exception() or task.result())
            elif self._aborted:
                ended(Moved(self._run.moved, aborted=True))
            else:
                ended(asyncio.CancelledError())

        if self._aborted:
            asyncio.get_running_loop().call_soon(ended, Moved(0, aborted=True))
            return lambda: None
        self._task = asyncio.get_running_loop().create_task(self._run.run())
        self._task.add_done_callback(over)
        return self._task.cancel

    def abort(self) -> None:
        """See `Moving`."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()
