"""`scsi2nvme serve`: the daemon, composed from drivers, core and target."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from scsi2nvme import __version__
from scsi2nvme.api import VERSION, methods
from scsi2nvme.api.method import Nothing
from scsi2nvme.cli import controllers, inspection
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.daemon import descriptors, happening, messages, metrics
from scsi2nvme.cli.daemon.by_hand import UnitCommands
from scsi2nvme.cli.daemon.changes import Changes, Source
from scsi2nvme.cli.daemon.control import Answers, ControlServer, StateDirectory
from scsi2nvme.cli.daemon.front_ends import FRONT_ENDS
from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, Served, Serving
from scsi2nvme.cli.daemon.health import HealthReader
from scsi2nvme.cli.daemon.notify import keep_telling, managed, notify
from scsi2nvme.cli.daemon.passing import Passing
from scsi2nvme.cli.daemon.paths import paths
from scsi2nvme.cli.daemon.served_controllers import Controllers
from scsi2nvme.cli.daemon.statistics import Counting
from scsi2nvme.cli.ending import Ending, say
from scsi2nvme.native.plane import Plane
from scsi2nvme.service import TaskService

DEFAULT_REACTORS = 4  # at most, by default
DEFAULT_POLL_US = 50
READY_S = 5.0  # to have a service manager know that, which would wait for it, and give up


def run(settings: Settings, source: Source | None = None) -> int:
    """Serve until a signal asks for the end; returns the exit status.

    SIGHUP has the `source` of the settings read again.
    """
    messages.configure(settings.log_level, settings.log_format)
    descriptors.raise_limit()
    if settings.tcmu is not None and os.geteuid() == 0:
        from scsi2nvme.cli.daemon import privileges

        if settings.control_group is not None:
            privileges.join(settings.control_group)
        wanted = {name for target in settings.targets for name in target.spec.capabilities}
        privileges.drop(privileges.KEPT | {privileges.Capability[name] for name in wanted})
    asyncio.run(_serve(settings, source))
    return 0


async def _serve(settings: Settings, source: Source | None) -> None:
    told = asyncio.Event()  # to read the configuration file again
    ending = Ending(None if source is None else told.set)
    async with AsyncExitStack() as stack:
        daemon = await ending.unless_asked(Daemon.start(settings, stack, source))
        if daemon is not None:
            gc.freeze()  # it need not be looked through again and again: it stays
            gc.enable()
            say("\n".join(daemon.greeting()))
            notify("READY=1", READY_S)
            tasks = [
                asyncio.ensure_future(each)
                for each in (daemon.changes.reload_whenever(told), keep_telling(daemon.status))
            ]
            await ending.wait()
            for task in tasks:
                task.cancel()
        notify("STOPPING=1")
        if daemon is not None:
            say("\n".join(daemon.farewell()))


class Daemon:
    """Everything that runs. What is started is ended by `start`'s stack, in reverse."""

    def __init__(self, settings: Settings, plane: Plane, source: Source | None) -> None:
        self.settings = settings
        self.front_ends: list[FrontEnd] = []
        self.service = TaskService(plane)
        self.controllers = Controllers(settings, self.service, self.front_ends)
        self.counting = Counting(self.service, self.served, portal=bool(settings.portals))
        self.health = HealthReader(self.served)
        self.metrics = metrics.Metrics(self.counting.counts, self._listed, self.health.look)
        self.changes = Changes(settings, self.controllers, self.metrics, source)

    @classmethod
    async def start(
        cls, settings: Settings, stack: AsyncExitStack, source: Source | None = None
    ) -> Self:
        """Start to serve; OperationError if that is impossible."""
        directory = StateDirectory(settings.state_dir)
        stack.callback(directory.close)
        poll_us = DEFAULT_POLL_US if settings.poll_us is None else settings.poll_us
        plane = Plane(_cpus(settings.reactors), poll_us)
        stack.callback(plane.close)
        daemon = cls(settings, plane, source)
        await daemon.controllers.bring_up(stack)
        stack.callback(daemon.service.close)
        plane.start()
        stack.callback(plane.stop)
        daemon.service.start()
        stack.push_async_callback(daemon.service.stop)
        stack.push_async_callback(daemon.controllers.detach)
        answers = daemon._answers()
        control = ControlServer(directory, answers, settings.control_group)
        await control.start()
        stack.push_async_callback(control.stop)
        for record in FRONT_ENDS:
            front_end = record.build(daemon._serving())
            if front_end is not None:
                daemon.front_ends.append(front_end)
                front_end.answer(answers)
                await front_end.start(stack)
        stack.push_async_callback(daemon.health.stop)
        stack.push_async_callback(daemon.metrics.stop)
        await daemon.metrics.configure(settings.metrics)
        daemon.controllers.go_on(stack)
        daemon.changes.go_on(stack)
        return daemon

    @property
    def served(self) -> Sequence[Served]:
        """The controllers that are up, in the order of the settings."""
        return self.controllers.served

    def _serving(self) -> Serving:
        return Serving(self.settings, self.service, self.served, lambda: self.controllers.complete)

    # Inspection

    def _answers(self) -> Answers:
        """Return what answers the methods of the control API."""
        answers = Answers()
        answers.add(methods.VERSION, _version)
        answers.add(methods.DISCOVER, _discover)
        answers.add(methods.SHOW, self._show)
        answers.add(methods.READ, self._read)
        answers.add(methods.RESET, self._reset)
        answers.add(methods.HEALTH, self._health)
        self.controllers.answer(answers)
        controllers = self.controllers
        Passing(self.service, controllers.one, controllers.follow).answer(answers)
        UnitCommands(self.service, controllers.one).answer(answers)
        self.counting.answer(answers)
        self.changes.answer(answers)
        happening.answer(answers)
        for record in FRONT_ENDS:
            answers.absent.update(record.absent)
        return answers

    async def _show(self, _: Nothing) -> dict[str, Any]:
        return self._listed()

    async def _read(self, which: methods.WhichStructure) -> str:
        controller = self.controllers.named(which.controller)
        wanted = inspection.INSPECTIONS[which.structure]
        return (await controllers.read(controller, wanted, which.nsid)).hex()

    async def _health(self, _: Nothing) -> list[methods.ControllerHealth]:
        return [one.told() for one in await self.health.look()]

    async def _reset(self, which: methods.WhichController) -> None:
        await controllers.reset(self.controllers.named(which.controller))

    def _listed(self) -> dict[str, Any]:
        shown = inspection.devices(
            (served.number, served.settings.spec.text, facts)
            for served in self.served
            for facts in served.controller.namespaces.values()
        )
        shown["Controllers"] = list(self.controllers.states())
        shown["Paths"] = list(paths(self.served))
        for record in FRONT_ENDS:
            shown |= record.idle
        for front_end in self.front_ends:
            shown |= front_end.status()
        return shown

    # Words

    def greeting(self) -> Iterator[str]:
        """Yield what is said when everything is up."""
        for front_end in self.front_ends:
            yield from front_end.greeting()
        if (where := self.metrics.where) is not None:
            yield f"Metrics for Prometheus: http://{where}/metrics; for people: http://{where}/"
        # A service manager's log has no keys.
        yield "Ready." if managed() else "Ready. Ctrl-C ends it."

    def status(self) -> str:
        """Return in a line what is served now."""
        states = [each["State"] for each in self.controllers.states()]
        live = states.count("live")
        sessions = sum(len(each.status().get("Sessions", ())) for each in self.front_ends)
        return (
            f"{live} of {len(states)} controllers live, {sessions} session{'s' * (sessions != 1)}"
        )

    def farewell(self) -> Iterator[str]:
        """Yield what is said when it has been told to end."""
        waiting = [line for front_end in self.front_ends for line in front_end.farewell()]
        yield "; ".join(["Ending", *waiting]) + "."


async def _version(_: Nothing) -> methods.Version:
    return methods.Version(__version__, VERSION)


async def _discover(_: Nothing) -> dict[str, Any]:
    from scsi2nvme.api.schema import openrpc

    return openrpc()


def _cpus(reactors: int | None) -> list[int]:
    """Return the CPU of each reactor; -1, any, where there are fewer CPUs than reactors."""
    usable = sorted(os.sched_getaffinity(0))
    count = reactors or min(len(usable), DEFAULT_REACTORS)
    return usable[:count] if count <= len(usable) else [-1] * count
