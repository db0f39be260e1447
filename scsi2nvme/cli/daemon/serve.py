"""`scsi2nvme serve`: the daemon, composed from drivers, core and target."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from scsi2nvme.background import Background
from scsi2nvme.cli import config, controllers, inspection
from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon import kernel, privileges
from scsi2nvme.cli.daemon.control import ControlServer, StateDirectory
from scsi2nvme.cli.daemon.notify import notify
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import spelled
from scsi2nvme.dataplane import Plane, Window
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.service import PlaneDataPath, TaskService
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings
from scsi2nvme.unit.logical_unit import LogicalUnit

DEFAULT_REACTORS = 4  # at most, by default
DEFAULT_POLL_US = 50
POOL_BYTES = 16 << 20  # buffer memory of a reactor on a controller
LOGOUT_SECONDS = 5.0  # how long initiators have to log out at the end

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A controller, and the target that it has become."""

    settings: TargetSettings
    controller: Controller
    node: TargetNode


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    logging.basicConfig(format="scsi2nvme: %(levelname)s: %(message)s", level=logging.WARNING)
    if settings.tcmu is not None and os.geteuid() == 0:
        wanted = {name for target in settings.targets for name in target.spec.capabilities}
        privileges.drop(privileges.KEPT | {privileges.Capability[name] for name in wanted})
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    async with AsyncExitStack() as stack:
        daemon = await Daemon.start(settings, stack)
        print("\n".join(daemon.greeting()), flush=True)
        notify("READY=1")
        await ending.wait()
        notify("STOPPING=1")
        print("Ending: waiting for initiators to log out.", flush=True)


