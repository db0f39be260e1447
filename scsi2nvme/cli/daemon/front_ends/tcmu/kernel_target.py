"""The kernel's target as a front end: `serve --tcmu`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from scsi2nvme.api import methods
from scsi2nvme.api.method import Nothing
from scsi2nvme.api.methods import Export
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends.front_end import Prospect, Served, Serving
from scsi2nvme.cli.daemon.health import warnings
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import spelled
from scsi2nvme.drivers.nvme.controller import ControllerState
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.plane import PlaneNexus
from scsi2nvme.native.tcmu import PlaneTcmu
from scsi2nvme.native.transport import Window
from scsi2nvme.target.tcmu.bearing import NamespacesOf
from scsi2nvme.target.tcmu.device_config import (
    HANDLER,
    NO_ANSWER,
    USAGE,
    ConfigError,
    DeviceConfig,
)
from scsi2nvme.target.tcmu.events import TcmuEvents, TcmuUnavailable, claim
from scsi2nvme.target.tcmu.front_end import (
    TcmuFrontEnd,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import DamagedState

if TYPE_CHECKING:
    from scsi2nvme.api.configuration import TcmuTable
    from scsi2nvme.cli.config import Settings
    from scsi2nvme.target.tcmu.dbus import TcmuBus

log = logging.getLogger(__name__)

Units = tuple[tuple[str, ...], Collection[LogicalUnit]]
"""The names of a controller of the daemon, the lasting one first, and its logical units."""


def find(config: DeviceConfig, served: Sequence[Units]) -> LogicalUnit:
    """Return the logical unit that a configuration names; ConfigError if there is none."""
    for names, units in served:
        if spelled(config.controller) not in names:
            continue
        for lu in units:
            if lu.nsid == config.nsid:
                return lu
        known = ", ".join(str(lu.nsid) for lu in units)
        raise ConfigError(f"there is no namespace {config.nsid}; there are: {known}")
    known = ", ".join(names[0] for names, _ in served)
    raise ConfigError(f"there is no controller {config.controller!r}; there are: {known}")


def namespaces_of(store: JsonStore) -> NamespacesOf:
    """Return which namespaces devices were created for; OperationError if that is damaged."""
    try:
        return NamespacesOf(store)
    except DamagedState as error:
        raise store.damaged(error.key, error.reason) from None


def open_window(served: Sequence[Served], lu: LogicalUnit, length: int) -> Window | None:
    """Return where a logical unit's controller may see so many bytes of our memory, if it can.

    One that has several controllers could go on to another, which would see them elsewhere.
    """
    if lu.routes.several:
        return None
    for one in served:
        if lu in one.units.values():
            try:
                return one.controller.transport.window(length)
            except TransportError as error:
                log.warning("controller %s: no zero copy: %s", one.settings.spec.text, error)
    return None


class KernelTarget:
    """All devices of the kernel's user backstore that are ours."""

    def __init__(self, serving: Serving, settings: TcmuTable) -> None:
        self._service = serving.service
        self._served = serving.served
        self._known = self._units()
        self._settings = settings
        self._zero_copy = settings.zero_copy == "auto"
        self._bus: TcmuBus | None = None
        self._front_end = TcmuFrontEnd(
            serving.service,
            self._find,
            self._open_ring,
            zero_copy=self._zero_copy,
            guest=self._is_guest,
            namespaces=namespaces_of(JsonStore(serving.settings.state_dir)),
        )

    async def start(self, stack: AsyncExitStack) -> None:
        """Answer the kernel; when `stack` ends, the devices stay, blocked and drained."""
        events = TcmuEvents(self._front_end)
        try:
            stack.callback(claim())
            stack.push_async_callback(events.stop)
            if self._settings.dbus:
                # First, since the name tells whether tcmu-runner answers the kernel.
                self._bus = await _connect(self._front_end.check, self.description, self._ill)
                stack.callback(self._bus.close)
            await events.start()
        except TcmuUnavailable as error:
            raise OperationError(str(error)) from error

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """A controller is back; see TcmuFrontEnd.renew."""
        await self._front_end.renew(units)

    async def follow_inventory(self) -> None:
        """Logical units came or went; see TcmuFrontEnd.follow_inventory.

        Of a new logical unit there may be a device from before, which nobody serves yet.
        """
        await self._front_end.follow_inventory()
        known, self._known = self._known, self._units()
        if self._known - known:
            await self._front_end.recover()

    async def leave(self, one: Served) -> None:
        """Nobody has it: see `check_leaving`."""

    def check(self, settings: Settings, prospect: Prospect) -> None:
        """Nothing of it is configured while it serves."""

    async def configure(self, settings: Settings) -> None:
        """What the kernel serves, and to whom, the kernel is told by others."""

    def check_leaving(self, one: Served) -> None:
        """The kernel's devices are the kernel's: whoever has made them must delete them."""
        units = one.units.values()
        used = [each.uio.label for each in self._front_end.devices.values() if each.lu in units]
        if used:
            raise OperationError(
                f"controller {one.settings.spec.text!r}: the kernel's target has it as "
                f"{', '.join(used)}; run: scsi2nvme unexport {one.names[0]}, or delete what was "
                "made of it with targetcli"
            )

    def _units(self) -> set[LogicalUnit]:
        return {lu for one in self._served for lu in one.units.values()}

    def _open_ring(
        self, nexus: PlaneNexus, lu: LogicalUnit, fd: int, length: int, cookie: int
    ) -> PlaneTcmu:
        window = open_window(self._served, lu, length) if self._zero_copy else None
        try:
            return PlaneTcmu(self._service.plane, nexus, fd, fd, length, cookie, window)
        except OSError:
            if window is not None:
                window.close()
            raise

    def _find(self, config: DeviceConfig) -> LogicalUnit:
        return find(config, [(one.names, one.units.values()) for one in self._served])

    def _is_guest(self) -> bool:
        return self._bus is not None and self._bus.guest

    def answer(self, answers: Answers) -> None:
        """Have it answered what `scsi2nvme export` must know."""

        async def exports(_: Nothing) -> list[Export]:
            return list(self.exports())

        answers.add(methods.EXPORTS, exports)

    def exports(self) -> Iterator[Export]:
        """Yield what `scsi2nvme export` must know of each namespace."""
        for one in self._served:
            for lu in one.units.values():
                control = [] if lu.block_bytes == 512 else [f"hw_block_size={lu.block_bytes}"]
                if self._is_guest():
                    control.append(NO_ANSWER)
                yield Export(
                    name=f"nvme-{one.names[0]}-{lu.nsid}",
                    names=one.names,
                    nsid=lu.nsid,
                    config=f"{HANDLER}/{one.names[0]}/{lu.nsid}",
                    size=lu.facts.capacity_blocks * lu.block_bytes,
                    control=",".join(control),
                    wwn=lu.identity,
                )

    def status(self) -> Mapping[str, Any]:
        """Return the rings: how data move, and who serves them."""
        return {"Rings": list(self._rings())}

    def _rings(self) -> Iterator[dict[str, Any]]:
        for device in self._front_end.devices.values():
            if device.ring is not None:
                counters = device.ring.counters()
                yield {
                    "Backstore": device.uio.label,
                    "Config": device.uio.config,
                    "ZeroCopy": device.ring.has_window,
                    "InPlace": counters["in_place"],
                    "Copied": counters["copied"],
                    "Pages": counters["pages"],
                    "Withdrawals": counters["withdrawals"],
                    "Reactor": counters["reactor"],
                    "Moves": counters["moves"],
                }

    def greeting(self) -> Iterator[str]:
        """Yield how to make a backstore of each namespace."""
        beside = " beside tcmu-runner" if self._is_guest() else ""
        yield f"Serving the kernel's target as user:{HANDLER}{beside}. Try, in another terminal:"
        for command in self._creations():
            yield f"  sudo targetcli /backstores/user:{HANDLER} {command}"

    def description(self) -> str:
        """Return what targetcli's help says of our configuration strings."""
        usage = f"NVMe namespaces. The configuration string is {USAGE}."
        return "\n".join([usage, "Here:", *(f"  {one}" for one in self._creations()), *self._ill()])

    def _ill(self) -> Iterator[str]:
        """Yield which controllers do not answer, or warn: to targetcli every backstore is well.

        It shows these sentences as lines of their own, named after what is before the colon.
        """
        for one in self._served:
            state, reason = one.controller.state, one.controller.failure
            warned = {
                name for lu in one.units.values() for name in warnings(lu.exceptions.warnings)
            }
            if state is not ControllerState.LIVE:
                yield f"Controller {one.names[0]} is {state.value}" + f": {reason}" * bool(reason)
            elif warned:
                yield f"Controller {one.names[0]} warns: {', '.join(sorted(warned))}"

    def _creations(self) -> Iterator[str]:
        """Yield targetcli's command that makes a backstore of each namespace, all of it."""
        for row in self.exports():
            _, _, config = row.config.partition("/")
            words = [f"name={row.name}", f"size={row.size}B", f"cfgstring={config}"]
            if row.control:
                words.append(f"control={row.control}")
            yield " ".join(["create", *words])

    def farewell(self) -> Iterator[str]:
        """Yield what becomes of the devices."""
        if self._front_end.devices:
            yield "the kernel holds what initiators send until it is served again"


async def _connect(
    check: Callable[[str], object],
    describe: Callable[[], str],
    notices: Callable[[], Iterator[str]],
) -> TcmuBus:
    """Show targetcli our handler; OperationError if that is impossible."""
    try:
        from scsi2nvme.target.tcmu.dbus import BusUnavailable, TcmuBus
    except ModuleNotFoundError as error:
        if error.name != "dbus_fast":
            raise
        from scsi2nvme.cli import advice

        raise OperationError(
            f"targetcli finds us by D-Bus: run: {advice.install(advice.DBUS_FAST)}; or set "
            "dbus = false in [tcmu]"
        ) from None
    try:
        return await TcmuBus.connect(check, describe, notices=notices)
    except BusUnavailable as error:
        raise OperationError(f"{error}; or set dbus = false in [tcmu]") from error
