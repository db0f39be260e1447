"""Waiting for what the hot path has under way, for a command that is not alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scsi2nvme.scsi.result import Errand
from scsi2nvme.service.allowance import SHARE
from scsi2nvme.service.served_unit import LONGEST_PATIENCE_S, ServedUnit


class Settling(Errand):
    """Ends when all has ended that the hot path of a logical unit began before.

    What is under way may take long: others wait for a while only, and go on between.
    """

    def __init__(self, unit: ServedUnit) -> None:
        self._unit = unit

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        """See `Errand`."""

        def over(task: asyncio.Task[None]) -> None:
            ended(asyncio.CancelledError() if task.cancelled() else task.exception())

        settling = asyncio.get_running_loop().create_task(self._settle())
        settling.add_done_callback(over)
        return settling.cancel

    async def _settle(self) -> None:
        patience_s = self._unit.patience_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s), self._unit.drained():
                    return
            await asyncio.sleep(patience_s / SHARE - patience_s)
            patience_s = min(2 * patience_s, LONGEST_PATIENCE_S)
