"""What the machine boots: a root filesystem from Debian packages, and the program's own disk.

`python -m tests.system.image [KERNEL]` builds both under build/system. Each lies in a directory
named after a hash of what it is made of and is built anew only when that changes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.system import program, root
from tests.system.disk import BUILD, BuildError

KERNEL = "linux-image-amd64"
UNUSED_S = 3 * 3600


@dataclass(frozen=True)
class Images:
    """Files to boot from; the kernel and its initial file system go with the root."""

    kernel: Path
    initramfs: Path
    root: Path
    program: Path


def images(kernel: str = KERNEL) -> Images:
    """Return what to boot, built where it is missing. `kernel` is a Debian package."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        system = _cached(kernel, root.key(kernel), lambda path: root.build(path, kernel))
        site = _cached("site", program.site_key(), program.build_site)
        ours = _cached("program", program.key(site), lambda path: program.build(path, site))
    return Images(system / "vmlinuz", system / "initramfs", system / "disk", ours / "disk")


def _cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the directory that `build` filled for this key; what is long unused goes."""
    directory = BUILD / f"{name}.{key}"
    if not directory.exists():
        unfinished = BUILD / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        build(unfinished)
        for old in BUILD.glob(f"{name}.*"):
            if old.stat().st_mtime < time.time() - UNUSED_S:
                shutil.rmtree(old)
        unfinished.rename(directory)
    os.utime(directory)
    return directory


if __name__ == "__main__":
    try:
        print(images(*sys.argv[1:]))
    except BuildError as error:
        sys.exit(str(error))
