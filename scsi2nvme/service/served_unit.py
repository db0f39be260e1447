"""A logical unit that is served: what runs beside what on it, and what the hot path knows of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import field
from functools import partial
from typing import Protocol

from scsi2nvme.background import Background
from scsi2nvme.commands import COMMANDS
from scsi2nvme.executor import DataExecutor, NvmeExecutor, OnBehalf
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import PlaneController, PlaneNexus, PlaneUnit
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass
from scsi2nvme.service.allowance import SHARE, Allowance
from scsi2nvme.service.blocks import BlockLock, Claim, hull
from scsi2nvme.service.events import Events
from scsi2nvme.service.layout import Layout
from scsi2nvme.service.lock import SharedLock
from scsi2nvme.service.resets import Resets
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.statistics import Statistics

log = logging.getLogger(__name__)
_background = Background()

# Each hot command is held against all of them.
MOST_RANGES = 32
# How long others are kept waiting for what is under way, for the sake of what is to be alone.
FIRST_PATIENCE_S, LONGEST_PATIENCE_S = 0.5, 8.0


class GoneError(Exception):
    """A logical unit is served no more."""


class Follower(Protocol):
    """What goes on by itself for a logical unit, as long as it is served."""

    def adjust(self) -> None:
        """The logical unit may have changed."""

    def stop(self) -> None:
        """It is served no more: begin nothing any more."""


@dataclass(eq=False)
class OpenNexus:
    """An I_T nexus that is served, with its half in the data plane."""

    nexus: Nexus
    plane_nexus: PlaneNexus
    told: dict[int, LogicalUnit]  # what it saw when it was last told of that


@dataclass(eq=False)
class ServedUnit:
    """A logical unit with its half in the data plane.

    `executor` executes the engine's commands, `lender` those with memory that it has lent.
    `parameters` are what the hot path knows; `paths` lists by which nexus and LUN the logical
    unit is reached, by the nexus' key. Commands hold `lock` shared while they run, or
    exclusively where they run alone, as often as `allowance` lets them, one after the other by
    `next_alone`, and of `blocks` those that they name. `preempting` are the aborts that PREEMPT
    AND ABORT has begun, with whose tasks they end; `drains` counts those who keep the hot path
    off, or are about to, `ranges` those who keep it off some blocks, `orders` the aborts of its
    tasks.
    `left`: commands of the engine go by another controller than `controller`.
    `followers` are told whenever `publish` is called, until `stop_followers`. `guests` end what
    people have begun, which are no tasks that could be aborted.
    `patience_s` is for how long others wait, the first time, with who is to be alone.
    """

    lu: LogicalUnit
    executor: NvmeExecutor
    lender: DataExecutor
    plane_unit: PlaneUnit
    controller: PlaneController
    parameters: UnitParameters
    events: Events
    lock: SharedLock = field(default_factory=SharedLock)
    blocks: BlockLock = field(default_factory=BlockLock)
    allowance: Allowance = field(default_factory=Allowance)
    next_alone: SharedLock = field(default_factory=SharedLock)
    resets: Resets = field(default_factory=Resets)
    paths: dict[str, list[tuple[OpenNexus, int]]] = field(default_factory=dict)
    preempting: dict[asyncio.Task[None], str] = field(default_factory=dict)
    closed: bool = False
    left: bool = False
    layout: Layout = field(default_factory=Layout)
    drains: int = 0
    ranges: int = 0
    orders: int = 0
    followers: list[Follower] = field(default_factory=list)
    guests: list[asyncio.Timeout] = field(default_factory=list)
    controllers: tuple[PlaneController, ...] = ()  # that it may be reached by, if several
    patience_s: float = FIRST_PATIENCE_S
    _refreshing: asyncio.Task[None] | None = None

    def on_behalf(self, party: Hashable) -> OnBehalf:
        """Return what executes NVMe commands of a party here, for the blocks that there are now."""
        return self.layout.executor(self.executor, party)

    def by_lender(self, party: Hashable, lender: DataExecutor) -> OnBehalf:
        """As `on_behalf`, with memory that was lent, and as long as commands go by the lender.

        Another namespace may be what it leads to afterwards.
        """

        def refused(command: NvmeCommand) -> StatusCode | None:
            return None if self.lender is lender else StatusCode.HOST_PATHING_ERROR

        return OnBehalf(self.layout.executor(lender, party), party, refused)

    def stop_followers(self) -> None:
        """Have nothing begin by itself any more; what has begun ends."""
        for follower in self.followers:
            follower.stop()
        self.followers.clear()

    @asynccontextmanager
    async def guest(self) -> AsyncIterator[None]:
        """Have the body, which people have begun, be cancelled by `end_guests`: GoneError then."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self.guests.append(limit)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise GoneError from None
        finally:
            self.guests.remove(limit)

    def end_guests(self) -> None:
        """End what people have begun, and wait for or do; once, when nothing else begins."""
        for limit in self.guests:
            limit.reschedule(asyncio.get_running_loop().time())

    def close(self) -> None:
        """Free its half in the data plane; what still runs does not touch it any more."""
        self.closed = True
        self.plane_unit.close()

    def statistics(self) -> tuple[Statistics, dict[str, int]]:
        """Return what was counted of its commands, and those that were cold by name."""
        *counts, unknown = self.plane_unit.cold(len(COMMANDS))
        cold: Counter[str] = Counter()
        for row, count in zip(COMMANDS, counts, strict=True):
            cold[row.name] += count
        cold["unknown"] = unknown
        return self.plane_unit.statistics(), {name: count for name, count in cold.items() if count}

    def report(self, fraction: int) -> None:
        """A long operation has come so far, in parts of 65536."""
        self.lu.progress = fraction

    @property
    def in_use(self) -> bool:
        """Whether anything that goes on here may touch its half in the data plane."""
        locked = self.lock.in_use or self.next_alone.in_use
        return locked or self.drains + self.ranges + self.orders > 0

    @property
    def stale(self) -> bool:
        """Whether the hot path does not know yet what the logical unit has become."""
        return UnitParameters.of(self.lu) != self.parameters

    def add_path(self, opened: OpenNexus, lun: int) -> None:
        """It is reached by one more nexus, or LUN."""
        self.paths.setdefault(opened.nexus.key, []).append((opened, lun))

    def remove_path(self, opened: OpenNexus, lun: int) -> None:
        """It is not reached by a nexus and LUN any more."""
        paths = self.paths[opened.nexus.key]
        paths.remove((opened, lun))
        if not paths:
            del self.paths[opened.nexus.key]

    def all_paths(self) -> list[tuple[OpenNexus, int]]:
        """Return by which nexuses and LUNs it is reached."""
        return [path for paths in self.paths.values() for path in paths]

    def publish(self) -> None:
        """Bring what reactors know of its state, and of every path's, in line with that.

        Answers that were made before hold no longer.
        """
        self._publish(self.all_paths())

    def publish_to(self, key: str) -> None:
        """The same where only what one nexus may do has changed, however many there are."""
        self._publish(self.paths.get(key, ()))

    def _publish(self, paths: Iterable[tuple[OpenNexus, int]]) -> None:
        self.lu.epoch.advance()
        if not self.closed:
            self.plane_unit.set_descriptor_sense(self.lu.mode.descriptor_sense)
        for follow in self.followers:
            follow.adjust()
        stale, any_aside = None, False
        for opened, lun in paths:
            aside = self.lu.aside(opened.nexus)
            if not aside:  # else nobody need find that out, which takes long
                aside = stale = self.stale if stale is None else stale
            opened.plane_nexus.set_aside(lun, aside)
            any_aside |= aside
        if any_aside and self.drains:
            self.plane_unit.look_again()  # nobody waits for the end of a format in vain

    def try_share(
        self, extents: Sequence[range], *, had_turn: bool = False
    ) -> Callable[[], None] | None:
        """Hold `lock` and blocks beside others; return what ends that.

        None: something has to be waited for, so that nothing is held. Who `had_turn` does not wait
        for who waits.
        """
        if not (self.lock.try_join() if had_turn else self.lock.try_hold()):
            return None
        claim = self.blocks.try_share(extents)
        if claim is None:
            self.lock.leave()
            return None
        token = self.events.number()
        end = partial(self._end_sharing, claim, token)
        if self._keep_hot_off(extents, token):
            end()
            return None
        return end

    def _end_sharing(self, claim: Claim, token: int) -> None:
        self._let_hot_on(token)
        self.blocks.leave(claim)
        self.lock.leave()

    def _keep_hot_off(self, extents: Sequence[range], token: int) -> bool:
        """Have no command of the hot path alone on some blocks; whether one is."""
        return not self.closed and bool(extents) and self.plane_unit.share(hull(extents), token)

    def _let_hot_on(self, token: int) -> None:
        if not self.closed:
            self.plane_unit.unshare(token)

    @property
    def paused(self) -> bool:
        """Whether its controller is being reset, so that no command begins here."""
        return self.controller.paused and not self.left

    def step_aside(self) -> None:
        """The engine's commands go by another controller, until `step_back` says that all do.

        Nothing more begins on the hot path; what is under way goes on.
        """
        self.left = True
        self.plane_unit.set_left(True)
        if not self.drains:
            self.plane_unit.set_aside(True)
        self.drains += 1

    def step_back(self) -> None:
        """End what `step_aside` has begun."""
        self.left = False
        self.drains -= 1
        if self.closed:
            return
        self.plane_unit.set_left(False)
        if not self.drains:
            self.plane_unit.set_aside(False)

    @asynccontextmanager
    async def drained(self) -> AsyncIterator[None]:
        """Keep the hot path off the logical unit for the body.

        Whoever holds `lock` exclusively may change the namespace: afterwards the hot path
        knows of it.
        """
        if self.closed:
            yield
            return
        drained = False
        self.drains += 1
        try:
            await self.events.drained(self.plane_unit.drain)
            drained = True
            yield
        finally:
            self.drains -= 1
            if not self.closed:
                self._return_to_hot_path(drained=drained)

    @asynccontextmanager
    async def alone(self, party: Hashable) -> AsyncIterator[None]:
        """Hold `lock` exclusively and keep the hot path off for the body, on behalf of `party`.

        Not for most of the time: who has to wait for that waits before it keeps others waiting.
        """
        async with self.next_alone.hold(exclusive=True, party=party):
            if (wait_seconds := self.allowance.wait_seconds) > 0:
                await asyncio.sleep(wait_seconds)
            async with self._nothing_under_way(party) as begun:
                try:
                    yield
                finally:
                    self.allowance.use(time.monotonic() - begun)

    @asynccontextmanager
    async def _nothing_under_way(self, party: Hashable = None) -> AsyncIterator[float]:
        """Hold `lock` exclusively and keep the hot path off; since when that keeps others waiting.

        What is under way may take long: others are kept waiting for it for a while, go on for some
        time, wait for longer, and so on.
        """
        patience_s = self.patience_s
        while True:
            begun = time.monotonic()
            async with AsyncExitStack() as stack:
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        hold = self.lock.hold(exclusive=True, party=party)
                        await stack.enter_async_context(hold)
                        await stack.enter_async_context(self.drained())
                        held = stack.pop_all()
                        break
            await asyncio.sleep(patience_s / SHARE - patience_s)
            patience_s = min(2 * patience_s, LONGEST_PATIENCE_S)
        async with held:
            yield begun

    @asynccontextmanager
    async def drained_of(self, blocks: range) -> AsyncIterator[None]:
        """Keep the hot path off some blocks for the body; what it does elsewhere goes on.

        Off the whole logical unit, where it is kept off `MOST_RANGES` others.
        """
        if self.closed or self.ranges == MOST_RANGES:
            async with self.drained():
                yield
            return
        token = self.events.number()
        self.ranges += 1
        try:
            await self.events.drained(partial(self.plane_unit.drain_range, blocks), token)
            yield
        finally:
            self.ranges -= 1
            if not self.closed:
                self.plane_unit.release_range(token)

    @asynccontextmanager
    async def beside(self, extents: Sequence[range]) -> AsyncIterator[None]:
        """Have no command of the hot path alone on some blocks for the body."""
        token = self.events.number()
        try:
            if self._keep_hot_off(extents, token):
                async with self.drained_of(hull(extents)):
                    pass  # no other begins there from now on
            yield
        finally:
            self._let_hot_on(token)

    def _return_to_hot_path(self, *, drained: bool) -> None:
        """End a drain, or give it up: then nothing has changed that the hot path must know."""
        if drained and self.stale:
            self.parameters = UnitParameters.of(self.lu)
            self.plane_unit.update(self.parameters)
            self.publish()
        if not self.drains:
            self.plane_unit.set_aside(False)

    def begin_refresh(self) -> asyncio.Task[None] | None:
        """Tell the hot path of what a background operation or an event has changed.

        Nothing begins by what it knew; the task that is returned, one however often that changes,
        ends after what is under way. None: there is nothing new.
        """
        if not self.stale or self.closed:
            return None
        self.publish()
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = _background.spawn(self._refresh())
        return self._refreshing

    def streams_refused(self) -> None:
        """The controller refuses what it has said of streams: tell, and let the hot path know."""
        self._refused(
            "streams-refused", "writes of streams are refused; there are none from now on"
        )

    def hints_refused(self) -> None:
        """The controller refuses to be told how blocks are used, likewise."""
        what = "what initiators say of how blocks are used is refused; it is told no more"
        self._refused("hints-refused", what)

    def _refused(self, kind: str, what: str) -> None:
        disk, namespace = self.lu.facts.controller.text("sn").strip(), str(self.lu.nsid)
        about = {"disk": disk, "namespace": namespace}
        tell(
            log, logging.WARNING, kind, "disk %s, namespace %s: %s", disk, namespace, what, **about
        )
        self.begin_refresh()

    async def _refresh(self) -> None:
        async with self._nothing_under_way():
            pass

    async def refresh(self) -> None:
        """As `begin_refresh`, and wait for its end."""
        if refreshing := self.begin_refresh():
            await asyncio.shield(refreshing)
