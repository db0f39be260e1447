"""The systemd unit that binds one disk to vfio-pci at every boot.

It goes by address and serial number both, and refuses as `bind` does: another
disk in that slot, or one that came into use, is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scsi2nvme.drivers.host.binding import BindingError, Kernel
from scsi2nvme.drivers.pci.sysfs import System

_UNIT = """\
[Unit]
Description=Bind the NVMe disk {serial} at {address} to vfio-pci
After=local-fs.target
Before=scsi2nvme.service target.service rtslib-fb-targetctl.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}

[Install]
WantedBy=multi-user.target
"""
_UNITS, _WANTS = "systemd/system", "multi-user.target.wants"


def _places(address: str, system: System) -> tuple[Path, Path]:
    """Return where the unit lies, and the link that has it started."""
    units = system.etc / _UNITS
    name = f"scsi2nvme-bind-{address}.service"
    return units / name, units / _WANTS / name


def _quoted(word: str) -> str:
    """Return a word as systemd's command lines take it."""
    escaped = word.replace("\\", r"\\").replace('"', r"\"").replace("$", "$$")
    return f'"{_plain(escaped)}"'


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def persist(
    address: str, serial: str, command: Sequence[str], system: System, kernel: Kernel
) -> None:
    """Have `command` run at every boot; BindingError if its unit cannot be written."""
    unit, link = _places(address, system)
    line = " ".join(_quoted(word) for word in command)
    kernel.report(f"install {unit}")
    if kernel.dry_run:
        return
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(_UNIT.format(address=address, serial=_plain(serial), command=line))
        if not link.is_symlink():
            link.symlink_to(unit)
    except OSError as error:
        raise BindingError(f"{error.filename}: {error.strerror}") from error
    _reload(system, kernel)


def forget(address: str, system: System, kernel: Kernel) -> None:
    """Bind the disk at boot no longer; BindingError if its unit cannot be removed."""
    unit, link = _places(address, system)
    if not unit.exists() and not link.is_symlink():
        return
    kernel.report(f"remove {unit}")
    if kernel.dry_run:
        return
    try:
        link.unlink(missing_ok=True)
        unit.unlink(missing_ok=True)
    except OSError as error:
        raise BindingError(f"{error.filename}: {error.strerror}") from error
    _reload(system, kernel)


def _reload(system: System, kernel: Kernel) -> None:
    if (system.run / "systemd/system").is_dir():
        kernel.run("systemctl", "daemon-reload")
