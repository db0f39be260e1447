"""The controllers that the daemon serves: they come, change, and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import insort
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ControllerTable
from scsi2nvme.background import Background
from scsi2nvme.cli import controllers
from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon import memory
from scsi2nvme.cli.daemon.bearers import Bearers
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.dumping import Dumping
from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, Served
from scsi2nvme.cli.daemon.host_identity import HostIdentity
from scsi2nvme.cli.daemon.inventory import Inventory
from scsi2nvme.cli.daemon.opening import Opening
from scsi2nvme.cli.daemon.portal_groups import PortalGroups
from scsi2nvme.cli.daemon.queues import give_queues
from scsi2nvme.cli.daemon.rehearsal import Rehearsal
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.cli.spec import spelled
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import PlaneController
from scsi2nvme.service import PlaneDataPath, TaskService

# How long those that are up wait for others. What the kernel's target restores when we are
# ready fails for a controller that is not up by then.
PATIENCE_S, KERNEL_PATIENCE_S = 5.0, 30.0

log = logging.getLogger(__name__)


class Controllers:
    """Brings controllers up, gives them their names and places, follows them, and lets them go.

    `served` are those that are up, `targets` what each is to be, by number: some come later.
    `front_ends` are told of what comes and goes.
    """

    def __init__(
        self, settings: Settings, service: TaskService, front_ends: Sequence[FrontEnd]
    ) -> None:
        self.targets = list(settings.targets)
        self.served: list[Served] = []
        self._settings = settings
        self._service = service
        self._front_ends = front_ends
        self._removed: set[int] = set()  # of the targets
        self._bearers = Bearers(JsonStore(settings.state_dir), self.targets)
        self._host = HostIdentity(JsonStore(settings.state_dir))
        self._leaving: list[Controller] = []
        self._inventory = Inventory(
            *(service, JsonStore(settings.state_dir / "units"), self.served, self._bearers),
            *(self._host, self._leaving),
        )
        self.rehearsal = Rehearsal(self.served, self._host, front_ends)
        self._portal_groups = PortalGroups(JsonStore(settings.state_dir), settings.first_port_group)
        self._background = Background()
        self._coming = Background()
        patience_s = PATIENCE_S if settings.tcmu is None else KERNEL_PATIENCE_S
        self._opening = Opening(self.targets, self._open, patience_s)
        self._controllers: list[Controller] = []
        self._natives: list[PlaneController] = []
        self._dumping = Dumping(settings.state_dir, settings.dumps)
        self._following = asyncio.Lock()  # of controllers' events, one at a time

    # From start to end

    async def bring_up(self, stack: AsyncExitStack) -> None:
        """Bring up what is configured, or as many as are up in time; OperationError if none is.

        The end of `stack` closes them all.
        """
        self._dumping.take_over()
        stack.push_async_callback(self._dumping.close)
        stack.push_async_callback(self._close_controllers)
        stack.callback(self._close_natives)
        stack.push_async_callback(self._opening.stop)
        up = await self._opening.some()
        self._take_in(*self._portal_groups.first(up, self._leave_out))
        self._inventory.make()

    async def detach(self) -> None:
        """Have no controller use the data plane any more, which ends."""
        for controller in self._controllers:
            await controller.detach()

    def go_on(self, stack: AsyncExitStack) -> None:
        """Serve what comes up later, too, until `stack` ends: nothing new comes while all ends."""
        stack.push_async_callback(self._opening.stop)
        stack.push_async_callback(self._coming.cancel)
        if self._opening.under_way:
            self._coming.spawn(self._take_in_later())

    @property
    def complete(self) -> bool:
        """Whether no more of them are being brought up."""
        return not self._opening.under_way

    def answer(self, answers: Answers) -> None:
        """Have those methods of the control API answered that need nobody else."""
        answers.add(methods.FORGET, self._forget)

    # Which there are

    def states(self) -> Iterator[dict[str, Any]]:
        """Yield what became of each controller."""
        up = {one.number: one.controller for one in self.served}
        for number, target in enumerate(self.targets):
            if number in self._removed:
                continue
            if number in up:
                state, reason = up[number].state.value, up[number].failure
            elif number in self._opening.failed:
                state, reason = "not served", self._opening.failed[number]
            else:
                state, reason = "starting", ""
            lent_bytes = up[number].host_memory.lent_bytes if number in up else 0
            yield {
                "Number": number,
                "DevicePath": target.spec.text,
                "State": state,
                "Reason": reason,
                "HostMemory": lent_bytes,
            }

    def number(self, name: str) -> int:
        """Return the number of a controller by name, number or SPEC; OperationError if none is."""
        with contextlib.suppress(OperationError):
            return self.one(name).number
        for number in self._there():
            spec = self.targets[number].spec
            if name == spec.text or spelled(name) in spec.names(number):
                return number
        return self.one(name).number

    def number_of(self, row: ControllerTable) -> int:
        """Return the number of the last controller that the configuration has by this row."""
        return [number for number in self._there() if self.targets[number].row == row][-1]

    def failed_as(self, spec: str) -> ControllerTable | None:
        """Return the row of a controller of this SPEC that never came up."""
        number = self._place_of(spec)
        return self.targets[number].row if number in self._opening.failed else None

    def _there(self) -> list[int]:
        return [number for number in range(len(self.targets)) if number not in self._removed]

    def named(self, name: str) -> Controller:
        """Return a controller by name, number or SPEC; OperationError if it is not up."""
        return self.one(name).controller

    def one(self, name: str) -> Served:
        """Return a controller that is served, as `named`."""
        for served in self.served:
            if (name.lower() == served.iqn and not served.rival) or spelled(name) in served.names:
                return served
        there = self._there()
        for number in there:
            target = self.targets[number]
            if spelled(name) not in target.spec.names(number):
                continue
            if (failed := self._opening.failed.get(number)) is not None:
                raise OperationError(f"{failed}; it is not served")
            raise OperationError(f"controller {target.spec.text!r} is not up yet")
        names = {served.number: served.names for served in self.served}
        known = ", ".join(" or ".join(names.get(each, (str(each),))[::-1]) for each in there)
        raise OperationError(f"there is no controller {name!r}; there are: {known or 'none'}")

    # Coming and going

    def _take_in(self, *come: Served) -> None:
        """Give controllers their places, and names."""
        for one in come:
            insort(self.served, one, key=lambda each: each.number)
            one.controller.on_event = partial(self.on_event, one)
        self._name_disks()

    def _name_disks(self) -> None:
        """Let no name stand for two disks: these have their numbers alone."""
        rivals = self._bearers.rivals(self.served)
        names = [disk_name(one.controller.identity) for one in self.served]
        every = names + self._bearers.absent_names(self.served)
        for place, (one, name) in enumerate(zip(self.served, names, strict=True)):
            unique = every.count(name) == 1
            rival = rivals.get(one.number, "")
            self.served[place] = replace(one, disk=name if unique else "", rival=rival)
            if not unique:
                log.warning(
                    "controller %r is called by its number only: another has its name, %s",
                    one.settings.spec.text,
                    name,
                )

    async def come(self, target: TargetSettings) -> Served:
        """Serve one more controller; OperationError if it cannot be, and then all is as before."""
        controller = await self._bring_up(target)
        async with self._following:
            number = self._place(target)
            try:
                self._take_in(self._portal_groups.joined(self._join(number, target, controller)))
                one = self._served(number)
                self._inventory.follow(one)
                await self._tell_front_ends()
            except Exception as error:
                self._leave_out(number, target, error)
                reason = self._opening.failed.pop(number)
                self._removed.add(number)
                raise OperationError(f"{reason}; see the log") from error
        self._tell("controller-added", "controller %r was added", target)
        return self._served(number)

    def _place(self, target: TargetSettings) -> int:
        """Return a number for one more: that which it had, if it had one."""
        number = self._place_of(target.spec.text)
        if number is None:
            self.targets.append(target)
            self._bearers.configured()
            return len(self.targets) - 1
        self._removed.discard(number)
        self._opening.failed.pop(number, None)
        self.targets[number] = target
        return number

    def _place_of(self, spec: str) -> int | None:
        """Return the number of a controller that was removed, or never came up."""
        for number in sorted(self._removed | self._opening.failed.keys()):
            if self.targets[number].spec.text == spec:
                return number
        return None

    def _served(self, number: int) -> Served:
        (one,) = (each for each in self.served if each.number == number)
        return one

    def check_going(self, number: int) -> None:
        """See that a controller may go now; OperationError says what is in the way."""
        if number in self._opening.under_way:
            raise OperationError(
                f"controller {self.targets[number].spec.text!r} is not up yet; try again later"
            )
        for one in self.served:
            if one.number == number:
                if one.controller in self._leaving:
                    raise OperationError(
                        f"controller {one.settings.spec.text!r} is being removed already"
                    )
                self._check_beside(one)
                for front_end in self._front_ends:
                    front_end.check_leaving(one)

    def _check_beside(self, one: Served) -> None:
        """See that no logical unit is reached by another controller of the same disk as well."""
        for other in self.served:
            if other is not one and not set(one.units.values()).isdisjoint(other.units.values()):
                raise OperationError(
                    f"controller {one.settings.spec.text!r} is one of two ways to what "
                    f"{other.settings.spec.text!r} leads to, and stays until the daemon ends"
                )
        if self._service.is_joined(one.native):
            raise OperationError(
                f"controller {one.settings.spec.text!r} is of a disk with several that is in use, "
                "and stays until the daemon ends"
            )

    async def go(self, number: int) -> None:
        """Serve a controller no more, and let go of it; OperationError as of `check_going`."""
        self.check_going(number)
        if self._opening.failed.pop(number, None) is not None:
            self._removed.add(number)
            return
        async with self._going(number) as controller:
            for front_end in self._front_ends:
                await front_end.leave(self._served(number))
            one, freed = await self._serve_no_more(number)
            if freed:
                await asyncio.wait(freed)
            await controller.detach()
            await self._service.remove_controller(one.cookie, one.native)
            self._natives.remove(one.native)
            self._controllers.remove(controller)
            await controller.close()
            self._dumping.forget(controller)
        async with self._following:  # others may lead to what it has led to
            if self._inventory.settle():
                await self._tell_front_ends()

    @asynccontextmanager
    async def _going(self, number: int) -> AsyncIterator[Controller]:
        """Have nothing begin to be reached by a controller that goes; OperationError: it stays."""
        async with self._following:
            self.check_going(number)
            controller = self._served(number).controller
            self._leaving.append(controller)
        try:
            yield controller
        finally:
            self._leaving.remove(controller)

    async def _serve_no_more(self, number: int) -> tuple[Served, list[asyncio.Task[None]]]:
        """Serve a controller that nobody uses no more; return what ends with its logical units."""
        async with self._following:
            one = self._served(number)
            self._tell("controller-removed", "controller %r is removed", one.settings)
            self.served[:] = [each for each in self.served if each.number != number]
            self._removed.add(number)
            # A name that it was given another may be given now.
            self.targets[number] = replace(one.settings, iqn="")
            one.controller.on_event = None
            units = list(one.units.values())
            one.units.clear()
            await self._tell_front_ends()
            freed = [self._service.remove_unit(lu) for lu in units]
            if self._inventory.settle():
                await self._tell_front_ends()
        return one, freed

    async def describe(self, number: int, alias: str) -> None:
        """Have the target of a controller described otherwise."""
        async with self._following:
            self.targets[number] = replace(self.targets[number], alias=alias)
            for place, one in enumerate(self.served):
                if one.number == number:
                    self.served[place] = replace(one, settings=self.targets[number])
            await self._tell_front_ends()

    async def front_ends_follow(self, settings: Settings) -> None:
        """Have the front ends serve what is configured now; OperationError if that is impossible.

        Then all is as before.
        """
        told: list[FrontEnd] = []
        try:
            for front_end in self._front_ends:
                await front_end.configure(settings)
                told.append(front_end)
        except Exception:
            for front_end in told:
                await front_end.configure(self._settings)
            raise
        self._settings = settings

    async def _take_in_later(self) -> None:
        """Serve the controllers that come up while others are served."""
        async for one in self._opening.rest():
            async with self._following:
                try:
                    self._take_in(self._portal_groups.joined(one))
                    self._inventory.follow(one)
                    await self._tell_front_ends()
                except Exception as error:  # it costs itself only: others are still to come
                    self._leave_out(one.number, one.settings, error)
                    continue
            log.warning("controller %r is up, and served from now on", one.settings.spec.text)
        async with self._following:  # the last may have failed
            await self._tell_front_ends()

    def _leave_out(self, number: int, target: TargetSettings, error: Exception) -> None:
        """Do without a controller that is up, but cannot be served; what is ours is told whole."""
        spec = target.spec.text
        if isinstance(error, OperationError):
            log.error("controller %r cannot be served: %s", spec, error)
        else:
            log.error("controller %r cannot be served", spec, exc_info=error)
        reason = str(error) if isinstance(error, OperationError) else repr(error)
        self._opening.failed[number] = f"controller {spec!r}: {reason}"
        for one in [each for each in self.served if each.number == number]:
            self.served.remove(one)
            one.controller.on_event = None
            for lu in one.units.values():
                if not self._service.remove_route(lu, one.native):
                    self._service.remove_unit(lu)
            one.units.clear()

    async def _tell_front_ends(self) -> None:
        for front_end in self._front_ends:
            await front_end.follow_inventory()
        self._service.inventory_changed()

    async def _forget(self, which: methods.WhichController) -> None:
        """Let others have the names of what is not there of a controller."""
        async with self._following:
            self._bearers.forget(which.controller, self.served)
            self._name_disks()
            self._inventory.settle()
            await self._tell_front_ends()

    # Bringing up

    async def _open(self, number: int, target: TargetSettings) -> Served:
        """Bring a controller up."""
        return self._join(number, target, await self._bring_up(target))

    async def _bring_up(self, target: TargetSettings) -> Controller:
        controller = await controllers.open_controller(
            target.spec, io_queues=self._service.plane.reactors, pool_bytes=memory.POOL_BYTES
        )
        self._controllers.append(controller)
        controller.known_as = target.spec.text
        await self._portal_groups.tell_counted(controller, target.spec.text)
        if target.spec.reservations_on_disk:
            try:
                await self._host.introduce(controller)
            except OperationError as error:
                self._controllers.remove(controller)
                await controller.close()
                raise OperationError(f"controller {target.spec.text!r}: {error}") from None
        return controller

    def _join(self, number: int, target: TargetSettings, controller: Controller) -> Served:
        """Join a controller and the data plane."""
        self._dumping.follow(controller, number)
        cookie, native = self._service.add_controller(controller.overdue, controller.give_up)
        self._natives.append(native)
        first = number * len(controller.io_queues)
        give_queues(self._service.plane, controller, native, first)
        controller.attach(PlaneDataPath(self._service, native))
        return Served(number, target, controller, native, cookie)

    def _close_natives(self) -> None:
        for native in self._natives:
            native.close()

    async def _close_controllers(self) -> None:
        """Let go of all at the same time: one that does not answer takes long."""
        await asyncio.gather(*(controller.close() for controller in self._controllers))

    # Events

    def on_event(self, served: Served, event: ControllerEvent) -> None:
        """A controller tells something: follow changes of its namespaces."""
        self._take_note(served, event)
        self._background.spawn(self._follow_only(served, event))

    async def follow(self, served: Served, event: ControllerEvent) -> None:
        """As `on_event`, until the logical units are what their namespaces have become."""
        self._take_note(served, event)
        if refreshing := await self._follow(served, event):
            await asyncio.wait(refreshing)

    def _take_note(self, served: Served, event: ControllerEvent) -> None:
        kind = "controller-back" if event.returned else "controller-event"
        self._tell(kind, "controller %s: %s", served.settings, event)
        self._service.settings_lost(lu for nsid, lu in served.units.items() if nsid in event.unset)
        units, namespaces = served.units, served.controller.namespaces
        self._service.revoke_tokens(units, event)
        self._service.displaced(units, event.displaced, namespaces, served.native)
        others = {nsid for nsid, lu in units.items() if not lu.is_of(namespaces.get(nsid))}
        others &= event.namespaces  # at once, whenever the rest is followed
        self._service.displaced(units, others, namespaces, served.native, reset=False)

    def _tell(self, kind: str, text: str, one: TargetSettings, *more: object) -> None:
        spec = one.spec.text
        tell(log, logging.WARNING, kind, text, spec, *more, controller=spec)

    async def _follow_only(self, served: Served, event: ControllerEvent) -> None:
        await self._follow(served, event)

    async def _follow(self, served: Served, event: ControllerEvent) -> list[asyncio.Task[None]]:
        """Follow an event; what is returned is that of `TaskService.controller_event`.

        That may take as long as any command of an initiator, and nobody else is to wait for it.
        """
        async with self._following:
            if event.returned:
                # Where several lead, none was shown the pages of rings that it has forgotten.
                alone = {lu for lu in served.units.values() if not lu.routes.several}
                for front_end in self._front_ends:
                    await front_end.renew(alone)
            gone, came = self._inventory.follow(served)
            for lu in gone:  # at once: another namespace may have its number
                self._service.namespace_gone(lu)
            try:
                if gone or came:
                    await self._tell_front_ends()
            finally:
                for lu in gone:
                    self._service.remove_unit(lu)
            namespaces = served.controller.namespaces
            refreshing = self._service.controller_event(
                served.units, event, namespaces, served.native
            )
            if self._inventory.settle():
                await self._tell_front_ends()
        return refreshing
