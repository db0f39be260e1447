"""Commands with their data on the control thread's queue pairs, until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.bounce import BouncePool
from scsi2nvme.drivers.nvme.bringup import Clock
from scsi2nvme.drivers.nvme.identify import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.drivers.nvme.retry import (
    ABORTED_BY_RESET,
    MAXIMUM_RETRIES,
    repeatable,
    retry_delay_s,
)
from scsi2nvme.drivers.nvme.settings import Settings
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.native.nvme import QueueCompletion
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand


def data_bytes(command: NvmeCommand) -> int:
    """Return how much data a command carries, whichever way."""
    return max(len(command.data_out), command.data_in)


def fill(command: NvmeCommand, buffer: Region) -> None:
    """Put a command's data into its buffer, or wipe what another left there."""
    if buffer.length:
        buffer.view()[:] = command.data_out or bytes(buffer.length)


def completion_of(
    command: NvmeCommand, raw: QueueCompletion, buffer: Region, qid: int
) -> Completion:
    """Return what the engine sees of a completion queue entry of queue pair `qid`."""
    data = bytes(buffer.view()) if command.data_in and not raw.status else b""
    return Completion(raw.status, raw.dw0, raw.dnr, raw.more, raw.crd, data, qid, raw.cid)


class Executor:
    """Executes commands that wait their turn, their memory and their time.

    `retry_delays_s` are CRDT1 to CRDT3, if the controller was told to use them.
    """

    def __init__(
        self,
        admin: ControlQueue,
        io: ControlQueue,
        bounce: BouncePool,
        timing: Timing,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.retry_delays_s: tuple[float, ...] = ()
        self._admin = admin
        self._io = io
        self._bounce = bounce
        self._timing = timing
        self._clock = clock
        self._settings = settings
        self._tasks: set[asyncio.Task[tuple[Completion, ...]]] = set()

    async def execute(self, commands: Sequence[NvmeCommand]) -> tuple[Completion, ...]:
        """See `Controller.execute`."""
        # The controller uses the buffers until the commands end, whoever waits for that.
        task = asyncio.get_running_loop().create_task(self._execute(commands))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until every command has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _execute(self, commands: Sequence[NvmeCommand]) -> tuple[Completion, ...]:
        lengths = [data_bytes(command) for command in commands]
        if max(lengths, default=0) > MAXIMUM_TRANSFER_BYTES:
            raise ValueError(f"{max(lengths)} bytes of data, at most {MAXIMUM_TRANSFER_BYTES}")
        if len({command.admin for command in commands}) != 1:
            raise ValueError("neither admin nor I/O commands only")
        spaces = [-(-length // PAGE) * PAGE for length in lengths]
        async with self._bounce.borrow(sum(spaces)) as region:
            buffers = [
                region.slice(sum(spaces[:index]), length) for index, length in enumerate(lengths)
            ]
            turn = self._settings.turn if self._settings.concern(commands) else nullcontext()
            async with turn:
                completions = await self._repeat(commands, buffers)
                for command, completion in zip(commands, completions, strict=True):
                    self._settings.record(command, completion)
            return completions

    async def _repeat(
        self, commands: Sequence[NvmeCommand], buffers: Sequence[Region]
    ) -> tuple[Completion, ...]:
        """Submit commands until all have ended for good; fused ones together."""
        done: dict[int, Completion] = {}
        fused = any(command.fuse is not Fuse.NORMAL for command in commands)
        for attempts_left in reversed(range(MAXIMUM_RETRIES + 1)):
            todo = [index for index in range(len(commands)) if index not in done]
            outcomes = await self._submit([(commands[i], buffers[i]) for i in todo])
            delays_s = {}
            for index, outcome in zip(todo, outcomes, strict=True):
                done[index], delay_s = self._judge(commands[index], outcome, buffers[index])
                if delay_s is not None:
                    delays_s[index] = delay_s
            if not delays_s or not attempts_left:
                break
            for index in done.copy() if fused else delays_s:
                del done[index]
            await self._clock.sleep(max(delays_s.values()))
        return tuple(done[index] for index in range(len(commands)))

    def _judge(
        self, command: NvmeCommand, outcome: QueueCompletion | None, buffer: Region
    ) -> tuple[Completion, float | None]:
        """Return how a command ended, and when to try again if that is worth it."""
        if outcome is None:
            return Completion(ABORTED_BY_RESET), 0.0 if repeatable(command) else None
        completion = completion_of(command, outcome, buffer, self._queue(command).pair.qid)
        return completion, retry_delay_s(completion, self.retry_delays_s)

    async def _submit(
        self, batch: Sequence[tuple[NvmeCommand, Region]]
    ) -> list[QueueCompletion | None]:
        """Submit commands, as many at a time as the queue holds; fused ones all at once."""
        for command, buffer in batch:
            fill(command, buffer)
        queue = self._queue(batch[0][0])
        entries = [
            Entry(command.sqe(), buffer, max(1, int(self._timing.of(command) * 1000)))
            for command, buffer in batch
        ]
        fused = any(command.fuse is not Fuse.NORMAL for command, _ in batch)
        step = len(entries) if fused else queue.most_at_once
        outcomes: list[QueueCompletion | None] = []
        for start in range(0, len(entries), step):
            outcomes += await queue.submit(entries[start : start + step])
        return outcomes

    def _queue(self, command: NvmeCommand) -> ControlQueue:
        return self._admin if command.admin else self._io
