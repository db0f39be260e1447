"""How to come by what this installation lacks, in words that work as they stand."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from pathlib import Path


def install(requirement: str, debian: str = "") -> str:
    """Return the command that adds a requirement of pip's to the Python that runs us.

    `debian` is the package of that, for Debian's own Python, which pip may not touch.
    """
    managed = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    words = [sys.executable, "-m", "pip", "install", requirement]
    if managed and sys.prefix == sys.base_prefix:
        # Only who has overridden it before comes here without a package.
        words = ["apt-get", "install", debian] if debian else [*words, "--break-system-packages"]
        writable = os.geteuid() == 0 or not debian
    else:
        writable = os.access(sysconfig.get_path("purelib"), os.W_OK)
    return shlex.join(words if writable else ["sudo", *words])
