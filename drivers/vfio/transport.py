"""A real NVMe controller, through the kernel's VFIO.

Spec: Linux Documentation/driver-api/vfio.rst, PCI Local Bus 3.0 6.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TypeVar

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.pci.configuration import (
    CLASS_REVISION,
    COMMAND,
    COMMAND_INTX_OFF,
    COMMAND_MASTER,
    COMMAND_MEMORY,
)
from scsi2nvme.drivers.pci.sysfs import VFIO_DRIVER, System, find_function
from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.drivers.vfio import abi, interrupts
from scsi2nvme.drivers.vfio.abi import IrqIndex, RegionCapability, RegionIndex, Request
from scsi2nvme.drivers.vfio.cdev import VfioCdev, cdev_path
from scsi2nvme.drivers.vfio.dma import DmaArenas
from scsi2nvme.drivers.vfio.group import VfioGroup, read_vf_token
from scsi2nvme.drivers.vfio.iommu import Type1Iommu
from scsi2nvme.drivers.vfio.kinds import POLL
from scsi2nvme.drivers.vfio.noiommu import PhysicalMemory
from scsi2nvme.fields import Values
from scsi2nvme.native.nvme import MmioPort, Registers
from scsi2nvme.native.transport import MAXIMUM_REACTORS, Region, Window
from scsi2nvme.native.vfio import VfioWindow
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64, CAP, Register, decode

_log = logging.getLogger(__name__)

_DOORBELLS = 0x1000
_CONTROL_VECTORS = 2  # the admin queue's and the control thread's own
_Result = TypeVar("_Result")
_ALARMS = {Alarm.ERROR: IrqIndex.ERROR, Alarm.UNPLUG: IrqIndex.REQUEST}


class VfioTransport:
    """The controller at a PCI address, which is bound to vfio-pci.

    `vectors`: how many interrupts to ask for, at most; `interrupts`: of which of the `KINDS`,
    where it is to be had, else of the next one. `noiommu`: work without an IOMMU; the
    controller can then overwrite any memory of the machine. `vf_token_file` holds the VF token.

    The kernel resets a function when it is opened, closed and asked to, and waits
    for one that does not come back, or is not there any more, for more than a
    minute. Threads do that, lest other controllers' users wait too.
    """

    def __init__(
        self,
        address: str,
        *,
        vectors: int = _CONTROL_VECTORS + MAXIMUM_REACTORS,
        noiommu: bool = False,
        interrupts: str = "msix",
        vf_token_file: str = "",
        system: System | None = None,
    ) -> None:
        function = find_function(address, system or System())
        self.name = f"pci:{function.address}"
        self._function, self._noiommu = function, noiommu
        self.pci_id = function.identity
        self.parent = function.physical_function
        self._vf_token = read_vf_token(vf_token_file) if vf_token_file else ""
        self._gone = False
        self._kind: IrqIndex | None = None  # of interrupts
        self._eventfds: list[int] = []
        self._host_lock = threading.Lock()  # for one call of `_in_thread`
        self._cpus: dict[int, int] = {}  # by vector
        if noiommu:
            _log.warning("%s: no IOMMU: the device can reach all memory", self.name)
        with ExitStack() as undo:
            self._ours = undo.enter_context(ExitStack())
            self._host = undo.enter_context(ExitStack())  # what `let_go` gives back
            group = self._open()
            self._host.callback(group.close)
            self._container = group.container
            self._iommu = None if noiommu else Type1Iommu(group.container)
            self._memory = DmaArenas(self._iommu.map) if self._iommu else PhysicalMemory()
            self._ours.callback(self._memory.close)
            try:
                self._device = group.device
                self._start(vectors, interrupts)
            except OSError as error:
                raise TransportError(f"{self.name}: {error.strerror}") from error
            undo.pop_all()

    def _open(self) -> VfioGroup | VfioCdev:
        """Open the device in the kernel's newest way.

        Only a group can do without an IOMMU, and takes a token on every kernel.
        """
        path = None if self._noiommu or self._vf_token else cdev_path(self._function)
        if path is None:
            return VfioGroup(self._function, noiommu=self._noiommu, vf_token=self._vf_token)
        return VfioCdev(self._function, path)

    def _start(self, vectors: int, best: str) -> None:
        """Map the registers and connect the interrupts."""
        answer = abi.query(self._device, Request.DEVICE_GET_INFO, abi.DEVICE_INFO)
        self._resettable = bool(abi.DEVICE_INFO.parse(answer).flags & abi.DeviceFlags.RESET)
        self._configuration: int = self._region(RegionIndex.CONFIGURATION)[0].offset
        self._registers = self._map_bar0()
        self._ours.callback(self._registers.close)
        self._enable()
        stride = 4 << decode(CAP, self._registers.read64(Register.CAP)).dstrd
        length = self._registers.length - _DOORBELLS
        self.port = MmioPort(self._registers.address + _DOORBELLS, stride, length)
        self._ours.callback(self.port.close)
        if self.port.queue_pairs < _CONTROL_VECTORS:
            raise TransportError(
                f"{self.name}: BAR0 has {length} bytes for doorbells, which are "
                f"{stride} bytes apart: too few for an I/O queue"
            )
        self._connect_best(vectors, best)
        self.vectors = len(self._eventfds)
        self.alarms: Mapping[Alarm, int] = {
            alarm: eventfd
            for alarm, index in _ALARMS.items()
            for eventfd in self._connect(index, 1)
        }

    # ---- regions ----

    def _region(self, index: int) -> tuple[Values, dict[int, bytes]]:
        """Return a region's description and its capabilities."""
        answer = abi.query(
            self._device, Request.DEVICE_GET_REGION_INFO, abi.REGION_INFO, index=index
        )
        region = abi.REGION_INFO.parse(answer)
        has_list = region.flags & abi.RegionFlags.CAPABILITIES
        return region, abi.capabilities(answer, region.cap_offset) if has_list else {}

    def _map_bar0(self) -> Registers:
        region, capabilities = self._region(RegionIndex.BAR0)
        length = mappable_bytes(region, capabilities)
        if length <= _DOORBELLS:
            raise TransportError(f"{self.name}: vfio-pci does not let its doorbells be mapped")
        return Registers(self._device, region.offset, length)

    def read_configuration(self, offset: int, width: int) -> int:
        """Read `width` bytes of PCI configuration space."""
        return int.from_bytes(os.pread(self._device, width, self._configuration + offset), "little")

    def write_configuration(self, offset: int, width: int, value: int) -> None:
        """Write `width` bytes of PCI configuration space."""
        os.pwrite(self._device, value.to_bytes(width, "little"), self._configuration + offset)

    def _enable(self) -> None:
        """Decode memory and master the bus, which opening the device ended."""
        command = self.read_configuration(COMMAND, 2)
        command |= COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF
        if self._kind is IrqIndex.INTX:
            command &= ~COMMAND_INTX_OFF
        self.write_configuration(COMMAND, 2, command)

    def cut_off(self) -> None:
        """Have the device master the bus no more: it fetches neither commands nor data."""
        if not self._host_lock.acquire(blocking=False):
            return  # the kernel is about to reset it, or does
        try:
            if not self._gone:
                command = self.read_configuration(COMMAND, 2)
                self.write_configuration(COMMAND, 2, command & ~COMMAND_MASTER)
        except OSError as error:
            raise TransportError(f"its bus mastering stays: {error}") from error
        finally:
            self._host_lock.release()

    # ---- interrupts ----

    def _connect_best(self, wanted: int, best: str) -> None:
        """Connect interrupts of the best kind that can be had, if there is any."""
        for name, kind in interrupts.kinds_from(best).items():
            try:
                eventfds = self._connect(kind, 1 if kind is IrqIndex.INTX else wanted)
            except OSError as error:
                if kind is IrqIndex.MSIX:
                    raise
                _log.warning("%s: its %s cannot be used: %s", self.name, name, error.strerror)
                continue
            if eventfds:
                self._kind, self._eventfds = kind, eventfds
                self._enable()  # which INTx depends on
                if name != best:
                    _log.warning("%s: %s is the best kind of interrupts it has", self.name, name)
                return
        if best != POLL:
            _log.warning("%s: there are no interrupts; it is polled", self.name)

    def _connect(self, index: int, wanted: int) -> list[int]:
        """Return eventfds that interrupts 0, 1… of an index signal; fewer if there are fewer.

        All in one request, as many kernels do not let their number grow.
        """
        try:
            answer = abi.query(self._device, Request.DEVICE_GET_IRQ_INFO, abi.IRQ_INFO, index=index)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the device has no such thing
                return []
            raise
        info = abi.IRQ_INFO.parse(answer)
        count = min(wanted, info.count) if info.flags & abi.IrqFlags.EVENTFD else 0
        eventfds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
        for eventfd in eventfds:
            self._ours.callback(os.close, eventfd)
        while eventfds:
            left = self._set_eventfds(index, eventfds)
            if left == len(eventfds):
                break
            eventfds = eventfds[:left]
        return eventfds

    def _set_eventfds(self, index: int, eventfds: list[int]) -> int:
        """Try to connect; return how many may be connected, all if they are now."""
        try:
            available = abi.call(
                self._device, Request.DEVICE_SET_IRQS, abi.irq_set(index, eventfds)
            )
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return len(eventfds) // 2
        return min(available, len(eventfds) - 1) if available > 0 else len(eventfds)

    # ---- Transport ----

    def read32(self, offset: int) -> int:
        """Read a 32-bit register; all ones when the controller is gone."""
        value = ALL_ONES_32 if self._gone else self._registers.read32(offset)
        return value or (ALL_ONES_32 if self._is_absent() else 0)

    def read64(self, offset: int) -> int:
        """Read a 64-bit register; all ones when the controller is gone."""
        value = ALL_ONES_64 if self._gone else self._registers.read64(offset)
        return value or (ALL_ONES_64 if self._is_absent() else 0)

    def _is_absent(self) -> bool:
        """Whether nothing answers on the bus: registers may read as zeroes then.

        The vendor's number would not tell, as the kernel answers for the device.
        """
        try:
            return self.read_configuration(CLASS_REVISION, 4) == ALL_ONES_32
        except OSError:  # the kernel cannot reach it either
            return True

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register."""
        self._present()._registers.write32(offset, value)

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register."""
        self._present()._registers.write64(offset, value)

    def allocate(self, length: int) -> Region:
        """Return zeroed DMA memory, page aligned, that lives until `close`."""
        return self._present()._memory.allocate(length)

    def window(self, length: int) -> Window | None:
        """Return addresses for memory that is not from `allocate`; None without an IOMMU."""
        if self._iommu is None:
            return None
        self._present()
        addresses = self._iommu.addresses
        iova = addresses.take(length, PAGE)
        try:
            return VfioWindow(
                self._container, iova, length, lambda: addresses.give_back(iova, length)
            )
        except OSError as error:
            addresses.give_back(iova, length)
            raise TransportError(f"{self.name}: {error.strerror}") from error

    def interrupt(self, vector: int) -> int:
        """Return the eventfd that `vector` signals."""
        return self._eventfds[vector]

    def rearm(self) -> None:
        """Have INTx come again; messages do so by themselves."""
        if self._kind is not IrqIndex.INTX or not self._host_lock.acquire(blocking=False):
            return  # the kernel is about to reset it, or does: it is unmasked then
        try:
            if not self._gone:
                abi.call(self._device, Request.DEVICE_SET_IRQS, abi.irq_unmask(self._kind))
        except OSError as error:
            _log.warning("%s: its interrupts stay away: %s", self.name, error.strerror)
        finally:
            self._host_lock.release()

    def steer(self, cpus: Mapping[int, int]) -> None:
        """Have vectors interrupt these CPUs; only root can, so others need not."""
        self._cpus = dict(cpus)
        self._steer()

    def _steer(self) -> None:
        function = self._function
        try:
            interrupts.steer(function.address, self._cpus, function.system)
        except OSError as error:
            _log.info("%s: its interrupts stay where they are: %s", self.name, error)

    async def reset(self) -> None:
        """Reset the function (FLR). The kernel restores its configuration."""
        await self._in_thread(self._reset)

    def _reset(self) -> None:
        self._present()
        if self._is_absent():  # the kernel would wait for it for minutes, and we with it
            raise TransportError(f"{self.name} does not answer any more")
        if not self._resettable:
            raise TransportError(f"{self.name}: the kernel knows no way to reset it")
        try:
            abi.call_patiently(self._device, Request.DEVICE_RESET)
            self._enable()
            if self._kind is IrqIndex.INTX:
                abi.call(self._device, Request.DEVICE_SET_IRQS, abi.irq_unmask(self._kind))
        except OSError as error:
            raise TransportError(f"{self.name}: reset: {error.strerror}") from error

    async def let_go(self) -> None:
        """Give the device back at once: it reads as gone, memory stays until `close`."""
        await self._in_thread(self._let_go)

    def _let_go(self) -> None:
        if not self._gone:
            self._gone = True
            self._registers.detach()
            self._host.close()

    async def take_back(self) -> bool:
        """Drive the device again if it is bound to vfio-pci again."""
        return await self._in_thread(self._take_back)

    def _take_back(self) -> bool:
        function = self._function
        if not self._gone or (function.driver, function.identity) != (VFIO_DRIVER, self.pci_id):
            return False
        with ExitStack() as undo:
            try:
                group = self._open()
                undo.callback(group.close)
                self._container = group.container
                if self._iommu is not None:
                    self._iommu.move(group.container)
                self._device = group.device
                self._restart()
            except (TransportError, OSError) as error:
                _log.warning("%s: %s", self.name, error)
                return False
            self._host = undo.pop_all()
        self._gone = False
        return True

    def _restart(self) -> None:
        """Connect interrupts and registers that are there from before."""
        self._configuration = self._region(RegionIndex.CONFIGURATION)[0].offset
        connected = {} if self._kind is None else {self._kind: self._eventfds}
        connected |= {_ALARMS[alarm]: [eventfd] for alarm, eventfd in self.alarms.items()}
        for index, eventfds in connected.items():
            if eventfds and self._set_eventfds(index, eventfds) != len(eventfds):
                raise TransportError(f"there are fewer than {len(eventfds)} interrupts now")
        self._enable()
        region, capabilities = self._region(RegionIndex.BAR0)
        if mappable_bytes(region, capabilities) < self._registers.length:
            raise TransportError("fewer registers can be mapped now")
        self._registers.attach(self._device, region.offset)
        self._steer()

    def give_up(self) -> None:
        """See Transport: nothing was made."""

    def close(self) -> None:
        """Free everything, and let go of the controller; its queue pairs are closed."""
        with self._host_lock:
            self._let_go()
        self._ours.close()

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        """Run a call that the kernel may keep, after those before it: also one given up."""

        def alone() -> _Result:
            with self._host_lock:
                return call()

        return await asyncio.to_thread(alone)

    def _present(self) -> VfioTransport:
        if self._gone:
            raise TransportError(f"{self.name} is gone")
        return self


def mappable_bytes(region: Values, capabilities: Mapping[int, bytes]) -> int:
    """Return how much of a BAR's beginning may be mapped."""
    if not region.flags & abi.RegionFlags.MMAP:
        return 0
    whole = region.size // PAGE * PAGE
    if RegionCapability.SPARSE_MMAP in capabilities:
        areas = abi.pairs(capabilities[RegionCapability.SPARSE_MMAP])
        return max((min(size, whole) for start, size in areas if start == 0), default=0)
    return whole
