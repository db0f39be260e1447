"""`scsi2nvme serve`: the daemon, composed from drivers, core and target."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, Self

from scsi2nvme.background import Background
from scsi2nvme.cli import controllers, inspection
from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon import descriptors, messages, privileges
from scsi2nvme.cli.daemon.control import ControlServer, StateDirectory
from scsi2nvme.cli.daemon.front_ends import FRONT_ENDS
from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, Served, Serving
from scsi2nvme.cli.daemon.inventory import Inventory
from scsi2nvme.cli.daemon.notify import managed, notify
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.ending import Ending, say
from scsi2nvme.cli.errors import OperationError, UnusableControllerError
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.cli.spec import spelled
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.native.plane import Plane, PlaneController
from scsi2nvme.service import PlaneDataPath, TaskService
from scsi2nvme.typed import table

DEFAULT_REACTORS = 4  # at most, by default
DEFAULT_POLL_US = 50
POOL_BYTES = 16 << 20  # buffer memory of a reactor on a controller

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
        self._unserved: dict[int, str] = {}  # numbers of controllers, and why
        self.front_ends: list[FrontEnd] = []
        self.service = TaskService(plane)
        self._inventory = Inventory(
            self.service, JsonStore(settings.state_dir / "units"), self.served
        )
        self._background = Background()
        self._controllers: list[Controller] = []
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
        await daemon._open_all(stack)
        daemon._inventory.make()
        for one in daemon.served:
            one.controller.on_event = partial(daemon._on_event, one)
        stack.callback(daemon.service.close)
        plane.start()
        stack.callback(plane.stop)
        daemon.service.start()
        stack.push_async_callback(daemon.service.stop)
        for controller in daemon._controllers:
            stack.push_async_callback(controller.detach)
        control = ControlServer(directory, daemon._answer)
        await control.start()
        stack.push_async_callback(control.stop)
        for record in FRONT_ENDS:
            front_end = record.build(Serving(settings, daemon.service, daemon.served))
            if front_end is not None:
                daemon.front_ends.append(front_end)
                await front_end.start(stack)
        return daemon

    async def _open_all(self, stack: AsyncExitStack) -> None:
        """Bring the controllers up, but for those that cannot be driven, if there are others."""
        for number, target in enumerate(self.settings.targets):
            try:
                self.served.append(await self._open(number, target, stack))
            except UnusableControllerError as error:
                if len(self.settings.targets) == 1:
                    raise
                log.error("%s; it is not served", error)
                self._unserved[number] = str(error)
        if not self.served:
            raise OperationError("none of the controllers can be served")
        self._name_disks()

    def _name_disks(self) -> None:
        """Let no name stand for two disks: these have their numbers alone."""
        names = [disk_name(one.controller.identity) for one in self.served]
        for place, (one, name) in enumerate(zip(self.served, names, strict=True)):
            if names.count(name) == 1:
                self.served[place] = replace(one, disk=name)
            else:
                log.warning(
                    "controller %r is called by its number only: another has its name, %s",
                    one.settings.spec.text,
                    name,
                )

    async def _open(self, number: int, target: TargetSettings, stack: AsyncExitStack) -> Served:
        """Bring a controller up."""
        controller = await controllers.open_controller(
            target.spec, io_queues=self.service.plane.reactors, pool_bytes=POOL_BYTES
        )
        self._controllers.append(controller)
        _, native = self.service.add_controller(controller.overdue, controller.give_up)
        stack.callback(native.close)
        self._give_queues(controller, native, number * len(controller.io_queues))
        controller.attach(PlaneDataPath(self.service, native))
        return Served(number, target, controller, native)

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
                native.set_queue(index, None, -1, controller.transport.allocate(POOL_BYTES))
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
                for front_end in self.front_ends:
                    await front_end.follow_inventory()
                self.service.inventory_changed()
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
            yield {
                "DevicePath": target.spec.text,
                "State": up[number].state.value if number in up else "not served",
                "Reason": up[number].failure if number in up else self._unserved[number],
            }

    def _controller(self, name: str) -> Controller:
        for served in self.served:
            if name.lower() == served.iqn or spelled(name) in served.names:
                return served.controller
        for number, reason in self._unserved.items():
            if spelled(name) in self.settings.targets[number].spec.names(number):
                raise OperationError(f"{reason}; it is not served")
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
