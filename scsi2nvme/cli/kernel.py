"""`serve --tcmu`: the kernel's target as a front end of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.dataplane import PlaneNexus, PlaneTcmu, Window
from scsi2nvme.logical_unit import LogicalUnit
from scsi2nvme.service import TaskService
from scsi2nvme.target.tcmu import HANDLER, ConfigError, DeviceConfig, TcmuFrontEnd, parse_config
from scsi2nvme.target.tcmu_events import TcmuEvents, TcmuUnavailable

if TYPE_CHECKING:
    from scsi2nvme.cli.config import TcmuTable
    from scsi2nvme.cli.spec import ControllerSpec

Units = tuple["ControllerSpec", Sequence[LogicalUnit]]
"""A controller of the daemon with its logical units."""


def controller_names(number: int, spec: ControllerSpec) -> tuple[str, ...]:
    """Return how a configuration string may name a controller, the lasting name first."""
    if spec.transport == "pci":
        return spec.path.lower().replace(":", "_"), str(number)
    return (str(number),)


def find(config: DeviceConfig, served: Sequence[Units]) -> LogicalUnit:
    """Return the logical unit that a configuration names; ConfigError if there is none."""
    for number, (spec, units) in enumerate(served):
        if config.controller.lower() not in controller_names(number, spec):
            continue
        for lu in units:
            if lu.nsid == config.nsid:
                return lu
        known = ", ".join(str(lu.nsid) for lu in units)
        raise ConfigError(f"there is no namespace {config.nsid}; there are: {known}")
    names = ", ".join(controller_names(number, spec)[0] for number, (spec, _) in enumerate(served))
    raise ConfigError(f"there is no controller {config.controller!r}; there are: {names}")


def exports(served: Sequence[Units]) -> Iterator[dict[str, Any]]:
    """Yield what `scsi2nvme export` must know of each namespace."""
    for number, (spec, units) in enumerate(served):
        names = controller_names(number, spec)
        for lu in units:
            yield {
                "names": names,
                "nsid": lu.nsid,
                "config": f"{HANDLER}/{names[0]}/{lu.nsid}",
                "size": lu.facts.capacity_blocks * lu.block_bytes,
                "block_bytes": lu.block_bytes,
                "wwn": lu.identity,
            }


def greeting(served: Sequence[Units]) -> Iterator[str]:
    """Yield what is said when everything is up."""
    yield f"Serving the kernel's target as user:{HANDLER}. Try, in another terminal:"
    for row in exports(served):
        _, _, config = row["config"].partition("/")
        block_bytes = row["block_bytes"]
        control = "" if block_bytes == 512 else f" control=hw_block_size={block_bytes}"
        yield (
            f"  sudo targetcli /backstores/user:{HANDLER} create name=disk{row['nsid']} "
            f"size={row['size']}B cfgstring={config}{control}"
        )


async def start(
    service: TaskService,
    served: Sequence[Units],
    stack: AsyncExitStack,
    open_window: Callable[[LogicalUnit, int], Window | None],
    settings: TcmuTable,
) -> TcmuFrontEnd:
    """Serve the kernel until `stack` ends; OperationError if that is impossible.

    `open_window` returns where a logical unit's controller may see memory of so many bytes.
    """
    zero_copy = settings.zero_copy == "auto"

    def named(config: DeviceConfig) -> LogicalUnit:
        return find(config, served)

    def open_ring(
        nexus: PlaneNexus, lu: LogicalUnit, fd: int, length: int, cookie: int
    ) -> PlaneTcmu:
        window = open_window(lu, length) if zero_copy else None
        try:
            return PlaneTcmu(service.plane, nexus, fd, fd, length, cookie, window)
        except OSError:
            if window is not None:
                window.close()
            raise

    front_end = TcmuFrontEnd(service, named, open_ring, zero_copy=zero_copy)
    events = TcmuEvents(front_end)
    stack.push_async_callback(events.stop)
    if settings.dbus:
        # First, since the name tells whether another daemon answers the kernel.
        stack.callback(await _bus(lambda text: named(parse_config(text))))
    try:
        await events.start()
    except TcmuUnavailable as error:
        raise OperationError(str(error)) from error
    return front_end


def rings(front_end: TcmuFrontEnd) -> Iterator[dict[str, Any]]:
    """Yield what `scsi2nvme list` shows of each ring."""
    for device in front_end.devices.values():
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
            }


async def _bus(check: Callable[[str], object]) -> Callable[[], None]:
    """Show targetcli our handler; returns what ends that."""
    try:
        from scsi2nvme.target.tcmu_dbus import BusUnavailable, TcmuBus
    except ModuleNotFoundError as error:
        if error.name != "dbus_fast":
            raise
        raise OperationError(
            "targetcli finds us by D-Bus: run: pip install 'scsi2nvme[tcmu]', or set "
            "dbus = false in [tcmu]"
        ) from None
    try:
        return (await TcmuBus.connect(check)).close
    except BusUnavailable as error:
        raise OperationError(f"{error}; or set dbus = false in [tcmu]") from error
