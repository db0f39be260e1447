"""A queue pair of the control thread: entries in, completions out, by asyncio.

Whose commands do not end leaves entries to others. Of a quarter of the queue pair no party gets
more than two, and of what is common none, before it takes one, has more than twice what is left.
Some are for the daemon's own commands only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import count
from typing import Any

from scsi2nvme.drivers.nvme.lines import Lines
from scsi2nvme.native.nvme import QueueCompletion, QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.records import dataclass

_POLL_S = 0.0005
_IDLE_POLL_S = 0.05  # while there are only commands without deadline: event requests
_TIMER_SLACK_S = 0.005  # the queue pair's clock is coarse
# As of the reactors' queues (csrc/submit.c).
_RESERVE_PART, _ENTRY_QUOTA = 4, 2
_OWN_PART, _MOST_OWN = 8, 8  # the daemon's, event requests among them


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
    and every `grace_ms` after that, then with `again`; no other command gets the
    CID before what it returns is done. Without interrupt
    (`polled`) the queue is polled while commands are under way.
    """

    def __init__(
        self,
        pair: QueuePair,
        *,
        polled: bool,
        grace_ms: int,
        on_overdue: Callable[[int, bool], asyncio.Future[Any]],
    ) -> None:
        self.pair = pair
        self._polled = polled
        self._grace_ms = grace_ms
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self._cookies = count(1)
        self._waiting: dict[int, Callable[[QueueCompletion | None], None]] = {}
        self._lines = Lines(lambda: self._gate and pair.free_slots > 0)
        self._held: Counter[Hashable] = Counter()  # entries of each party that are under way
        self._gate = False  # whether anybody may place what waits for its turn
        self._timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._attached = False
        self._abandoned = False
        self._resets = 0  # after which no CID is any command's

    def attach(self) -> None:
        """The controller has this queue pair now."""
        self._attached = True

    def detach(self) -> None:
        """The controller will not have it any more: touch neither entries nor doorbells."""
        if self._attached:
            self.collect()
            self._attached = False

    def is_overdue(self, cid: int) -> bool:
        """Whether a command was told of, as its deadline has passed."""
        return self.pair.extended(cid)

    def keep(self, cid: int, until: asyncio.Future[Any]) -> None:
        """Give the CID of a command under way to no other one before `until` is done.

        An Abort names its command by that.
        """
        resets = self._resets
        self.pair.pin(cid)

        def unpin(_: asyncio.Future[Any]) -> None:
            if resets == self._resets:
                self.pair.unpin(cid)
                self._lines.serve()

        until.add_done_callback(unpin)

    def open_gate(self) -> None:
        """Let what waits for its turn be placed."""
        self._gate = True
        self._lines.serve()

    def close_gate(self) -> None:
        """Make it wait."""
        self._gate = False

    @property
    def most_at_once(self) -> int:
        """How many entries can be under way: one less than there are."""
        return self.pair.depth - 1

    async def submit(self, entries: Sequence[Entry]) -> list[Placed]:
        """Place entries of the daemon's own side by side with one ring, once there is room for all.

        A caller that is cancelled has placed nothing. ValueError when there will never be
        room.
        """
        count, placed = len(entries), list[Placed]()
        await self.in_turn(None, count, count, lambda _: placed.extend(self.place(entries)))
        return placed

    async def in_turn(
        self, party: Hashable, least: int, most: int, place: Callable[[int], None]
    ) -> None:
        """Call `place` with how many entries a party may place at once: from `least` to `most`.

        A caller that is cancelled before has placed nothing. ValueError when there will never be
        room.
        """
        if least > self.most_at_once:
            raise ValueError(f"{least} entries, at most {self.most_at_once} at once")

        def take() -> bool:
            count = self._allowed(party, most)
            if count < least:
                return False
            place(count)
            return True

        await self._lines.wait(party, take)

    def place(self, entries: Sequence[Entry]) -> list[Placed]:
        """As `submit`, at once; there must be room. They end with `collect` or `forget`."""
        futures = [self._loop.create_future() for _ in entries]
        cids = self.put(None, entries, lambda index, outcome: _settle(futures[index], outcome))
        return [Placed(cid, future) for cid, future in zip(cids, futures, strict=True)]

    def admits(self, party: Hashable, count: int) -> bool:
        """Whether a party may place so many entries at once, with nothing of it before them."""
        behind = party in self._lines
        return self._gate and not behind and self._allowed(party, count) == count

    def _allowed(self, party: Hashable, most: int) -> int:
        """Return how many entries a party may have beside what it has, up to `most`."""
        free = self.pair.free_slots
        if party is None:
            return min(most, free)
        free -= min(self.most_at_once // _OWN_PART, _MOST_OWN)
        left, held = free - self.most_at_once // _RESERVE_PART, self._held[party]
        common = min(left, (2 * left - held) // 3 + 1) if 2 * left >= held else 0
        return max(0, min(most, max(common, min(free, _ENTRY_QUOTA - held))))

    def put(
        self,
        party: Hashable,
        entries: Sequence[Entry],
        ended: Callable[[int, QueueCompletion | None], None],
    ) -> list[int]:
        """As `place`; returns the CIDs. `ended` is called, later, with the index of each."""

        def one_ended(index: int, outcome: QueueCompletion | None) -> None:
            self._held[party] -= 1
            if not self._held[party]:
                del self._held[party]
            ended(index, outcome)

        self._held[party] += len(entries)
        cids = []
        for index, entry in enumerate(entries):
            cookie = next(self._cookies)
            cid = self.pair.place(entry.sqe, entry.buffer, cookie, entry.timeout_ms)
            assert cid is not None, "room was made before"
            self._waiting[cookie] = partial(one_ended, index)
            cids.append(cid)
        self.pair.ring()
        if self._abandoned:
            self._loop.call_soon(self.collect)
        else:
            self._arm(min((each.timeout_ms for each in entries if each.timeout_ms), default=0))
        return cids

    def collect(self) -> None:
        """Take what has completed."""
        while self._attached and (completions := self.pair.poll()):
            for completion in completions:
                self._end(self._waiting.pop(completion.cookie), completion)
        self._lines.serve()

    def _end(
        self, ended: Callable[[QueueCompletion | None], None], completion: QueueCompletion | None
    ) -> None:
        """Tell of one; a fault in what is told costs no other command its end."""
        try:
            ended(completion)
        except Exception as error:
            context = {"message": "internal error", "exception": error}
            self._loop.call_exception_handler(context)

    def forget(self) -> None:
        """The controller forgot its queues: so do we."""
        self.pair.reset(replay=False)
        self._resets += 1
        lost, self._waiting = self._waiting, {}
        for ended in lost.values():
            self._end(ended, None)
        self._lines.serve()

    def abandon(self, status: int) -> None:
        """The controller is lost: everything, now and from now on, ends with `status`."""
        self.pair.abandon(status)
        self._abandoned = self._attached = True
        self.collect()
        self.open_gate()
        for timer in (self._timer, self._poll_timer):
            if timer is not None:
                timer.cancel()

    def revive(self) -> None:
        """The controller is to be brought up again: nothing is submitted until then."""
        self._gate = False
        self._abandoned = self._attached = False
        self._timer = self._poll_timer = None
        self.pair.revive()

    def _arm(self, first_ms: int) -> None:
        """Set the timers for what was placed now, whose first deadline is in `first_ms`, if any."""
        if not self._polled and self._timer is not None:
            at = self._loop.time() + first_ms / 1000
            if not first_ms or at >= self._timer.when():
                return  # it wakes for what is due before
        self._rearm()

    def _rearm(self) -> None:
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
            self._rearm()

    def _expire(self) -> None:
        self._timer = None
        self.collect()  # an interrupt may have been lost
        while True:
            left_ms, cid = self.pair.next_deadline()
            if left_ms != 0:
                break
            again = self.pair.extend(cid, self._grace_ms)
            self.keep(cid, self._on_overdue(cid, again))
        self._rearm()


def _settle(
    future: asyncio.Future[QueueCompletion | None], outcome: QueueCompletion | None
) -> None:
    if not future.done():
        future.set_result(outcome)
