"""What the system must know of the daemon: files, and where they go."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from scsi2nvme.cli.errors import OperationError

# Package data, and where it goes.
FILES = {
    "scsi2nvme.service": "etc/systemd/system/scsi2nvme.service",
    "scsi2nvme-dbus.conf": "etc/dbus-1/system.d/scsi2nvme.conf",
    "scsi2nvme.rules": "etc/udev/rules.d/60-scsi2nvme.rules",
}


def program() -> str:
    """Return the path of this program, as a unit must name it."""
    found = shutil.which(sys.argv[0])
    if found is None:
        raise OperationError("install-units: cannot tell where this program lies; give --program")
    return str(Path(found).resolve())


def contents(program_path: str) -> Iterator[tuple[str, str]]:
    """Yield where each file goes, below the root directory, and what is in it."""
    data = resources.files("scsi2nvme.cli.verbs.install_units") / "data"
    for name, place in FILES.items():
        yield place, (data / name).read_text(encoding="utf-8").replace("@PROGRAM@", program_path)


def install(root: Path, program_path: str) -> list[Path]:
    """Write the files below `root`; returns where they are."""
    written = []
    for place, content in contents(program_path):
        path = root / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise OperationError(f"install-units: {path}: {error.strerror}") from None
        written.append(path)
    return written


def reload() -> bool:
    """Have systemd read its units anew; False if it does not run this machine.

    D-Bus and udev see for themselves.
    """
    if not Path("/run/systemd/system").is_dir():
        return False
    done = subprocess.run(["systemctl", "daemon-reload"], capture_output=True, text=True)
    if done.returncode:
        raise OperationError(f"install-units: systemctl daemon-reload: {done.stderr.strip()}")
    return True
