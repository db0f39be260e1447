"""What the system must know of the daemon: files, and where they go."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import scsi2nvme
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.target.tcmu.lio import SAVED

_BUS = Path("/run/dbus/system_bus_socket")
# Where D-Bus looks before it looks where packages have theirs, tcmu-runner's among them.
ACTIVATION = "usr/local/share/dbus-1/system-services"
ACTIVATED = "org.kernel.TCMUService1.service"
# Where a package of ours has that, as the names below are taken: D-Bus is told by the policy's file
# to look there last, so tcmu-runner's goes before it where that is installed.
PACKAGED_ACTIVATION = "usr/lib/scsi2nvme/dbus-1"
RUNNERS_ACTIVATION = f"usr/share/dbus-1/system-services/{ACTIVATED}"
# Package data, and where it goes.
FILES = {
    "scsi2nvme.service": "etc/systemd/system/scsi2nvme.service",
    "scsi2nvme-absent.service": "etc/systemd/system/scsi2nvme-absent.service",
    "scsi2nvme-dbus.conf": "etc/dbus-1/system.d/scsi2nvme.conf",
    "scsi2nvme-activation.service": f"{ACTIVATION}/{ACTIVATED}",
    "scsi2nvme.rules": "etc/udev/rules.d/60-scsi2nvme.rules",
    "scsi2nvme.tmpfiles": "etc/tmpfiles.d/scsi2nvme.conf",
}
# What lies below /etc when it is an administrator's lies below these when a package brings it.
_PACKAGED = ("usr/lib/", "usr/share/")

# What ProtectHome and PrivateTmp of the unit hide.
HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))

# What systemd and D-Bus read as it is written. Spec: systemd.service(5), Command lines.
_PLAIN = re.compile(r"[\w/.,:+@=-]+")

# Below which the kernel's target keeps things unless rtslib tells it otherwise.
_KERNEL_ROOT = Path("/var/target")


def program() -> str:
    """Return the path of this program, as a unit must name it."""
    found = shutil.which(sys.argv[0])
    if found is None:
        raise OperationError("install-units: cannot tell where this program lies; give --program")
    return str(Path(found).resolve())


def check(program_path: str, root: Path) -> None:
    """See that the unit can start the program; OperationError says where that lies instead."""
    path = Path(program_path)
    if not path.is_absolute():
        raise OperationError(f"install-units: {program_path!r} is no absolute path")
    if not _PLAIN.fullmatch(program_path):
        raise OperationError(
            f"install-units: {program_path!r} has characters that a unit's ExecStart takes for "
            "others; install the program elsewhere, such as by: sudo make install"
        )
    parts = [path, path.resolve()]
    if root == Path("/") and program_path == _own():
        parts += [Path(sys.executable), Path(sys.executable).resolve(), Path(sys.prefix)]
        parts += [Path(sys.base_prefix), Path(scsi2nvme.__file__).resolve()]
    elif root == Path("/"):
        parts += _interpreter(path)
    for part in parts:
        for hidden in HIDDEN:
            if part.is_relative_to(hidden):
                raise OperationError(
                    f"install-units: {part} lies below {hidden}, which the unit hides from the "
                    "daemon; install the program elsewhere, such as by: sudo make install"
                )


def _own() -> str:
    with contextlib.suppress(OperationError):
        return program()
    return ""


def _interpreter(path: Path) -> Iterator[Path]:
    """Yield what a script names behind #!, and where that is."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        line = file.readline(4096)
        if line.startswith(b"#!"):
            interpreter = Path(os.fsdecode(line[2:].split()[0])) if line[2:].split() else path
            yield from (interpreter, interpreter.resolve())


def contents(root: Path, program_path: str) -> Iterator[tuple[str, str]]:
    """Yield where each file goes, below the root directory, and what is in it."""
    values = {
        "@PROGRAM@": program_path,
        "@RESERVATIONS@": "\n".join(_reservations(root)),
        "@IOMMU@": _iommu(root),
    }
    data = resources.files("scsi2nvme.cli.verbs.install_units") / "data"
    for name, place in FILES.items():
        text = (data / name).read_text(encoding="utf-8")
        for word, value in values.items():
            text = text.replace(word, value)
        yield place, text


def _iommu(root: Path) -> str:
    """Return the line that lets the daemon use IOMMUFD, which systemd wants to be there."""
    if (root / "dev/iommu").exists():
        return "DeviceAllow=/dev/iommu rw"
    return "# This machine had no /dev/iommu when the unit was installed."


def _reservations(root: Path) -> Iterator[str]:
    """Yield what makes the directories of reservations; rtslib's choices where they exist.

    One that does not must stay away, since rtslib goes by what there is.
    """
    existing = (path for path in SAVED if (root / path.relative_to("/")).is_dir())
    for path in (_KERNEL_ROOT, *existing):
        yield f"d {path}/pr 0700 root root -"


def packaged(root: Path, place: str) -> Path | None:
    """Return where a package has brought a file of FILES, and is what the system goes by."""
    if place.startswith(ACTIVATION):
        found = (
            [] if (root / RUNNERS_ACTIVATION).exists() else [f"{PACKAGED_ACTIVATION}/{ACTIVATED}"]
        )
    else:
        found = [place.replace("etc/", to, 1) for to in _PACKAGED]
    return next((root / path for path in found if (root / path).exists()), None)


def needed(root: Path, program_path: str) -> Iterator[tuple[str, str]]:
    """Yield of the `contents` what the package that the program is of, if any, has not brought.

    An administrator's files go before a package's, and stay as they are when that is upgraded.
    """
    unit = packaged(root, FILES["scsi2nvme.service"])
    own = unit is not None and f"ExecStart={program_path} " in unit.read_text(encoding="utf-8")
    for place, text in contents(root, program_path):
        if not (own and packaged(root, place)):
            yield place, text


def install(root: Path, program_path: str) -> list[Path]:
    """Write the files that are needed below `root`; returns where they are.

    Others than root read them, D-Bus among these, whatever root lets others see of its files.
    """
    os.umask(0o022)
    written = []
    for place, content in needed(root, program_path):
        path = root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise OperationError(f"install-units: {path}: {error.strerror}") from None
        written.append(path)
    return written


def reload() -> bool:
    """Have systemd read its units and make the directories; False if it does not run here.

    D-Bus is told as well: it does not watch directories that are new. Udev sees for itself.
    """
    if not Path("/run/systemd/system").is_dir():
        return False
    directories = Path(FILES["scsi2nvme.tmpfiles"]).name  # whoever has brought it
    commands = [["systemctl", "daemon-reload"], ["systemd-tmpfiles", "--create", directories]]
    if _BUS.exists():
        commands.append(["systemctl", "reload", "dbus.service"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OperationError(f"install-units: {' '.join(command)}: {done.stderr.strip()}")
    return True
