"""What is served: logical units and I_T nexuses, with their halves in the data plane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from scsi2nvme.background import Background
from scsi2nvme.commands import COMMANDS
from scsi2nvme.executor import DataExecutor, OnBehalf
from scsi2nvme.native.plane import (
    Plane,
    PlaneController,
    PlaneNexus,
    PlaneUnit,
    Scope,
    UnitParameters,
)
from scsi2nvme.scsi.sense import REPORTED_LUNS_DATA_HAS_CHANGED, SenseCode
from scsi2nvme.service.allowance import SHARE, Allowance
from scsi2nvme.service.answers import KeptAnswers
from scsi2nvme.service.blocks import BlockLock, Claim, hull
from scsi2nvme.service.events import Events
from scsi2nvme.service.lock import SharedLock
from scsi2nvme.service.resets import Resets
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.statistics import Statistics

log = logging.getLogger(__name__)
_background = Background()

# Each hot command is held against all of them.
MOST_RANGES = 32
# How long others are kept waiting for what is under way, for the sake of what is to be alone.
FIRST_PATIENCE_S, LONGEST_PATIENCE_S = 0.5, 8.0
# Between looks whether a logical unit that was removed can be freed.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


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

    `parameters` are what the hot path knows; `paths` lists by which nexus and
    LUN the logical unit is reached. Commands hold `lock` shared while they run, or
    exclusively where they run alone, as often as `allowance` lets them, one after the other by
    `next_alone`, and of `blocks` those that they name. `preempting` are the aborts that PREEMPT
    AND ABORT has begun and not yet waited for; `drains` counts those who keep the hot path off,
    or are about to, `ranges` those who keep it off some blocks, `orders` the aborts of its tasks.
    `followers` are told whenever `publish` is called, until `stop_followers`.
    `patience_s` is for how long others wait, the first time, with who is to be alone.
    """

    lu: LogicalUnit
    executor: DataExecutor
    plane_unit: PlaneUnit
    controller: PlaneController
    parameters: UnitParameters
    events: Events
    lock: SharedLock = field(default_factory=SharedLock)
    blocks: BlockLock = field(default_factory=BlockLock)
    allowance: Allowance = field(default_factory=Allowance)
    next_alone: SharedLock = field(default_factory=SharedLock)
    resets: Resets = field(default_factory=Resets)
    paths: list[tuple[OpenNexus, int]] = field(default_factory=list)
    preempting: list[asyncio.Task[None]] = field(default_factory=list)
    closed: bool = False
    gone: bool = False  # its namespace
    drains: int = 0
    ranges: int = 0
    orders: int = 0
    followers: list[Follower] = field(default_factory=list)
    patience_s: float = FIRST_PATIENCE_S
    _refreshing: asyncio.Task[None] | None = None

    def on_behalf(self, party: Hashable) -> OnBehalf:
        """Return what executes NVMe commands of a party here."""
        return OnBehalf(self.executor, party, lambda: self.gone)

    def stop_followers(self) -> None:
        """Have nothing begin by itself any more; what has begun ends."""
        for follower in self.followers:
            follower.stop()
        self.followers.clear()

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

    def publish(self) -> None:
        """Bring the step-aside flags of every path in line with the logical unit's state.

        Answers that were made before hold no longer.
        """
        self.lu.epoch.advance()
        for follow in self.followers:
            follow.adjust()
        stale, any_aside = self.stale, False
        for opened, lun in self.paths:
            aside = stale or self.lu.aside(opened.nexus)
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

    async def _refresh(self) -> None:
        async with self._nothing_under_way():
            pass

    async def refresh(self) -> None:
        """As `begin_refresh`, and wait for its end."""
        if refreshing := self.begin_refresh():
            await asyncio.shield(refreshing)


