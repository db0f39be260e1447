"""Commands with their data on the control thread's queue pairs, until they have ended.

What need not wait for its turn, or for memory, is placed at once, and its end is told by whoever
collects the completion: a task of the event loop is for what has to wait, or is tried again.

Who stops commands does not want them any more. What has not been placed never is; the rest is
aborted by `GiveUp`, and is told of when it has ended: until then the controller may use its
buffers and change its blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import field, replace
from functools import partial
from typing import Any

from scsi2nvme.background import Background
from scsi2nvme.drivers.nvme.bounce import BouncePool
from scsi2nvme.drivers.nvme.bringup import Clock
from scsi2nvme.drivers.nvme.identify import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.drivers.nvme.retry import (
    ABORTED_BY_RESET,
    MAXIMUM_RETRIES,
    interruptible,
    retry_delay_s,
)
from scsi2nvme.drivers.nvme.settings import Settings
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.native.nvme import QueueCompletion
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import BROADCAST_NSID, Completed, Completion, Fuse, NvmeCommand
from scsi2nvme.nvme.repeating import repeatable
from scsi2nvme.records import dataclass

_DWORD = 4


def data_bytes(command: NvmeCommand) -> int:
    """Return how much a command carries, whichever way, for which it needs memory.

    Metadata follow the data.
    """
    if command.memory is not None:
        return 0
    metadata = _metadata_bytes(command)
    length = max(len(command.data_out), command.data_in)
    return _space(length) + metadata if metadata else length


def _metadata_bytes(command: NvmeCommand) -> int:
    return max(len(command.metadata_out), command.metadata_in)


def _metadata_of(command: NvmeCommand, buffer: Region) -> Region:
    """Return the part of a command's memory where its metadata are."""
    length = _metadata_bytes(command)
    return buffer.slice(buffer.length - length, length)


