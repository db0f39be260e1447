"""Commands with their data on the control thread's queue pairs, until they have ended.

Who is cancelled while it waits for commands does not want them any more. What has not been
placed never is; the rest is aborted by `GiveUp`, and the caller goes on when it has ended: until
then the controller may use its buffers and change its blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from scsi2nvme.background import Background
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.bounce import BouncePool
from scsi2nvme.drivers.nvme.bringup import Clock
from scsi2nvme.drivers.nvme.identify import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.drivers.nvme.retry import (
    ABORTED_BY_RESET,
    MAXIMUM_RETRIES,
    interruptible,
    repeatable,
    retry_delay_s,
)
from scsi2nvme.drivers.nvme.settings import Settings
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry, Placed
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


# As of the reactors' queues (csrc/task_abort.c).
_URGE_S = 1.0  # what nobody wants mostly ends by itself before
_INSIST_S = 0.5  # or by the controller's own Abort

GiveUp = Callable[[int, int, bool], Coroutine[Any, Any, None]]
"""Nobody wants a command any more: queue pair, command identifier, whether that was told before."""


@dataclass(eq=False, slots=True)
class _Run:
    """Commands that belong together, those under way of them, and whether anybody wants them."""

    commands: Sequence[NvmeCommand]
    placed: Sequence[Placed] = ()
    wanted: bool = True


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
        give_up: GiveUp,
        background: Background,
    ) -> None:
        self.retry_delays_s: tuple[float, ...] = ()
        self._admin = admin
        self._io = io
        self._bounce = bounce
        self._timing = timing
        self._clock = clock
        self._settings = settings
        self._give_up = give_up
        self._background = background
        self._runs: dict[asyncio.Task[tuple[Completion, ...]], _Run] = {}

    async def execute(self, commands: Sequence[NvmeCommand]) -> tuple[Completion, ...]:
        """See `Controller.execute`."""
        run = _Run(commands)
        task = asyncio.get_running_loop().create_task(self._execute(run))
        self._runs[task] = run
        task.add_done_callback(self._runs.pop)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._stop(task, run)
            raise

    async def drain(self, limit_s: float | None = None) -> bool:
        """Wait until every command has ended, for so many seconds at most; whether all have."""
        if self._runs:
            await asyncio.wait(self._runs, timeout=limit_s)
        return not self._runs

    async def _stop(self, task: asyncio.Task[tuple[Completion, ...]], run: _Run) -> None:
        """Have commands end that nobody wants; returns when they have, cancelled again or not."""
        run.wanted = False
        if not run.placed:
            task.cancel()
        aborting = asyncio.get_running_loop().create_task(self._abort(task, run))
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        aborting.cancel()

    async def _abort(self, task: asyncio.Task[tuple[Completion, ...]], run: _Run) -> None:
        """Abort what does not end by itself, and insist where that does not help."""
        qid = self._queue(run.commands[0]).pair.qid
        for again, patience_s in ((False, _URGE_S), (True, _INSIST_S)):
            await asyncio.wait([task], timeout=patience_s)
            if again and not all(map(interruptible, run.commands)):
                return
            for one in run.placed:
                if not one.ended.done():
                    self._background.spawn(self._give_up(qid, one.cid, again))

    async def _execute(self, run: _Run) -> tuple[Completion, ...]:
        commands = run.commands
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
                completions = await self._repeat(run, buffers)
                for command, completion in zip(commands, completions, strict=True):
                    self._settings.record(command, completion)
            return completions

    async def _repeat(self, run: _Run, buffers: Sequence[Region]) -> tuple[Completion, ...]:
        """Submit commands until all have ended for good; fused ones together."""
        commands = run.commands
        done: dict[int, Completion] = {}
        fused = any(command.fuse is not Fuse.NORMAL for command in commands)
        for attempts_left in reversed(range(MAXIMUM_RETRIES + 1)):
            todo = [index for index in range(len(commands)) if index not in done]
            outcomes = await self._submit(run, [(commands[i], buffers[i]) for i in todo])
            delays_s = {}
            for index, outcome in zip(todo, outcomes, strict=True):
                done[index], delay_s = self._judge(commands[index], outcome, buffers[index])
                if delay_s is not None:
                    delays_s[index] = delay_s
            if not delays_s or not attempts_left or not run.wanted:
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
        return completion, retry_delay_s(command, completion, self.retry_delays_s)

    async def _submit(
        self, run: _Run, batch: Sequence[tuple[NvmeCommand, Region]]
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
            if not run.wanted:
                raise asyncio.CancelledError
            run.placed = await queue.submit(entries[start : start + step])
            outcomes += [await one.ended for one in run.placed]
            run.placed = ()
        return outcomes

    def _queue(self, command: NvmeCommand) -> ControlQueue:
        return self._admin if command.admin else self._io