class Registry:
    """The logical units by identity, the nexuses by the cookie of their events.

    `epoch` advances whenever an answer that was kept may no longer hold. `closed`: the logical
    units were freed.
    """

    def __init__(self, plane: Plane, events: Events) -> None:
        self._plane = plane
        self._events = events
        self.epoch = Epoch()
        self.answers = KeptAnswers(self.epoch)
        self.units: dict[LogicalUnit, ServedUnit] = {}
        self._by_controller: dict[PlaneController, list[LogicalUnit]] = {}
        self.nexuses: dict[int, OpenNexus] = {}
        self.closed = False
        self._retired: list[ServedUnit] = []  # tasks may still refer to them

    def add_unit(
        self, lu: LogicalUnit, executor: DataExecutor, controller: PlaneController
    ) -> ServedUnit:
        """Serve a logical unit from now on."""
        parameters = UnitParameters.of(lu)
        plane_unit = PlaneUnit(controller, parameters)
        unit = ServedUnit(lu, executor, plane_unit, controller, parameters, self._events)
        self.units[lu] = unit
        lu.controller_units = self._by_controller.setdefault(controller, [])
        if lu.controller_units:
            lu.sanitizing = lu.controller_units[0].sanitizing
            lu.firmware = lu.controller_units[0].firmware
        self._by_controller[controller].append(lu)
        lu.epoch, lu.on_change = self.epoch, unit.publish
        lu.statistics = plane_unit.statistics
        lu.exceptions.later = lambda *what: asyncio.get_running_loop().call_later(*what)
        plane_unit.set_aside(False)
        return unit

    def others(self, unit: ServedUnit) -> list[ServedUnit]:
        """Return what is served of the same controller beside a logical unit."""
        beside = self._by_controller.get(unit.controller, ())
        return [self.units[lu] for lu in beside if lu is not unit.lu]

    def remove_unit(self, lu: LogicalUnit) -> ServedUnit:
        """Serve a logical unit no more: no nexus sees it any longer. What is under way ends."""
        unit = self.units[lu]
        for opened, lun in list(unit.paths):
            self._unmap(opened, lun)
        del self.units[lu]
        lu.fail()  # for what waits for its turn
        unit.stop_followers()
        lu.exceptions.reset()
        self._retired.append(unit)
        self._by_controller[unit.controller].remove(lu)
        return unit

    async def free(self, unit: ServedUnit) -> None:
        """Free a logical unit that was removed, as soon as nothing refers to it any more.

        No task comes to refer to it now: when the reactors have counted none, none will.
        """
        pause_s = FIRST_PAUSE_S
        while unit.in_use or await self._referred_to(unit) or unit.in_use:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        unit.close()
        self._retired.remove(unit)

    async def forget_controller(self, controller: PlaneController) -> None:
        """Take a controller, whose logical units were freed, from the reactors.

        On return none of them knows its queues any more.
        """
        assert not self._by_controller.get(controller)
        self._by_controller.pop(controller, None)
        await self._events.drained(controller.pause)
        controller.close()
        # Reactors do what they are told in order: who has counted has let go as well.
        nobody = PlaneNexus(self._events.number())

        def count(token: int) -> None:
            self._plane.abort(Scope.NEXUS, nobody, None, token, query=True)

        await self._events.drained(count)
        nobody.close()

    async def _referred_to(self, unit: ServedUnit) -> bool:
        """Whether tasks refer to a logical unit, or messages do that such have sent.

        What a task has sent to other reactors before the first look comes there before the second.
        """
        return bool(await self._references(unit) or await self._references(unit))

    async def _references(self, unit: ServedUnit) -> int:
        """Return how many of the reactors' tasks refer to a logical unit."""

        def start(token: int) -> None:
            self._plane.abort(Scope.HELD, None, unit.plane_unit, token, query=True)

        return await self._events.drained(start)

    def close(self) -> None:
        """Free the logical units, with the reactors stopped."""
        self.closed = True
        for unit in (*self._retired, *self.units.values()):
            unit.lu.exceptions.stop()
            unit.close()
        self._retired.clear()
        self.units.clear()
        self._by_controller.clear()

    def discard_firmware(self, controller: PlaneController) -> None:
        """A controller forgets the pieces of an image that it was sent."""
        for lu in self._by_controller.get(controller, ()):
            lu.firmware.discard()

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs."""
        cookie = self._events.number()
        plane_nexus = PlaneNexus(cookie)
        opened = self.nexuses[cookie] = OpenNexus(nexus, plane_nexus, dict(nexus.luns))
        for lun, lu in nexus.luns.items():
            plane_nexus.map(lun, self.units[lu].plane_unit)
            self.units[lu].paths.append((opened, lun))
        for lu in set(nexus.luns.values()):
            lu.attach(nexus)
        return plane_nexus

    def update_nexuses(self) -> None:
        """Let nexuses see what they may see now, and tell those for whom that is something else.

        Spec: SPC-4 6.33, SAM-5 5.14 (REPORTED LUNS DATA HAS CHANGED).
        """
        for opened in self.nexuses.values():
            nexus = opened.nexus
            visible = None if nexus.visible is None else nexus.visible()
            if visible is None or dict(visible) == opened.told:
                continue
            before, now = opened.told, dict(visible)
            for lun in [lun for lun, lu in nexus.luns.items() if now.get(lun) is not lu]:
                self._unmap(opened, lun)
            for lun in now.keys() - nexus.luns.keys():
                self._map(opened, lun, now[lun])
            # Also by what has come in the place of another: it may be all that is asked.
            for lu in {lu for lun, lu in nexus.luns.items() if lun in before}:
                lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED, only=nexus.key)
            opened.told = dict(nexus.luns)  # what could not be mapped is, with the next change

    def _map(self, opened: OpenNexus, lun: int, lu: LogicalUnit) -> None:
        nexus, unit = opened.nexus, self.units[lu]
        try:
            opened.plane_nexus.map(lun, unit.plane_unit)
        except OSError as error:
            log.error("LUN %d of %s: %s", lun, nexus.initiator.name, error)
            return
        seen = lu in nexus.luns.values()
        nexus.luns[lun] = lu
        self.epoch.advance()
        unit.paths.append((opened, lun))
        if not seen:
            lu.attach(nexus)
        unit.publish()

    def _unmap(self, opened: OpenNexus, lun: int) -> None:
        nexus = opened.nexus
        opened.plane_nexus.map(lun, None)
        lu = nexus.luns.pop(lun)
        unit = self.units[lu]
        self.epoch.advance()
        unit.paths.remove((opened, lun))
        if unit.drains:
            unit.plane_unit.look_again()
        if lu not in nexus.luns.values():
            lu.detach(nexus)

    def close_nexus(
        self, nexus: Nexus, plane_nexus: PlaneNexus, condition: SenseCode | None
    ) -> None:
        """Detach the nexus' LUNs and free it; `condition` waits for its return."""
        for lu in set(nexus.luns.values()):
            paths = self.units[lu].paths
            paths[:] = [path for path in paths if path[0].plane_nexus is not plane_nexus]
            lu.detach(nexus, condition)
        for cookie, opened in list(self.nexuses.items()):
            if opened.plane_nexus is plane_nexus:
                del self.nexuses[cookie]
        plane_nexus.close()
