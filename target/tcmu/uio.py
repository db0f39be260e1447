"""The kernel's user backstore devices, as sysfs and configfs show them.

Spec: the kernel's Documentation/driver-api/uio-howto.rst, <linux/target_core_user.h>.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from scsi2nvme.records import dataclass

_PREFIX = "tcm-user"
# What configfs says where no command without data passes a reservation that it should not.
_NO_RESERVATION = "No SPC-3 Reservation holder"
_EXCLUSIVE_ACCESS = "SPC-3 Reservation Type: Exclusive Access"
# What attributes say of a device that is not there, or that goes while they are read.
_GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class UioDevice:
    """One device: /dev/uioN, and the backstore user_HBA/NAME."""

    number: int
    hba: int
    name: str
    config: str  # SUBTYPE/…, "" if it has none
    map_bytes: int

    @property
    def label(self) -> str:
        """What identifies the backstore to people."""
        return label(self.hba, self.name)


def label(hba: int, name: str) -> str:
    """Return what identifies a backstore to people."""
    return f"user_{hba}/{name}"


def parse_name(text: str) -> tuple[int, str, str] | None:
    """Return HBA, name and configuration of a UIO device's name; None if it is not ours."""
    prefix, _, rest = text.partition("/")
    hba, _, rest = rest.partition("/")
    name, _, config = rest.partition("/")
    if prefix != _PREFIX or not (hba.isascii() and hba.isdigit()) or not name:
        return None
    return int(hba), name, config


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel shows itself; elsewhere in tests."""

    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")

    def devices(self) -> Iterator[UioDevice]:
        """Yield the user backstore's devices."""
        for path in sorted((self.sysfs / "class/uio").glob("uio*")):
            if path.name[3:].isdigit():
                device = self.device(int(path.name[3:]))
                if device is not None:
                    yield device

    def device(self, number: int) -> UioDevice | None:
        """Return /dev/uioN, None if it is not there or no user backstore's."""
        path = self.sysfs / f"class/uio/uio{number}"
        try:
            parts = parse_name((path / "name").read_text().rstrip("\n"))
            size = int((path / "maps/map0/size").read_text(), 16)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return None
        return None if parts is None else UioDevice(number, *parts, size)

    def open(self, device: UioDevice) -> int:
        """Open a device; OSError with EBUSY if another process has it."""
        return os.open(self.dev / f"uio{device.number}", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)

    # Configuration

    def _configfs(self, device: UioDevice, what: str) -> Path:
        core = self.sysfs / "kernel/config/target/core"
        return core / f"user_{device.hba}" / device.name / what

    def attribute(self, device: UioDevice, name: str) -> int:
        """Read a numeric attribute."""
        return int(self._configfs(device, f"attrib/{name}").read_text())

    def set_attribute(self, device: UioDevice, name: str, value: int) -> None:
        """Write one. Those that the kernel asks us about must not be: it would wait for us."""
        self._configfs(device, f"attrib/{name}").write_text(f"{value}\n")

    def write_exclusive(self, device: UioDevice) -> bool:
        """Whether a persistent reservation for exclusive writing is held, or may be.

        Under the others, and under RESERVE, the kernel refuses commands without data itself;
        under these it refuses those that send data only.
        """
        try:
            told = self._configfs(device, "pr/res_pr_type").read_text()
        except OSError:
            return True
        return not told.startswith((_NO_RESERVATION, _EXCLUSIVE_ACCESS))

    def block(self, device: UioDevice, *, blocked: bool) -> None:
        """Have new commands answered with BUSY, or put into the ring."""
        self._configfs(device, "action/block_dev").write_text(f"{blocked:d}\n")

    def reset_ring(self, device: UioDevice) -> None:
        """End all that is in the ring with BUSY, and free its data pages."""
        self._configfs(device, "action/reset_ring").write_text("1\n")

    # The module

    def claim(self) -> int:
        """Be the one scsi2nvme that serves it, until the descriptor is closed.

        OSError: EAGAIN if there is another.
        """
        fd = os.open(self._parameter("block_netlink"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _parameter(self, name: str) -> Path:
        return self.sysfs / "module/target_core_user/parameters" / name

    def data_area_limit_mb(self) -> int:
        """Return how much memory all rings' data may take until the kernel takes some back."""
        return int(self._parameter("global_max_data_area_mb").read_text())

    def block_netlink(self, *, blocked: bool) -> None:
        """Have what waits for our answers fail instead, or wait."""
        self._parameter("block_netlink").write_text(f"{blocked:d}\n")

    def reset_netlink(self) -> None:
        """End what waits for the answers of a daemon that is gone; while blocked."""
        self._parameter("reset_netlink").write_text("1\n")
