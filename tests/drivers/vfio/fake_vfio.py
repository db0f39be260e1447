"""The kernel's side of VFIO, played by files and a function."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from scsi2nvme.drivers.memory import memory_file
from scsi2nvme.drivers.pci.sysfs import PciFunction
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import IommufdRequest, IrqIndex, RegionIndex, Request
from scsi2nvme.nvme.registers import CAP, Register, encode

BAR_BYTES = 0x4000
CONFIGURATION = 0x10000  # where configuration space lies in the device's file
AnyRequest = Request | IommufdRequest
_REQUESTS: dict[int, AnyRequest] = {int(each): each for each in (*Request, *IommufdRequest)}
_IOAS = 5
LOW, HOLE, HIGH = (0x200000, 0x3FFFFF), (0x400000, 0x7FFFFF), (0x800000, (1 << 39) - 1)


class FakeVfio:
    """Answers requests, which go through `call`; the attributes say how."""

    def __init__(self) -> None:
        self.version = 0
        self.extensions = {abi.TYPE1V2_IOMMU}
        self.viable = True
        self.region_flags = 0x7
        self.fails: dict[AnyRequest, list[int]] = {}  # errnos of the next requests of a kind
        self.vectors = 5
        self.granted = 5  # vectors that the host can give
        self.messages = 0  # of MSI
        self.has_intx = False
        self.unmasked = 0  # how often INTx was
        self.opened: list[str] = []  # names of devices
        self.has_error_interrupt = True
        self.requests: list[AnyRequest] = []
        self.mapped: dict[int, tuple[int, int]] = {}  # by IOVA: vaddr, size
        self.eventfds: dict[int, list[int]] = {}  # by interrupt index
        self.connections: list[tuple[int, int]] = []
        self.device = memory_file("device", size=CONFIGURATION + 4096)
        self.put(Register.CAP, encode(CAP, mqes=63, dstrd=1, css=1))

    def put(self, offset: int, value: int) -> None:
        """Set a 64-bit register."""
        os.pwrite(self.device, value.to_bytes(8, "little"), offset)

    def call(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Take the place of `vfio_abi.call`."""
        request = _REQUESTS[request]
        self.requests.append(request)
        if failures := self.fails.get(request):
            number = failures.pop(0)
            raise OSError(number, os.strerror(number))
        answer = getattr(self, request.name.lower())(argument)
        return int(answer or 0)

    def get_api_version(self, _: int) -> int:
        return self.version

    def check_extension(self, extension: int) -> bool:
        return extension in self.extensions

    def group_get_status(self, buffer: bytearray) -> None:
        abi.GROUP_STATUS.write(buffer, flags=int(self.viable))

    def group_set_container(self, buffer: bytearray) -> None:
        os.fstat(int.from_bytes(buffer, "little"))

    def set_iommu(self, _: int) -> None:
        pass

    def iommu_get_info(self, buffer: bytearray) -> None:
        ranges = b"".join(
            first.to_bytes(8, "little") + last.to_bytes(8, "little") for first, last in (LOW, HIGH)
        )
        other = (9).to_bytes(2, "little") + bytes(2) + (32).to_bytes(4, "little")
        header = abi.IOVA_RANGES.to_bytes(2, "little") + b"\1\0" + bytes(4)
        capabilities = other + header + (2).to_bytes(4, "little") + bytes(4) + ranges
        size = abi.IOMMU_INFO.size + len(capabilities)
        abi.IOMMU_INFO.write(buffer, argsz=size, flags=3, iova_pgsizes=0x1000, cap_offset=24)
        if len(buffer) >= size:
            buffer[24:size] = capabilities

    def iommu_map_dma(self, buffer: bytearray) -> None:
        values = abi.DMA_MAP.parse(buffer)
        assert (values.argsz, values.flags) == (32, 3)
        self.mapped[values.iova] = (values.vaddr, values.size)

    def group_get_device_fd(self, name: bytearray) -> int:
        self.opened.append(name.rstrip(b"\0").decode())
        assert name.startswith(b"0000:01:00.0")
        return os.dup(self.device)

    def device_bind_iommufd(self, buffer: bytearray) -> None:
        values = abi.BIND.parse(buffer)
        assert (values.argsz, values.flags) == (16, 0)
        os.fstat(values.iommufd)

    def ioas_alloc(self, buffer: bytearray) -> None:
        abi.IOAS_ALLOC.write(buffer, out_ioas_id=_IOAS)

    def vfio_ioas(self, buffer: bytearray) -> None:
        assert abi.VFIO_IOAS.parse(buffer).ioas_id == _IOAS

    def device_attach_iommufd_pt(self, buffer: bytearray) -> None:
        assert abi.ATTACH.parse(buffer).pt_id == _IOAS

    def device_get_info(self, buffer: bytearray) -> None:
        abi.DEVICE_INFO.write(buffer, flags=3, num_regions=9, num_irqs=5)

    def device_get_region_info(self, buffer: bytearray) -> None:
        index = abi.REGION_INFO.parse(buffer).index
        if index == RegionIndex.BAR0:
            abi.REGION_INFO.write(buffer, flags=self.region_flags, size=BAR_BYTES, offset=0)
        else:
            assert index == RegionIndex.CONFIGURATION
            abi.REGION_INFO.write(buffer, flags=3, size=4096, offset=CONFIGURATION)

    def device_get_irq_info(self, buffer: bytearray) -> None:
        index = abi.IRQ_INFO.parse(buffer).index
        if index == IrqIndex.ERROR and not self.has_error_interrupt:
            raise OSError(errno.EINVAL, "no such thing")
        counts = {
            IrqIndex.MSIX: self.vectors,
            IrqIndex.MSI: self.messages,
            IrqIndex.INTX: int(self.has_intx),
        }
        count = counts.get(IrqIndex(index), 1)
        abi.IRQ_INFO.write(buffer, flags=9, count=count)

    def device_set_irqs(self, buffer: bytearray) -> int:
        values = abi.IRQ_SET.parse(buffer)
        if values.flags == 0x11:
            assert (values.index, values.start, values.count) == (IrqIndex.INTX, 0, 1)
            self.unmasked += 1
            return 0
        assert values.argsz == len(buffer) == 20 + 4 * values.count
        assert (values.flags, values.start) == (0x24, 0)
        self.connections.append((values.index, values.count))
        if values.index == IrqIndex.MSIX and values.count > self.granted:
            if self.granted == 0:
                raise OSError(errno.ENOSPC, "no vectors")
            return self.granted
        words = [buffer[at : at + 4] for at in range(20, len(buffer), 4)]
        self.eventfds[values.index] = [int.from_bytes(word, "little") for word in words]
        return 0

    def device_reset(self, _: int) -> None:
        os.pwrite(self.device, bytes(2), CONFIGURATION + 4)

    def command(self) -> int:
        """The PCI command register."""
        return int.from_bytes(os.pread(self.device, 2, CONFIGURATION + 4), "little")


def make_nodes(dev: Path) -> None:
    """Make what stands for VFIO's nodes of a group."""
    for name in ("vfio", "7"):
        (dev / "vfio" / name).touch()


def make_cdev(function: PciFunction, device: int) -> None:
    """Make what stands for IOMMUFD's node and that of a device itself, which is a file."""
    dev = function.system.dev
    (function.path / "vfio-dev/vfio3").mkdir(parents=True)
    (dev / "iommu").touch()
    (dev / "vfio/devices").mkdir()
    (dev / "vfio/devices/vfio3").symlink_to(f"/proc/self/fd/{device}")
