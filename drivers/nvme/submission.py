"""A queue pair of the control thread: entries in, completions out, by asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from scsi2nvme.native.nvme import QueueCompletion, QueuePair
from scsi2nvme.native.transport import Region

_POLL_S = 0.0005
_IDLE_POLL_S = 0.05  # while there are only commands without deadline: event requests
_TIMER_SLACK_S = 0.005  # the queue pair's clock is coarse


@dataclass(frozen=True, slots=True)
class Entry:
    """What `QueuePair.place` takes: 64 bytes, DMA memory that lives until the command ends.

    A `timeout_ms` of 0 is none.
    """

    sqe: bytes
    buffer: Region | None
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A command that the controller has been given. None stands for one that was under way
    when the controller was reset: nobody knows whether it was executed.
    """

    cid: int
    ended: asyncio.Future[QueueCompletion | None]


class ControlQueue:
    """Entries and their futures.

    `on_overdue(cid, again)` is called when a command's deadline has passed,
    and every `grace_ms` after that, then with `again`. Without interrupt
    (`polled`) the queue is polled while commands are under way.
    """

    def __init__(
        self,
        pair: QueuePair,
        *,
        polled: bool,
        grace_ms: int,
        on_overdue: Callable[[int, bool], None],
    ) -> None:
        self.pair = pair
        self._polled = polled
        self._grace_ms = grace_ms
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self._cookies = count(1)
        self._waiting: dict[int, asyncio.Future[QueueCompletion | None]] = {}
        self._overdue: set[int] = set()  # CIDs that were told of
        self._turn = asyncio.Lock()
        self._space = asyncio.Event()
        self._gate = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._attached = False
        self._abandoned = False

    def attach(self) -> None:
        """The controller has this queue pair now."""
        self._attached = True

    def detach(self) -> None:
        """The controller will not have it any more: touch neither entries nor doorbells."""
        if self._attached:
            self.collect()
            self._attached = False

    def open_gate(self) -> None:
        """Let `submit` submit."""
        self._gate.set()

    def close_gate(self) -> None:
        """Make `submit` wait."""
        self._gate.clear()

    @property
    def most_at_once(self) -> int:
        """How many entries can be under way: one less than there are."""
        return self.pair.depth - 1

    async def submit(self, entries: Sequence[Entry]) -> list[Placed]:
        """Place entries side by side with one ring, once there is room for all.

        A caller that is cancelled has placed nothing. ValueError when there will never be
        room.
        """
        if len(entries) > self.most_at_once:
            raise ValueError(f"{len(entries)} entries, at most {self.most_at_once} at once")
        async with self._turn:
            while True:
                await self._gate.wait()
                if self.pair.free_slots >= len(entries):
                    break
                self._space.clear()
                await self._space.wait()
            return self.place(entries)

    def place(self, entries: Sequence[Entry]) -> list[Placed]:
        """As `submit`, at once; there must be room. They end with `collect` or `forget`."""
        placed = []
        for entry in entries:
            cookie = next(self._cookies)
            cid = self.pair.place(entry.sqe, entry.buffer, cookie, entry.timeout_ms)
            assert cid is not None, "room was made before"
            self._overdue.discard(cid)
            self._waiting[cookie] = self._loop.create_future()
            placed.append(Placed(cid, self._waiting[cookie]))
        self.pair.ring()
        if self._abandoned:
            self.collect()
        else:
            self._arm()
        return placed

    def collect(self) -> None:
        """Take what has completed."""
        while self._attached and (completions := self.pair.poll()):
            for completion in completions:
                self._overdue.discard(completion.cid)
                future = self._waiting.pop(completion.cookie)
                if not future.done():
                    future.set_result(completion)
        self._space.set()

    def forget(self) -> None:
        """The controller forgot its queues: so do we."""
        self.pair.reset(replay=False)
        lost, self._waiting = self._waiting, {}
        self._overdue.clear()
        for future in lost.values():
            if not future.done():
                future.set_result(None)
        self._space.set()

    def abandon(self, status: int) -> None:
        """The controller is lost: everything, now and from now on, ends with `status`."""
        self.pair.abandon(status)
        self._abandoned = self._attached = True
        self.collect()
        self._gate.set()
        for timer in (self._timer, self._poll_timer):
            if timer is not None:
                timer.cancel()

    def revive(self) -> None:
        """The controller is to be brought up again: nothing is submitted until then."""
        self._gate.clear()
        self._abandoned = self._attached = False
        self._timer = self._poll_timer = None
        self.pair.revive()

    def _arm(self) -> None:
        """Set the timers for what is under way now."""
        left_ms, _ = self.pair.next_deadline()
        if left_ms >= 0:
            at = self._loop.time() + left_ms / 1000 + _TIMER_SLACK_S
            if self._timer is None or at < self._timer.when():
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(at, self._expire)
        if self._polled:
            if self._poll_timer is not None:
                self._poll_timer.cancel()
            pause_s = _POLL_S if left_ms >= 0 else _IDLE_POLL_S
            self._poll_timer = self._loop.call_later(pause_s, self._poll)

    def _poll(self) -> None:
        self.collect()
        if self._waiting:
            self._arm()

    def _expire(self) -> None:
        self._timer = None
        self.collect()  # an interrupt may have been lost
        while True:
            left_ms, cid = self.pair.next_deadline()
            if left_ms != 0:
                break
            self.pair.extend(cid, self._grace_ms)
            again = cid in self._overdue
            self._overdue.add(cid)
            self._on_overdue(cid, again)
        self._arm()
