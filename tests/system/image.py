"""What the machine boots: a root filesystem from Debian packages, and the program's own disk.

`python -m tests.system.image [KERNEL]` builds both. Each lies in a directory named after a hash of
what it is made of and is built anew only when that changes: the program's disk in build/system,
what takes long to make and is the same in every checkout in the user's cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system import kernel as kernels
from tests.system import program, root
from tests.system.disk import BUILD, BuildError, digest

KERNEL = "linux-image-amd64"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scsi2nvme-tests"
# What is longer unused goes: here, and in the cache, where others may be about to use it.
UNUSED_S, CACHED_S = 3 * 3600, 8 * 24 * 3600


@dataclass(frozen=True)
class Images:
    """Files to boot from; the kernel and its initial file system go with the root."""

    kernel: Path
    initramfs: Path
    root: Path
    program: Path


def images(kernel: str = KERNEL) -> Images:
    """Return what to boot, built where it is missing. `kernel` is a Debian package."""
    with _locked(CACHE):
        # Debian changes: nothing is older than a week.
        week = time.strftime("%G-W%V")
        system = _cached(CACHE, kernel, root.key(kernel, week), lambda to: _build_root(to, kernel))
        recipe = digest(system.name.encode(), Path(kernels.__file__).read_bytes())
        unpacked = _cached(
            CACHE, f"unpacked-{kernel}", recipe, lambda to: kernels.build(to, system / "vmlinuz")
        )
        site = _cached(CACHE, "site", program.site_key(week), program.build_site)
    with _locked(BUILD):
        ours = _cached(BUILD, "program", program.key(site), lambda to: program.build(to, site))
    return Images(unpacked / "vmlinux", system / "initramfs", system / "disk", ours / "disk")


def _build_root(directory: Path, kernel: str) -> None:
    try:
        root.build(directory, kernel)
    except BuildError as error:
        command = ("apt-cache", "show", "--quiet=2", kernel)
        known = subprocess.run(command, capture_output=True, check=False)
        if known.returncode:
            raise BuildError(
                f"{error}\n{kernel}: the host's apt knows no such package; what it has of "
                f"{root.RELEASE}, -security and -backports is where the machine's comes from; "
                "run: apt-get update"
            ) from error
        raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Have a directory, which is made if it is missing, for oneself."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cached(where: Path, name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the directory that `build` filled for this key; what is long unused goes."""
    directory = where / f"{name}.{key}"
    if not directory.exists():
        unfinished = where / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        build(unfinished)
        oldest = time.time() - (CACHED_S if where == CACHE else UNUSED_S)
        for old in where.glob(f"{name}.*"):
            if old.stat().st_mtime < oldest:
                shutil.rmtree(old)
        unfinished.rename(directory)
    os.utime(directory)
    return directory


if __name__ == "__main__":
    try:
        print(images(*sys.argv[1:]))
    except BuildError as error:
        sys.exit(str(error))