class Daemon:
    """Everything that runs. What is started is ended by `start`'s stack, in reverse."""

    def __init__(self, settings: Settings, plane: Plane) -> None:
        self.settings = settings
        self.served: list[Served] = []
        self.nodes: dict[str, TargetNode] = {}
        self.service = TaskService(plane)
        self.kernel: kernel.Kernel | None = None
        login = LoginSettings(discovery_chap=_chap(settings.discovery_chap, None))
        self.portal = Portal(self.service, self.nodes, PortalSettings(login))
        self._background = Background()

    @classmethod
    async def start(cls, settings: Settings, stack: AsyncExitStack) -> Self:
        """Start to serve; OperationError if that is impossible."""
        directory = StateDirectory(settings.state_dir)
        stack.callback(directory.close)
        poll_us = DEFAULT_POLL_US if settings.poll_us is None else settings.poll_us
        plane = Plane(_cpus(settings.reactors), poll_us)
        stack.callback(plane.close)
        daemon = cls(settings, plane)
        store = JsonStore(settings.state_dir / "units")
        for target in settings.targets:
            await daemon._open(target, store, stack)
        stack.callback(daemon.service.close)
        plane.start()
        stack.callback(plane.stop)
        daemon.service.start()
        stack.push_async_callback(daemon.service.stop)
        control = ControlServer(directory, daemon._answer)
        await control.start()
        stack.push_async_callback(control.stop)
        if settings.tcmu is not None:
            daemon.kernel = kernel.Kernel(
                daemon.service, daemon._units(), daemon._window, settings.tcmu
            )
            await daemon.kernel.start(stack)
        await daemon._listen()
        stack.push_async_callback(daemon.portal.drain, LOGOUT_SECONDS)
        return daemon

    async def _listen(self) -> None:
        portals = self.settings.portals
        try:
            await self.portal.listen(portals)
        except OSError as error:
            where = ", ".join(str(portal) for portal in portals)
            raise OperationError(
                f"portal {where}: {error.strerror or error}; choose another with --portal"
            ) from None

    async def _open(self, target: TargetSettings, store: JsonStore, stack: AsyncExitStack) -> None:
        """Bring a controller up, and make its namespaces logical units of a target."""
        reactors = self.service.plane.reactors
        controller = await controllers.open_controller(
            target.spec, io_queues=reactors, pool_bytes=POOL_BYTES
        )
        stack.push_async_callback(controller.close)
        if len(controller.io_queues) < reactors:
            raise OperationError(
                f"controller {target.spec.text!r}: grants {len(controller.io_queues)} queues for "
                f"{reactors} reactors; give --reactors {max(1, len(controller.io_queues))}"
            )
        _, native = self.service.add_controller(controller.overdue, controller.abort)
        stack.callback(native.close)
        for index, queue in enumerate(controller.io_queues):
            native.set_queue(index, queue.queue, queue.eventfd, queue.pool)
        if all(cpu >= 0 for cpu in self.service.plane.cpus):
            controller.steer(self.service.plane.cpus)
        controller.attach(PlaneDataPath(self.service, native))
        node = _node(target, self.settings)
        for nsid, facts in controller.namespaces.items():
            lu = LogicalUnit(facts, store)
            lu.read_only = target.spec.readonly
            self.service.add_unit(lu, controller, native)
            node.logical_units[nsid - 1] = lu
        served = Served(target, controller, node)
        self.served.append(served)
        self.nodes[target.iqn] = node
        controller.on_event = lambda event: self._on_event(served, event)

    def _units(self) -> list[kernel.Units]:
        """Return the logical units of each controller."""
        return [
            (served.settings.spec, tuple(served.node.logical_units.values()))
            for served in self.served
        ]

    def _window(self, lu: LogicalUnit, length: int) -> Window | None:
        """Return where a logical unit's controller may see so much of our memory, if it can."""
        for served in self.served:
            if lu in served.node.logical_units.values():
                try:
                    return served.controller.transport.window(length)
                except TransportError as error:
                    log.warning("controller %s: no zero copy: %s", served.settings.spec.text, error)
        return None

    # Events

    def _on_event(self, served: Served, event: ControllerEvent) -> None:
        """A controller tells something: follow changes of its namespaces."""
        log.warning("controller %s: %r", served.settings.spec.text, event)
        self._background.spawn(self._follow(served, event))

    async def _follow(self, served: Served, event: ControllerEvent) -> None:
        units = {lu.nsid: lu for lu in served.node.logical_units.values()}
        if event.returned and self.kernel is not None:
            await self.kernel.renew(units.values())
        await self.service.controller_event(units, event, served.controller.namespaces)

    # Inspection

    async def _answer(self, request: Mapping[str, Any]) -> Any:
        """Answer a request of the control socket."""
        if request.get("verb") == "list":
            devices = inspection.devices(
                (served.settings.spec.text, facts)
                for served in self.served
                for facts in served.controller.namespaces.values()
            )
            return devices | {"Rings": list(self.kernel.rings()) if self.kernel else []}
        if request.get("verb") == "exports":
            if self.kernel is None:
                raise OperationError("the daemon does not serve the kernel; start it with --tcmu")
            return list(self.kernel.exports())
        wanted = inspection.INSPECTIONS.get(str(request.get("verb")))
        if wanted is None and request.get("verb") != "reset":
            raise OperationError(f"the verb {request.get('verb')!r} is unknown")
        controller = self._controller(str(request.get("controller", "0")))
        if wanted is None:
            return await controllers.reset(controller)
        nsid = request.get("nsid", 0)
        if not isinstance(nsid, int):
            raise OperationError(f"the namespace {nsid!r} is no number")
        return (await controllers.read(controller, wanted, nsid)).hex()

    def _controller(self, name: str) -> Controller:
        for number, served in enumerate(self.served):
            if name == served.node.iqn or spelled(name) in served.settings.spec.names(number):
                return served.controller
        raise OperationError(
            f"there is no controller {name!r}; the daemon serves 0 to {len(self.served) - 1}"
        )

    # Words

    def greeting(self) -> Iterator[str]:
        """Yield what is said when everything is up."""
        if self.kernel is not None:
            yield from self.kernel.greeting()
        if self.portal.addresses:
            yield from self._portal_greeting()
        yield "Ready. Ctrl-C ends it."

    def _portal_greeting(self) -> Iterator[str]:
        addresses = self.portal.addresses
        yield "Serving on " + ", ".join(str(address) for address in addresses) + ":"
        for served in self.served:
            yield f"  target {served.node.iqn}  ({served.settings.spec.text})"
            for lun, lu in served.node.logical_units.items():
                size = lu.capacity_blocks * lu.block_bytes / (1 << 30)
                url = f"iscsi://{addresses[0]}/{served.node.iqn}/{lun}"
                yield f"    LUN {lun}: {size:.2f} GiB, {lu.block_bytes}-byte blocks  {url}"
        first = self.served[0].node.iqn
        url = shlex.quote(f"iscsi://{addresses[0]}/{first}/0")
        portal = addresses[0]
        yield "Try, in another terminal:"
        yield f"  iscsi-ls -s iscsi://{portal}"
        yield f"  iscsi-inq {url}"
        yield f"  qemu-img convert -n -O raw IMAGE {url}"
        yield f"  sudo iscsiadm -m discovery -t sendtargets -p {portal}"
        yield f"  sudo iscsiadm -m node -T {first} -p {portal} --login"


def _cpus(reactors: int | None) -> list[int]:
    """Return the CPU of each reactor; -1, any, where there are fewer CPUs than reactors."""
    usable = sorted(os.sched_getaffinity(0))
    count = reactors or min(len(usable), DEFAULT_REACTORS)
    return usable[:count] if count <= len(usable) else [-1] * count


def _chap(
    initiator: config.Credentials | None, target: config.Credentials | None
) -> ChapAuthentication | None:
    if initiator is None:
        return None
    ours = None if target is None else Credentials(target.name, target.secret.encode())
    return ChapAuthentication(Credentials(initiator.name, initiator.secret.encode()), ours)


def _node(target: TargetSettings, settings: Settings) -> TargetNode:
    """Return the target without its logical units."""
    acl = {
        row.name: AclEntry(
            _chap(row.chap, row.mutual_chap),
            None if row.luns is None else {lun: lun for lun in row.luns},
        )
        for row in settings.initiators
        if row.targets is None or target.iqn in row.targets
    }
    return TargetNode(
        target.iqn,
        alias=target.spec.text[:255],
        acl=acl if settings.initiators else None,
        chap=_chap(settings.chap, settings.mutual_chap),
    )
