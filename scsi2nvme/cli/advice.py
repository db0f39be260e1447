"""How to come by what this installation lacks, in words that work as they stand."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class Library:
    """A library that only some verbs need: pip's requirement, and Debian's package, if any."""

    requirement: str  # of pip's, as pyproject.toml has it
    debian: str = ""


DBUS_FAST = Library("dbus-fast>=4")
RTSLIB = Library("rtslib-fb>=2.1.75", "python3-rtslib-fb")
SHTAB = Library("shtab>=1.7", "python3-shtab")
PROMETHEUS = Library("prometheus-client>=0.20", "python3-prometheus-client")
CONFIGSHELL = Library("configshell-fb>=1.1.28", "python3-configshell-fb")
HYPOTHESIS = Library("hypothesis>=6.100", "python3-hypothesis")


def install(library: Library) -> str:
    """Return the command that adds a library to the Python that runs us.

    For Debian's own Python, which pip may not touch, that is Debian's package, if there is one.
    """
    import sysconfig

    debian = library.debian
    managed = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    words = [sys.executable, "-m", "pip", "install", library.requirement]
    if managed and sys.prefix == sys.base_prefix:
        # Only who has overridden it before comes here without a package.
        words = ["apt-get", "install", debian] if debian else [*words, "--break-system-packages"]
        writable = os.geteuid() == 0 or not debian
    else:
        writable = os.access(sysconfig.get_path("purelib"), os.W_OK)
    return shlex.join(words if writable else ["sudo", *words])
