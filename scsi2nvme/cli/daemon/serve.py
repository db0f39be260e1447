"""`scsi2nvme serve`: the daemon, composed from drivers, core and target."""

from __future__ import annotations

import asyncio
import logging
import os
from bisect import insort
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, Self

from scsi2nvme.background import Background
from scsi2nvme.cli import controllers, inspection
from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon import descriptors, memory, messages, privileges
from scsi2nvme.cli.daemon.control import ControlServer, StateDirectory
from scsi2nvme.cli.daemon.front_ends import FRONT_ENDS
from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, Served, Serving
from scsi2nvme.cli.daemon.inventory import Inventory
from scsi2nvme.cli.daemon.notify import managed, notify
from scsi2nvme.cli.daemon.opening import Opening
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.ending import Ending, say
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.cli.spec import spelled
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.native.plane import Plane, PlaneController
from scsi2nvme.service import PlaneDataPath, TaskService
from scsi2nvme.typed import table

DEFAULT_REACTORS = 4  # at most, by default
DEFAULT_POLL_US = 50
# How long those that are up wait for others. What the kernel's target restores when we are
# ready fails for a controller that is not up by then.
PATIENCE_S, KERNEL_PATIENCE_S = 5.0, 30.0

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until a signal asks for the end; returns the exit status."""
    messages.configure(settings.log_level)
    descriptors.raise_limit()
    if settings.tcmu is not None and os.geteuid() == 0:
        wanted = {name for target in settings.targets for name in target.spec.capabilities}
        privileges.drop(privileges.KEPT | {privileges.Capability[name] for name in wanted})
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    ending = Ending()
    async with AsyncExitStack() as stack:
        daemon = await ending.unless_asked(Daemon.start(settings, stack))
        if daemon is not None:
            say("\n".join(daemon.greeting()))
            notify("READY=1")
            await ending.wait()
        notify("STOPPING=1")
        if daemon is not None:
            say("\n".join(daemon.farewell()))


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked on the control socket."""

    verb: str
    controller: str = "0"
    nsid: int = 0