def _space(length: int) -> int:
    """Return how much memory data take: PRPs begin at any dword.

    So commands that together move whole blocks take no more than these.
    """
    return -(-length // _DWORD) * _DWORD


def _memory_of(command: NvmeCommand, buffer: Region) -> Region:
    """Return where a command's data are: in memory that was lent before, or in its buffer."""
    if command.memory is None:
        if _metadata_bytes(command):
            return buffer.slice(0, max(len(command.data_out), command.data_in))
        return buffer
    assert isinstance(command.memory, Region), "memory of another kind of executor's"
    return command.memory


def _parts(region: Region, lengths: Sequence[int]) -> list[Region]:
    """Return the parts of memory for data of these lengths, one behind the other."""
    parts = []
    at = 0
    for length in lengths:
        parts.append(region.slice(at, length))
        at += _space(length)
    return parts


def fill(command: NvmeCommand, buffer: Region) -> None:
    """Put a command's data into its buffer, or wipe what another left there."""
    if not buffer.length:
        return
    if metadata := _metadata_bytes(command):
        _put(command.metadata_out, command.prefill, _metadata_of(command, buffer), metadata)
        buffer = _memory_of(command, buffer)
    _put(command.data_out, command.prefill, buffer, buffer.length)


def _put(data: bytes, prefill: int, buffer: Region, length: int) -> None:
    if length:
        buffer.view()[:] = data or (bytes([prefill]) * length if prefill else bytes(length))


def completion_of(
    command: NvmeCommand, raw: QueueCompletion, buffer: Region, qid: int
) -> Completion:
    """Return what the engine sees of a completion queue entry of queue pair `qid`."""
    told = command.memory is None and not raw.status
    data = bytes(_memory_of(command, buffer).view()) if told and command.data_in else b""
    ended = Completion(raw.status, raw.dw0, raw.dnr, raw.more, raw.crd, data, qid, raw.cid)
    if told and command.metadata_in:
        return replace(ended, metadata=bytes(_metadata_of(command, buffer).view()))
    return ended


# As of the reactors' queues (csrc/task_abort.c).
_URGE_S = 1.0  # what nobody wants mostly ends by itself before
_INSIST_S = 0.5  # or by the controller's own Abort

GiveUp = Callable[[int, int, bool], Coroutine[Any, Any, None]]
"""Nobody wants a command any more: queue pair, command identifier, whether that was told before."""


@dataclass(eq=False, slots=True)
class _Run:
    """Commands of a party that belong together, and whether anybody wants them.

    `placed` are the CIDs of those under way, by their place in what was placed together; `region`
    is their memory, `work` what waits for something else on their behalf, `over` done when all
    has ended. `recalled`: what is not placed now never is, as it would meet what it was not meant
    for.
    """

    commands: Sequence[NvmeCommand]
    completed: Completed
    party: Hashable
    placed: dict[int, int] = field(default_factory=dict)
    wanted: bool = True
    recalled: bool = False
    region: Region | None = None
    work: asyncio.Task[tuple[Completion, ...]] | None = None
    aborting: asyncio.Task[None] | None = None
    over: asyncio.Future[None] | None = None

    def concerns(self, nsids: frozenset[int]) -> bool:
        """Whether one of them is for a namespace, or changes one whichever it is."""
        return any(
            command.nsid in nsids
            or (command.nsid in (0, BROADCAST_NSID) and not interruptible(command))
            for command in self.commands
        )

    @property
    def interruptible(self) -> bool:
        """Whether a reset may end all of them."""
        return all(map(interruptible, self.commands))

    def ended(self) -> asyncio.Future[None]:
        """Return what is done when all has ended."""
        if self.over is None:
            self.over = asyncio.get_running_loop().create_future()
        return self.over


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
        self._runs: set[_Run] = set()

    def start(
        self, commands: Sequence[NvmeCommand], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """See `Controller.start`."""
        if len({command.admin for command in commands}) != 1:
            raise ValueError("neither admin nor I/O commands only")
        lengths = [data_bytes(command) for command in commands]
        if max(lengths) > MAXIMUM_TRANSFER_BYTES:
            raise ValueError(f"{max(lengths)} bytes of data, at most {MAXIMUM_TRANSFER_BYTES}")
        if (size := sum(map(_space, lengths))) > self._bounce.most:
            raise ValueError(f"{size} bytes of data together, at most {self._bounce.most}")
        run = _Run(commands, completed, party)
        self._runs.add(run)
        try:
            placed = self._place_at_once(run, lengths)
        except BaseException:
            self._forget(run)
            raise
        if not placed:
            self._work(run, self._execute(run, lengths))
        return partial(self._stop, run)

    def borrow(self, length: int, party: Hashable = None) -> AbstractAsyncContextManager[Region]:
        """See `DataExecutor`."""
        return self._bounce.borrow(length, party)

    def recall(self, nsids: frozenset[int]) -> None:
        """Others have the numbers of these namespaces: place nothing that was meant for the former.

        It ends as what a reset has interrupted.
        """
        for run in self._runs if nsids else ():
            run.recalled = run.recalled or run.concerns(nsids)

    async def drain(self, limit_s: float | None = None) -> bool:
        """Wait until every command has ended, for so many seconds at most; whether all have."""
        if self._runs:
            await asyncio.wait([run.ended() for run in self._runs], timeout=limit_s)
        return not self._runs

    def _work(self, run: _Run, work: Coroutine[Any, Any, tuple[Completion, ...]]) -> None:
        """Have commands go on that have to wait for something besides their completion."""
        run.work = asyncio.get_running_loop().create_task(work)
        run.work.add_done_callback(partial(self._worked, run))

    def _worked(self, run: _Run, work: asyncio.Task[tuple[Completion, ...]]) -> None:
        if work.cancelled():
            self._end(run, asyncio.CancelledError())
        else:
            self._end(run, work.exception() or work.result())

    def _forget(self, run: _Run) -> None:
        """Take back what commands have of which none was placed: there is no such command."""
        if not run.placed:
            self._runs.discard(run)
            if run.region is not None:
                self._bounce.take_back(run.region)

    def _end(self, run: _Run, outcome: tuple[Completion, ...] | BaseException) -> None:
        """Nothing of these commands is under way any more."""
        self._runs.discard(run)
        if run.region is not None:
            self._bounce.take_back(run.region)
        if run.aborting is not None:
            run.aborting.cancel()
        if run.over is not None:
            run.over.set_result(None)
        run.completed(outcome)

    def _stop(self, run: _Run) -> None:
        """Have commands end that nobody wants."""
        if not run.wanted or run not in self._runs:
            return
        run.wanted = False
        if run.work is not None and not run.placed:
            run.work.cancel()
        run.aborting = asyncio.get_running_loop().create_task(self._abort(run))

    async def _abort(self, run: _Run) -> None:
        """Abort what does not end by itself, and insist until it has where that does not help."""
        queue = self._queue(run.commands[0])
        patience_s, again = _URGE_S, False
        while not (await asyncio.wait([run.ended()], timeout=patience_s))[0]:
            if again and not run.interruptible:
                return
            for cid in run.placed.values():
                queue.keep(cid, self._background.spawn(self._give_up(queue.pair.qid, cid, again)))
            patience_s, again = _URGE_S if again else _INSIST_S, True

    def uninterruptible(self) -> frozenset[tuple[int, int]]:
        """Return the queue pairs and CIDs of what a reset would leave half done.

        What is overdue itself is not among them: two of such would wait for one another.
        """
        return frozenset(
            (queue.pair.qid, cid)
            for run in self._runs
            if not run.interruptible
            for queue in (self._queue(run.commands[0]),)
            for cid in run.placed.values()
            if not queue.is_overdue(cid)
        )

    def _place_at_once(self, run: _Run, lengths: Sequence[int]) -> bool:
        """Place commands that wait for nothing; whether they are such."""
        commands = run.commands
        queue = self._queue(commands[0])
        if self._settings.concern(commands) or not queue.admits(run.party, len(commands)):
            return False
        run.region = self._bounce.lend(sum(map(_space, lengths)), run.party)
        if run.region is None:
            return False
        buffers = _parts(run.region, lengths)
        self._put(
            run,
            self._entries(list(zip(commands, buffers, strict=True))),
            lambda outcomes: self._outcomes(run, buffers, outcomes),
        )
        return True

    def _outcomes(
        self,
        run: _Run,
        buffers: Sequence[Region],
        outcomes: list[QueueCompletion | None],
    ) -> None:
        """Commands that were placed at once have ended: well, or perhaps not for good."""
        if not all(outcome is not None and not outcome.status for outcome in outcomes):
            self._work(run, self._repeat(run, buffers, outcomes))
            return
        judged = map(self._judge, run.commands, outcomes, buffers)
        self._end(run, self._recorded(run, tuple(completion for completion, _ in judged)))

    async def _execute(self, run: _Run, lengths: Sequence[int]) -> tuple[Completion, ...]:
        async with self._bounce.borrow(sum(map(_space, lengths)), run.party) as region:
            concerned = self._settings.concern(run.commands)
            async with self._settings.turn if concerned else nullcontext():
                return await self._repeat(run, _parts(region, lengths))

    def _recorded(self, run: _Run, completions: tuple[Completion, ...]) -> tuple[Completion, ...]:
        for command, completion in zip(run.commands, completions, strict=True):
            self._settings.record(command, completion)
        return completions

    async def _repeat(
        self,
        run: _Run,
        buffers: Sequence[Region],
        outcomes: list[QueueCompletion | None] | None = None,
    ) -> tuple[Completion, ...]:
        """Submit commands until all have ended for good; fused ones together.

        `outcomes` are those of the first time, where that was.
        """
        commands = run.commands
        done: dict[int, Completion] = {}
        repeated: set[int] = set()
        fused = any(command.fuse is not Fuse.NORMAL for command in commands)
        for attempts_left in reversed(range(MAXIMUM_RETRIES + 1)):
            todo = [index for index in range(len(commands)) if index not in done]
            if outcomes is None:
                outcomes = await self._submit(run, [(commands[i], buffers[i]) for i in todo])
            delays_s = {}
            for index, outcome in zip(todo, outcomes, strict=True):
                done[index], delay_s = self._judge(commands[index], outcome, buffers[index])
                if delay_s is not None:
                    delays_s[index] = delay_s
            outcomes = None
            if not delays_s or not attempts_left or not run.wanted or run.recalled:
                break
            repeated |= delays_s.keys()
            for index in done.copy() if fused else delays_s:
                del done[index]
            await self._clock.sleep(max(delays_s.values()))
        done |= {index: replace(done[index], repeated=True) for index in repeated}
        return self._recorded(run, tuple(done[index] for index in range(len(commands))))

    def _judge(
        self, command: NvmeCommand, outcome: QueueCompletion | None, buffer: Region
    ) -> tuple[Completion, float | None]:
        """Return how a command ended, and when to try again if that is worth it."""
        if outcome is None:
            return Completion(ABORTED_BY_RESET), 0.0 if repeatable(command) else None
        completion = completion_of(command, outcome, buffer, self._queue(command).pair.qid)
        return completion, retry_delay_s(command, completion, self.retry_delays_s)

    def _entries(self, batch: Sequence[tuple[NvmeCommand, Region]]) -> list[Entry]:
        """Fill the buffers of commands, and return what is placed."""
        for command, buffer in batch:
            fill(command, buffer)
        return [
            Entry(
                command.sqe(_metadata_of(command, buffer).iova if _metadata_bytes(command) else 0),
                _memory_of(command, buffer),
                max(1, int(self._timing.of(command) * 1000)),
            )
            for command, buffer in batch
        ]

    async def _submit(
        self, run: _Run, batch: Sequence[tuple[NvmeCommand, Region]]
    ) -> list[QueueCompletion | None]:
        """Submit commands, as many at a time as the party may have; fused ones all at once.

        Those that are recalled meanwhile have no outcome.
        """
        queue, entries = self._queue(batch[0][0]), self._entries(batch)
        fused = any(command.fuse is not Fuse.NORMAL for command, _ in batch)
        outcomes: list[QueueCompletion | None] = []
        while left := entries[len(outcomes) :]:
            if not run.wanted:
                raise asyncio.CancelledError
            if run.recalled:
                return outcomes + [None] * len(left)
            ended: asyncio.Future[list[QueueCompletion | None]]
            ended = asyncio.get_running_loop().create_future()
            place = partial(self._put_first, run, left, ended.set_result)
            await queue.in_turn(run.party, len(left) if fused else 1, len(left), place)
            outcomes += await ended
        return outcomes

    def _put_first(
        self,
        run: _Run,
        entries: Sequence[Entry],
        all_ended: Callable[[list[QueueCompletion | None]], None],
        count: int,
    ) -> None:
        if run.recalled:  # while it waited
            all_ended([None] * count)
        else:
            self._put(run, entries[:count], all_ended)

    def _put(
        self,
        run: _Run,
        entries: Sequence[Entry],
        all_ended: Callable[[list[QueueCompletion | None]], None],
    ) -> None:
        """Place entries for which there is room, and call `all_ended` when the last has ended."""
        outcomes: list[QueueCompletion | None] = [None] * len(entries)

        def ended(index: int, outcome: QueueCompletion | None) -> None:
            outcomes[index] = outcome
            del run.placed[index]
            if not run.placed:
                all_ended(outcomes)

        queue = self._queue(run.commands[0])
        run.placed.update(enumerate(queue.put(run.party, entries, ended)))

    def _queue(self, command: NvmeCommand) -> ControlQueue:
        return self._admin if command.admin else self._io
