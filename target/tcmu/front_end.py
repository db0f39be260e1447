"""The TCMU front end: devices of the kernel's user backstore become logical units.

The kernel asks whether it may add, change or remove a device, and waits for the
answer. A device outlives this process: a graceful end blocks and drains it, and
initiators are told BUSY; what a crash left in its ring is answered so at the next
start, by when the controllers have been reset and no transfer is under way to its
pages.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Container
from dataclasses import field, replace
from typing import TYPE_CHECKING, Protocol

from scsi2nvme.background import Background
from scsi2nvme.native.plane import EventType
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.sense import POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
from scsi2nvme.target.task_service import TaskService
from scsi2nvme.target.tcmu.bearing import OTHER, NamespacesOf
from scsi2nvme.target.tcmu.device_config import (
    NO_ANSWER,
    ConfigError,
    DeviceConfig,
    is_ours,
    parse_config,
)
from scsi2nvme.target.tcmu.netlink import DeviceEvent, EventKind, NetlinkError
from scsi2nvme.target.tcmu.uio import Kernel, UioDevice, label, parse_name
from scsi2nvme.target.tcmu.zero_copy import ZeroCopy
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.store import MemoryStore

if TYPE_CHECKING:
    from scsi2nvme.native.plane import Event, PlaneNexus
    from scsi2nvme.native.tcmu import PlaneTcmu

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
RETRY_SECONDS = 1.0
GONE_SECONDS = 1.0  # after which a device that is removed can be seen no more

_NO_MORE_PAGES = {
    errno.ENOMEM: "the limit of locked memory is reached; set LimitMEMLOCK=infinity",
    errno.ENOSPC: "the parameter dma_entry_limit of vfio_iommu_type1 is reached",
    errno.EPERM: "mincore(2) does not tell what the kernel does with them",
}

BESIDE = f"beside tcmu-runner, create it with control={NO_ANSWER}"


class TcmuService(TaskService, Protocol):
    """What the front end needs of the composition beyond TaskService."""

    async def drained(self, start: Callable[[int], None]) -> int:
        """Call `start` with a token, and wait for its DRAINED."""

    def unit_was_reset(self, lu: LogicalUnit) -> None:
        """The kernel has reset a logical unit, and told its initiators."""

    async def limit(self, lu: LogicalUnit, size: int | None) -> None:
        """Make the first `size` bytes of a namespace the logical unit, None: all."""


class Netlink(Protocol):
    """What is used of TcmuNetlink."""

    def done(self, event: DeviceEvent, status: int) -> None:
        """See TcmuNetlink."""


OpenRing = Callable[["PlaneNexus", LogicalUnit, int, int, int], "PlaneTcmu"]
"""Begin to serve a ring: nexus, its logical unit, descriptor, bytes to map, cookie."""


@dataclass(eq=False)
class TcmuDevice:
    """A device that is served, or that is to be served again."""

    uio: UioDevice
    lu: LogicalUnit
    nexus: Nexus
    plane_nexus: PlaneNexus | None = None
    ring: PlaneTcmu | None = None
    cookie: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False
    present: bool = True  # its namespace

    def visible(self) -> dict[int, LogicalUnit]:
        """Return what its nexus sees now."""
        return {0: self.lu} if self.present else {}


class TcmuFrontEnd:
    """All devices of our handler. `find` returns the logical unit that a string names.

    Unless `zero_copy`, data are copied even where controllers reach the rings. `guest` says
    whether another daemon, tcmu-runner, answers the kernel: it refuses every device that is
    not its own, unless the kernel has been told not to wait. `namespaces` are those of devices
    that were served before.
    """

    def __init__(
        self,
        service: TcmuService,
        find: Callable[[DeviceConfig], LogicalUnit],
        open_ring: OpenRing,
        kernel: Kernel | None = None,
        *,
        zero_copy: bool = True,
        guest: Callable[[], bool] = lambda: False,
        namespaces: NamespacesOf | None = None,
    ) -> None:
        self.devices: dict[int, TcmuDevice] = {}  # by number of the UIO device
        self.guest = guest
        self._service = service
        self._find = find
        self._open_ring = open_ring
        self._kernel = kernel if kernel is not None else Kernel()
        self._zero_copy = ZeroCopy(self._kernel, wanted=zero_copy)
        self._background = Background()
        self._namespaces = namespaces or NamespacesOf(MemoryStore())

    # What the kernel asks

    async def handle(self, event: DeviceEvent, netlink: Netlink) -> None:
        """Do what an event asks, and answer it, if its device is ours."""
        parts = parse_name(event.name)
        config = parts[2] if parts is not None else ""
        if not is_ours(config) and event.minor not in self.devices:
            self._others_changed(event)
            return
        try:
            await self._obey(event)
            status = 0
        except ConfigError as error:
            log.error("device %s: %s", event.name, error)
            status = -error.errno
        except (OSError, NetlinkError) as error:
            log.error("device %s: %s", event.name, error)
            status = -(error.errno or errno.EIO) if isinstance(error, OSError) else -errno.EPROTO
        try:
            netlink.done(event, status)
        except OSError as error:
            log.info("device %s: answering %s: %s", event.name, event.kind.name, error)
            await self._unanswered(event)
        self._judge()

    def _others_changed(self, event: DeviceEvent) -> None:
        """Another program's device came or goes, and its share of the memory with it."""
        if event.kind is EventKind.REMOVED:
            self._background.spawn(self._judge_later())
        else:
            self._judge()

    async def _judge_later(self) -> None:
        await asyncio.sleep(GONE_SECONDS)
        self._judge()

    def _judge(self) -> None:
        """Decide anew whether data may stay in place."""
        self._zero_copy.judge(one.ring for one in self.devices.values() if one.ring is not None)

    async def _unanswered(self, event: DeviceEvent) -> None:
        """The kernel did not wait for an answer, or another daemon was faster and refused."""
        device = self.devices.get(event.minor)
        if event.kind is EventKind.ADDED and device is not None and self._waits(device.uio):
            log.error("device %s: another daemon refused it; %s", event.name, BESIDE)
            await self._forget(device)

    def _waits(self, uio: UioDevice) -> bool:
        """Whether the kernel waits for answers about a device, or has had one."""
        try:
            return self._kernel.attribute(uio, "nl_reply_supported") > 0
        except OSError:
            return True  # which was a refusal: it is gone, or going

    async def _obey(self, event: DeviceEvent) -> None:
        match event.kind:
            case EventKind.ADDED:
                uio = self._kernel.device(event.minor)
                if self.guest() and (uio is None or self._waits(uio)):
                    raise ConfigError(BESIDE, errno.EOPNOTSUPP)
                if uio is None:
                    raise ConfigError(f"there is no uio{event.minor}", errno.ENODEV)
                if event.minor not in self.devices:  # as those are that came while recovering
                    await self.add(uio)
            case EventKind.REMOVED:
                if (parts := parse_name(event.name)) is not None:
                    self._namespaces.forget(label(*parts[:2]))
                await self.remove(event.minor)
            case EventKind.RECONFIG:
                await self._reconfigure(event)

    async def _reconfigure(self, event: DeviceEvent) -> None:
        """Accept a change, or that nothing changes: a restored configuration says all again."""
        device = self.devices.get(event.minor)
        if device is None:
            raise ConfigError("is not served", errno.ENODEV)
        if event.size is not None:
            self._check_size(device.lu, event.size)
            await self._service.limit(device.lu, event.size or None)
        if event.config is not None:
            self._rename(device, event.config)
        if event.write_cache is not None:
            now = bool(self._kernel.attribute(device.uio, "emulate_write_cache"))
            if event.write_cache not in (now, device.lu.volatile_write_cache):
                raise ConfigError("the write cache is the disk's own", errno.EOPNOTSUPP)

    def _rename(self, device: TcmuDevice, config: str) -> None:
        """Know a device by another string for the same namespace, over restarts as well."""
        if self._find(parse_config(config)) is not device.lu:
            raise ConfigError("another namespace needs another device", errno.EOPNOTSUPP)
        uio = replace(device.uio, config=config)
        self._namespaces.keep(uio, device.lu)
        device.uio = uio

    # Devices

    async def recover(self) -> None:
        """Serve what is there from before; the controllers' queues are new."""
        for uio in self._kernel.devices():
            if is_ours(uio.config) and uio.number not in self.devices:
                try:
                    await self.add(uio, recovering=True)
                except (ConfigError, OSError) as error:
                    log.error("device %s: %s", uio.label, error)
                    self._turn_away(uio)

    def _turn_away(self, uio: UioDevice) -> None:
        """End what waits in a ring that nobody serves: initiators are told BUSY from now on."""
        try:
            fd = self._kernel.open(uio)  # but for one that another process serves
            try:
                self._empty(uio)
            finally:
                os.close(fd)
        except OSError as error:
            log.warning("device %s: %s", uio.label, error)

    def _empty(self, uio: UioDevice) -> None:
        self._kernel.block(uio, blocked=True)
        self._kernel.reset_ring(uio)

    def check(self, config: str) -> LogicalUnit:
        """Return what a new device with this string would serve; ConfigError if that cannot be."""
        lu = self._find(parse_config(config))
        for other in self.devices.values():
            if other.lu is lu:
                raise ConfigError(f"its namespace is that of {other.uio.label}", errno.EBUSY)
        return lu

    async def add(self, uio: UioDevice, *, recovering: bool = False) -> None:
        """Serve a device; ConfigError or OSError if that is impossible.

        One from before is served even if its namespace has another form now.
        """
        lu = self.check(uio.config)
        if recovering:
            self._namespaces.check(uio, lu)
        self._namespaces.keep(uio, lu)
        size = self._kernel.attribute(uio, "dev_size")
        try:
            self._check_blocks(lu, self._kernel.attribute(uio, "hw_block_size"))
            self._check_size(lu, size)
        except ConfigError as error:
            if not recovering:
                raise
            log.warning("device %s: %s", uio.label, error)
        # The kernel names the ports, and knows the initiators: we see neither. The residual
        # count is its own, too, and so are task attributes; of task management it does the least.
        initiator = PortName(f"tcm-user.{uio.hba}.{uio.name}")
        nexus = Nexus(initiator, PortName(""), {0: lu}, tells_residual=False)
        nexus.lets_all_pass = lambda: self._kernel.write_exclusive(uio)
        device = TcmuDevice(uio, lu, nexus)
        nexus.visible = device.visible
        self._prepare(device)
        await self._service.limit(lu, size or None)
        self.devices[uio.number] = device
        try:
            self._attach(device, recovering=recovering)
        except BaseException:
            await self._forget(device)
            raise
        log.info("device %s: serves namespace %d", uio.label, lu.nsid)

    def _check_blocks(self, lu: LogicalUnit, block_bytes: int) -> None:
        if block_bytes != lu.block_bytes:
            raise ConfigError(
                f"blocks have {lu.block_bytes} bytes; create it with "
                f"control=hw_block_size={lu.block_bytes}"
            )

    def _check_size(self, lu: LogicalUnit, size: int) -> None:
        """Check a size in bytes; 0 is all of the namespace, as targetcli wants to be given some."""
        whole = lu.facts.capacity_blocks * lu.block_bytes
        if size > whole:
            raise ConfigError(f"size {size} is more than the namespace's {whole} bytes")
        if size % lu.block_bytes:
            raise ConfigError(f"size {size} is no multiple of {lu.block_bytes}")

    def _prepare(self, device: TcmuDevice) -> None:
        """Set what must be before LUNs refer to it: no time-out of the kernel's own, since
        FORMAT and SANITIZE take long, and to be told of aborts."""
        for name, value in (("cmd_time_out", 0), ("tmr_notification", 1)):
            try:
                if self._kernel.attribute(device.uio, name) != value:
                    self._kernel.set_attribute(device.uio, name, value)
            except OSError as error:
                log.warning("device %s: %s stays: %s", device.uio.label, name, error)

    def _attach(self, device: TcmuDevice, *, recovering: bool) -> None:
        """Open a device and give its ring to a reactor.

        Opening it tells whether another process serves it. A device that is being added
        cannot be blocked yet, and its ring is empty.
        """
        device.ended.clear()
        device.cookie = self._service.cookie(lambda event: self._ring_told(device, event))
        fd = self._kernel.open(device.uio)
        try:
            if recovering:
                self._empty(device.uio)
            device.plane_nexus = self._service.open_nexus(device.nexus)
            # The kernel told every initiator of what happened to the device.
            device.lu.clear_attention(device.nexus, POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
            device.ring = self._open_ring(
                device.plane_nexus, device.lu, fd, device.uio.map_bytes, device.cookie
            )
        except BaseException:
            os.close(fd)
            raise
        self._judge()
        if recovering:
            self._kernel.block(device.uio, blocked=False)

    def _ring_told(self, device: TcmuDevice, event: Event) -> None:
        if event.type is EventType.CONN_CLOSED:
            self._ring_ended(device, event)
        elif event.type is EventType.UNIT_RESET:
            self._service.unit_was_reset(device.lu)
        elif event.count == errno.ESTALE:
            log.warning("device %s: the kernel has replaced pages of its ring", device.uio.label)
            self._judge()
        else:
            why = _NO_MORE_PAGES.get(event.count, os.strerror(event.count))
            log.warning("device %s: zero copy for no more of its pages: %s", device.uio.label, why)

    def _ring_ended(self, device: TcmuDevice, event: Event) -> None:
        device.ended.set()
        if device.closing or device.ring is None:
            return
        log.error("device %s: its ring: %s", device.uio.label, os.strerror(event.count))
        gone = event.count == errno.ENODEV
        self._background.spawn(self._forget(device) if gone else self._again(device))

    async def _again(self, device: TcmuDevice) -> None:
        """Serve a device anew whose ring was reset, or made no sense."""
        await self._detach(device)
        await asyncio.sleep(RETRY_SECONDS)
        if device.closing or device.ring or self.devices.get(device.uio.number) is not device:
            return
        self._attach(device, recovering=True)

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """The controller of these logical units has forgotten where the rings' pages are."""
        for device in list(self.devices.values()):
            if device.lu in units and device.ring is not None:
                await self._detach(device)
                try:
                    self._attach(device, recovering=True)
                except OSError as error:
                    log.error("device %s: %s", device.uio.label, error)

    async def follow_inventory(self) -> None:
        """Logical units came or went, perhaps those of devices: what a device names counts."""
        for device in list(self.devices.values()):
            try:
                device.present = False
                lu = self._find(parse_config(device.uio.config))
                if not device.lu.is_of(lu.facts_as_read):
                    raise ConfigError(OTHER)
                if lu is not device.lu:
                    size = self._kernel.attribute(device.uio, "dev_size")
                    await self._service.limit(lu, size or None)
                device.lu = lu
                device.present = True
            except (ConfigError, OSError) as error:
                log.error("device %s: %s", device.uio.label, error)

    async def _detach(self, device: TcmuDevice) -> None:
        """Let go of the ring; what is under way is forgotten."""
        ring, device.ring = device.ring, None
        if ring is not None:
            ring.disconnect()
            await device.ended.wait()
            ring.close()
        self._service.release(device.cookie)
        plane_nexus, device.plane_nexus = device.plane_nexus, None
        if plane_nexus is not None:
            await self._service.close_nexus(device.nexus, plane_nexus, lost=False)

    async def _forget(self, device: TcmuDevice) -> None:
        device.closing = True
        await self._detach(device)
        self.devices.pop(device.uio.number, None)
        await self._service.limit(device.lu, None)

    async def remove(self, number: int) -> None:
        """A device goes: nothing refers to it any more."""
        device = self.devices.get(number)
        if device is not None:
            await self._forget(device)
            self._background.spawn(self._judge_later())
            log.info("device %s: removed", device.uio.label)

    async def stop(self) -> None:
        """Leave every device in order: what was taken is answered.

        The devices stay blocked. What is put into a ring that nobody serves would hang, and
        whoever aborts it with it; BUSY is tried again by initiators until we are back.
        """
        await asyncio.gather(*(self._leave(device) for device in list(self.devices.values())))
        await self._background.wait()

    async def _leave(self, device: TcmuDevice) -> None:
        device.closing = True
        try:
            self._kernel.block(device.uio, blocked=True)
            await self._drain(device)
            await self._forget(device)
        except OSError as error:
            log.error("device %s: %s", device.uio.label, error)

    async def _drain(self, device: TcmuDevice) -> None:
        if device.ring is None:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._service.drained(device.ring.drain)
        except TimeoutError:
            log.error("device %s: commands are still under way", device.uio.label)
