"""QEMU's NVMe controller without a guest, as a transport.

QEMU's virtual processor halts at once; we take its place: registers and PCI
configuration through the qtest socket, DMA memory as a shared file, and
interrupts as eventfds by way of an `ivshmem-doorbell` device.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType

from scsi2nvme.drivers.memory import SharedMemory, memory_file
from scsi2nvme.drivers.pci.configuration import ConfigurationSpace, MsixEntry
from scsi2nvme.drivers.qemu import ivshmem
from scsi2nvme.drivers.qemu.machine import (
    BINARY,
    DOORBELL_DEVICE,
    NVME_DEVICE,
    PACKAGE,
    ROM,
    ROM_BYTES,
    QemuOptions,
    command_line,
)
from scsi2nvme.drivers.qemu.qmp import Monitor
from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.native.qtest import QtestPort
from scsi2nvme.native.transport import Region, Window
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64, CAP, Register, decode

__all__ = ["QemuOptions", "QemuTransport"]

# Guest physical addresses, of our own choice.
_ECAM = 0xB0000000
_NVME_BAR0 = 0xC0000000
_DOORBELL_BAR0 = 0xC0100000
_MIB = 1 << 20
_FIRST_FREE = _MIB  # below lie the holes of PC memory
_MAXIMUM_MEMORY = 2 << 30

_PCIEXBAR = 0x60  # of the host bridge
_CONFIG_ADDRESS, _CONFIG_DATA = 0xCF8, 0xCFC
_CONNECT_TIMEOUT_MS = 5000


class QemuTransport:
    """A running QEMU with one NVMe controller. TransportError if it does not start."""

    parent = ""
    alarms: Mapping[Alarm, int] = MappingProxyType({})

    def __init__(self, options: QemuOptions) -> None:
        self.options = options
        self.name = f"qemu:{options.path or 'null'}"
        self.vectors = options.vectors
        for binary, package in ((BINARY, PACKAGE), ("setpriv", "util-linux")):
            if shutil.which(binary) is None:
                raise TransportError(f"{binary} is not installed (Debian package {package})")
        if not _MIB < options.memory_bytes <= _MAXIMUM_MEMORY or options.memory_bytes % _MIB:
            raise TransportError(f"{options.memory_bytes} bytes are not 2 MiB to 2 GiB of memory")
        self._open = True
        with ExitStack() as undo:
            self._start(undo)
            self._undo = undo.pop_all()

    def _start(self, undo: ExitStack) -> None:
        """Start QEMU and bring its PCI bus up; `undo` collects what `close` has to do."""
        options = self.options
        if options.path is not None:
            claimed = _claim(options.path, options.namespaces * options.size_bytes)
            undo.callback(os.close, claimed)
        self._memory = SharedMemory(options.memory_bytes, _FIRST_FREE)
        undo.callback(self._memory.close)
        self._log, self._stderr = memory_file("qemu-log"), memory_file("qemu-stderr")
        undo.callback(os.close, self._log)
        undo.callback(os.close, self._stderr)
        self._eventfds = [
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(options.vectors)
        ]
        for eventfd in self._eventfds:
            undo.callback(os.close, eventfd)
        server, doorbell = socket.socketpair()
        undo.enter_context(server)
        ours, qtest = socket.socketpair()
        monitor, qmp = socket.socketpair()
        self.monitor = Monitor(monitor)
        undo.callback(self.monitor.close)
        with ours, qtest, qmp, doorbell:
            ivshmem.greet(server, self._eventfds)
            self._process = self._spawn(qtest, qmp, doorbell)
            undo.callback(self._kill)
            self.port = QtestPort(ours.fileno(), _NVME_BAR0, 4)
            ours.detach()
            undo.callback(self.port.close)
        self._enable_bus()
        self._enable_function()
        self._await_doorbell()
        stride = 4 << decode(CAP, self.read64(Register.CAP)).dstrd
        if stride != 4:
            raise TransportError(f"QEMU has a doorbell stride of {stride} bytes, 4 expected")

    def _spawn(
        self, qtest: socket.socket, qmp: socket.socket, doorbell: socket.socket
    ) -> subprocess.Popen[bytes]:
        rom = memory_file("scsi2nvme-rom", ROM, ROM_BYTES)
        sockets = {"qtest": qtest.fileno(), "qmp": qmp.fileno(), "doorbell": doorbell.fileno()}
        arguments = command_line(self.options, rom, self._memory.fd, self._log, sockets)
        try:
            # Own session: an interrupt from the terminal is for us, not for the disk.
            return subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
                pass_fds=[rom, self._memory.fd, self._log, *sockets.values()],
            )
        finally:
            os.close(rom)

    def _enable_bus(self) -> None:
        """Map the extended configuration space."""
        for offset, value in ((_PCIEXBAR + 4, 0), (_PCIEXBAR, _ECAM | 1)):
            self._command(f"outl {_CONFIG_ADDRESS:#x} {1 << 31 | offset:#x}")
            self._command(f"outl {_CONFIG_DATA:#x} {value:#x}")
        doorbell = ConfigurationSpace(self, _ECAM, DOORBELL_DEVICE)
        doorbell.set_bar(0, _DOORBELL_BAR0)
        doorbell.enable()
        self.function = ConfigurationSpace(self, _ECAM, NVME_DEVICE)
        self.pci_id = self.function.identity

    def _enable_function(self) -> None:
        """Give the controller its address and its interrupts: at the start, and after a reset."""
        self.function.set_bar(0, _NVME_BAR0)
        self.function.enable()
        self.function.enable_msix(
            {0: _NVME_BAR0},
            [
                MsixEntry(_DOORBELL_BAR0 + ivshmem.DOORBELL, ivshmem.message_data(vector))
                for vector in range(self.vectors)
            ],
        )

    def _await_doorbell(self) -> None:
        """Wait until the doorbell device has met every one of our eventfds."""
        if not self.vectors:
            return
        last = self.vectors - 1
        line = f"writel {_DOORBELL_BAR0 + ivshmem.DOORBELL:#x} {ivshmem.message_data(last):#x}"
        poll = select.poll()
        poll.register(self._eventfds[last], select.POLLIN)
        for _ in range(_CONNECT_TIMEOUT_MS):
            self._command(line)
            if poll.poll(1):
                os.eventfd_read(self._eventfds[last])
                return
        raise TransportError(f"{self.name}: no interrupt arrives")

    # ---- memory space ----

    def _command(self, line: str) -> int:
        if not self._open:
            raise TransportError(f"{self.name} is closed")
        try:
            return self.port.command(line)
        except OSError as error:
            raise TransportError(f"{self.name}: {self._last_words() or error}") from error

    def read_memory(self, address: int, width: int) -> int:
        """Read 1, 2, 4 or 8 bytes at a guest physical address."""
        return self._command(f"read{_SUFFIX[width]} {address:#x}")

    def write_memory(self, address: int, width: int, value: int) -> None:
        """Write 1, 2, 4 or 8 bytes at a guest physical address."""
        self._command(f"write{_SUFFIX[width]} {address:#x} {value:#x}")

    # ---- Transport ----

    def read32(self, offset: int) -> int:
        """Read a 32-bit register; all ones when the controller is gone."""
        try:
            return self.read_memory(_NVME_BAR0 + offset, 4)
        except TransportError:
            return ALL_ONES_32

    def read64(self, offset: int) -> int:
        """Read a 64-bit register; all ones when the controller is gone."""
        try:
            return self.read_memory(_NVME_BAR0 + offset, 8)
        except TransportError:
            return ALL_ONES_64

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register."""
        self.write_memory(_NVME_BAR0 + offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        """Write a 64-bit register."""
        self.write_memory(_NVME_BAR0 + offset, 8, value)

    def allocate(self, length: int) -> Region:
        """Return zeroed DMA memory, page aligned, that lives until `close`."""
        return self._memory.allocate(length)

    def window(self, length: int) -> Window | None:
        """Return None: only memory from `allocate` can be reached."""
        return None

    def rearm(self) -> None:
        """Its interrupts come again by themselves."""

    def steer(self, cpus: Mapping[int, int]) -> None:
        """Its eventfds are signalled by a thread, which runs where it likes."""

    def interrupt(self, vector: int) -> int:
        """Return the eventfd that `vector` signals."""
        return self._eventfds[vector]

    async def reset(self) -> None:
        """Reset the function (FLR), and restore its PCI configuration."""
        self.function.function_level_reset()
        self._enable_function()

    def cut_off(self) -> None:
        """Have the function master the bus no more."""
        with suppress(TransportError):  # a process that has ended masters nothing
            self.function.end_mastering()

    async def let_go(self) -> None:
        """End QEMU: registers read all ones from now on."""
        self._kill()

    async def take_back(self) -> bool:
        """A process that has ended does not come back."""
        return False

    def give_up(self) -> None:
        """See Transport: an image must have been there before."""

    def close(self) -> None:
        """End QEMU; its queue pairs must be closed already."""
        if self._open:
            self._guest_errors = self.guest_errors()
            self._open = False
            self._undo.close()

    # ---- the process ----

    @property
    def pid(self) -> int:
        """The process that emulates."""
        return self._process.pid

    def guest_errors(self) -> str:
        """Return what QEMU holds against the driver: nothing, if that is correct."""
        return _contents(self._log) if self._open else self._guest_errors

    def _last_words(self) -> str:
        return _contents(self._stderr).strip().replace("\n", "; ")

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


_SUFFIX = {1: "b", 2: "w", 4: "l", 8: "q"}


def _contents(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")


def _claim(path: Path, size: int) -> int:
    """Make a file of at least `size` bytes, lock it, and return its descriptor."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TransportError(f"{path}: {error.strerror}") from error
    try:
        # QEMU's own lock lets its namespaces share the file, and so others.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_size < size:
            os.truncate(fd, size)
    except OSError as error:
        os.close(fd)
        in_use = isinstance(error, BlockingIOError)
        reason = "in use by another process" if in_use else error.strerror
        raise TransportError(f"{path}: {reason}") from error
    return fd