class Daemon:
    """Everything that runs. What is started is ended by `start`'s stack, in reverse."""

    def __init__(self, settings: Settings, plane: Plane) -> None:
        self.settings = settings
        self.served: list[Served] = []
        self.front_ends: list[FrontEnd] = []
        self.service = TaskService(plane)
        self._inventory = Inventory(
            self.service, JsonStore(settings.state_dir / "units"), self.served
        )
        self._background = Background()
        patience_s = PATIENCE_S if settings.tcmu is None else KERNEL_PATIENCE_S
        self._opening = Opening(settings.targets, self._open, patience_s)
        self._controllers: list[Controller] = []
        self._natives: list[PlaneController] = []
        self._following = asyncio.Lock()  # of controllers' events, one at a time

    @classmethod
    async def start(cls, settings: Settings, stack: AsyncExitStack) -> Self:
        """Start to serve; OperationError if that is impossible."""
        directory = StateDirectory(settings.state_dir)
        stack.callback(directory.close)
        poll_us = DEFAULT_POLL_US if settings.poll_us is None else settings.poll_us
        plane = Plane(_cpus(settings.reactors), poll_us)
        stack.callback(plane.close)
        daemon = cls(settings, plane)
        stack.push_async_callback(daemon._close_controllers)
        stack.callback(daemon._close_natives)
        stack.push_async_callback(daemon._opening.stop)
        daemon._take_in(*await daemon._opening.some())
        daemon._inventory.make()
        stack.callback(daemon.service.close)
        plane.start()
        stack.callback(plane.stop)
        daemon.service.start()
        stack.push_async_callback(daemon.service.stop)
        stack.push_async_callback(daemon._detach_controllers)
        control = ControlServer(directory, daemon._answer)
        await control.start()
        stack.push_async_callback(control.stop)
        for record in FRONT_ENDS:
            front_end = record.build(daemon._serving())
            if front_end is not None:
                daemon.front_ends.append(front_end)
                await front_end.start(stack)
        stack.push_async_callback(daemon._opening.stop)  # nothing new comes while all ends
        if daemon._opening.under_way:
            joining = Background()
            stack.push_async_callback(joining.cancel)
            joining.spawn(daemon._take_in_later())
        return daemon

    def _serving(self) -> Serving:
        return Serving(
            self.settings, self.service, self.served, lambda: not self._opening.under_way
        )

    # Controllers

    def _take_in(self, *come: Served) -> None:
        """Give controllers their places, and names."""
        for one in come:
            insort(self.served, one, key=lambda each: each.number)
            one.controller.on_event = partial(self._on_event, one)
        self._name_disks()

    def _name_disks(self) -> None:
        """Let no name stand for two disks: these have their numbers alone."""
        names = [disk_name(one.controller.identity) for one in self.served]
        for place, (one, name) in enumerate(zip(self.served, names, strict=True)):
            unique = names.count(name) == 1
            self.served[place] = replace(one, disk=name if unique else "")
            if not unique:
                log.warning(
                    "controller %r is called by its number only: another has its name, %s",
                    one.settings.spec.text,
                    name,
                )

    async def _take_in_later(self) -> None:
        """Serve the controllers that come up while others are served."""
        async for one in self._opening.rest():
            async with self._following:
                self._take_in(one)
                self._inventory.follow(one)
                await self._tell_front_ends()
            log.warning("controller %r is up, and served from now on", one.settings.spec.text)
        async with self._following:  # the last may have failed
            await self._tell_front_ends()

    async def _tell_front_ends(self) -> None:
        for front_end in self.front_ends:
            await front_end.follow_inventory()
        self.service.inventory_changed()

    async def _open(self, number: int, target: TargetSettings) -> Served:
        """Bring a controller up."""
        controller = await controllers.open_controller(
            target.spec, io_queues=self.service.plane.reactors, pool_bytes=memory.POOL_BYTES
        )
        self._controllers.append(controller)
        _, native = self.service.add_controller(controller.overdue, controller.give_up)
        self._natives.append(native)
        self._give_queues(controller, native, number * len(controller.io_queues))
        controller.attach(PlaneDataPath(self.service, native))
        return Served(number, target, controller, native)

    async def _detach_controllers(self) -> None:
        for controller in self._controllers:
            await controller.detach()

    def _close_natives(self) -> None:
        for native in self._natives:
            native.close()

    async def _close_controllers(self) -> None:
        """Let go of all at the same time: one that does not answer takes long."""
        await asyncio.gather(*(controller.close() for controller in self._controllers))

    def _give_queues(self, controller: Controller, native: PlaneController, first: int) -> None:
        """Give reactors the controller's queue pairs, from reactor `first` on.

        Those for whom there is none have buffers for what they hand to the engine.
        """
        plane = self.service.plane
        order = [(first + index) % plane.reactors for index in range(plane.reactors)]
        for index, queue in zip_longest(order, controller.io_queues):
            if queue is not None:
                native.set_queue(index, queue.queue, queue.eventfd, queue.pool)
            else:
                native.set_queue(index, None, -1, controller.transport.allocate(memory.POOL_BYTES))
        if all(cpu >= 0 for cpu in plane.cpus):
            controller.steer(plane.cpus[index] for index in order)

    # Events

    def _on_event(self, served: Served, event: ControllerEvent) -> None:
        """A controller tells something: follow changes of its namespaces."""
        log.warning("controller %s: %s", served.settings.spec.text, event)
        self.service.settings_lost(lu for nsid, lu in served.units.items() if nsid in event.unset)
        self._background.spawn(self._follow(served, event))

    async def _follow(self, served: Served, event: ControllerEvent) -> None:
        async with self._following:
            if event.returned:
                for front_end in self.front_ends:
                    await front_end.renew(served.units.values())
            gone, came = self._inventory.follow(served)
            if gone or came:
                await self._tell_front_ends()
                for lu in gone:
                    self.service.remove_unit(lu)
            namespaces = served.controller.namespaces
            await self.service.controller_event(served.units, event, namespaces)
            self._inventory.judge()

    # Inspection

    async def _answer(self, request: Mapping[str, Any]) -> Any:
        """Answer a request of the control socket."""
        try:
            asked = table(request, _Request)
        except ValueError as error:
            raise OperationError(f"the request makes no sense: {error}") from None
        verb = asked.verb
        if verb == "list":
            return self._listed()
        for front_end in self.front_ends:
            if verb in front_end.requests:
                return front_end.requests[verb]()
        for record in FRONT_ENDS:
            if verb in record.absent:
                raise OperationError(record.absent[verb])
        wanted = inspection.INSPECTIONS.get(verb)
        if wanted is None and verb != "reset":
            raise OperationError(f"the verb {verb!r} is unknown")
        controller = self._controller(asked.controller)
        if wanted is None:
            return await controllers.reset(controller)
        return (await controllers.read(controller, wanted, asked.nsid)).hex()

    def _listed(self) -> dict[str, Any]:
        shown = inspection.devices(
            (served.settings.spec.text, facts)
            for served in self.served
            for facts in served.controller.namespaces.values()
        )
        shown["Controllers"] = list(self._states())
        for record in FRONT_ENDS:
            shown |= record.idle
        for front_end in self.front_ends:
            shown |= front_end.status()
        return shown

    def _states(self) -> Iterator[dict[str, str]]:
        """Yield what became of each controller."""
        up = {one.number: one.controller for one in self.served}
        for number, target in enumerate(self.settings.targets):
            if number in up:
                state, reason = up[number].state.value, up[number].failure
            elif number in self._opening.failed:
                state, reason = "not served", self._opening.failed[number]
            else:
                state, reason = "starting", ""
            yield {"DevicePath": target.spec.text, "State": state, "Reason": reason}

    def _controller(self, name: str) -> Controller:
        for served in self.served:
            if name.lower() == served.iqn or spelled(name) in served.names:
                return served.controller
        for number, target in enumerate(self.settings.targets):
            if spelled(name) not in target.spec.names(number):
                continue
            if (failed := self._opening.failed.get(number)) is not None:
                raise OperationError(f"{failed}; it is not served")
            raise OperationError(f"controller {target.spec.text!r} is not up yet")
        last = len(self.settings.targets) - 1
        raise OperationError(f"there is no controller {name!r}; the daemon serves 0 to {last}")

    # Words

    def greeting(self) -> Iterator[str]:
        """Yield what is said when everything is up."""
        for front_end in self.front_ends:
            yield from front_end.greeting()
        # A service manager's log has no keys.
        yield "Ready." if managed() else "Ready. Ctrl-C ends it."

    def farewell(self) -> Iterator[str]:
        """Yield what is said when it has been told to end."""
        waiting = [line for front_end in self.front_ends for line in front_end.farewell()]
        yield "; ".join(["Ending", *waiting]) + "."


def _cpus(reactors: int | None) -> list[int]:
    """Return the CPU of each reactor; -1, any, where there are fewer CPUs than reactors."""
    usable = sorted(os.sched_getaffinity(0))
    count = reactors or min(len(usable), DEFAULT_REACTORS)
    return usable[:count] if count <= len(usable) else [-1] * count
