"""What changes all of a controller begins when nothing of its logical units is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence

from scsi2nvme.executor import NvmeExecutor
from scsi2nvme.nvme.command import AdminOpcode, Completed, NvmeCommand
from scsi2nvme.service.served_unit import ServedUnit


def _changes_all(command: NvmeCommand) -> bool:
    return command.admin and command.opcode == AdminOpcode.SANITIZE


class Draining:
    """Executes commands, Sanitize after what was begun on `others` before.

    A WRITE that takes several NVMe commands would else be told to be done although an operation
    between two of them has erased a part. The others refuse what comes by now.
    """

    def __init__(self, executor: NvmeExecutor, others: Sequence[ServedUnit]) -> None:
        self._executor = executor
        self._others = others

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """Run the commands together."""
        if not (self._others and any(map(_changes_all, commands))):
            return self._executor.start(commands, completed, party)
        stop: Callable[[], None] | None = None
        wanted = True

        def drained(draining: asyncio.Task[None]) -> None:
            nonlocal stop
            error = asyncio.CancelledError() if draining.cancelled() else draining.exception()
            if error is None and not wanted:
                error = asyncio.CancelledError()
            if error is None:
                try:
                    stop = self._executor.start(commands, completed, party)
                except Exception as raised:
                    error = raised
            if error is not None:
                completed(error)

        def end() -> None:
            nonlocal wanted
            wanted = False
            if stop is not None:
                stop()
            else:
                draining.cancel()

        draining = asyncio.get_running_loop().create_task(self._drain())
        draining.add_done_callback(drained)
        return end

    async def _drain(self) -> None:
        for each in self._others:
            async with each.lock.hold(exclusive=True, party=None), each.drained():
                pass

    async def reset(self, reason: str) -> None:
        """Reset the controller."""
        await self._executor.reset(reason)
