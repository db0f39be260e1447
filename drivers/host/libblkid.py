"""What libblkid recognises on a disk or partition, by util-linux's own programs.

It knows many more file systems, volumes and RAID formats than a table of ours could follow.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from scsi2nvme.typed import parse_json

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_SECONDS = 30  # a healthy disk takes milliseconds
_NOTHING, _SEVERAL = 2, 8  # exit statuses of blkid(8)


def types(path: Path) -> list[str]:
    """Return libblkid's names of what is on a block device or file; OSError if it cannot tell."""
    return list(dict.fromkeys(_signatures(path))) or list(_probed(path))


def _signatures(path: Path) -> Iterator[str]:
    """Yield what has a signature, however many there are."""
    done = _run("wipefs", "--no-act", "--json", str(path))
    if done.returncode:
        raise OSError(errno.EIO, f"wipefs: {done.stderr.strip()}", str(path))
    try:
        found = parse_json(done.stdout or "{}")
        yield from (str(row["type"]) for row in found.get("signatures", ()))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OSError(errno.EIO, "wipefs: its answer is not understood", str(path)) from None


def _probed(path: Path) -> Iterator[str]:
    """Yield what is known without a signature."""
    done = _run("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", str(path))
    if done.returncode == _SEVERAL:
        yield "several things at once"
    elif done.returncode == 0 and done.stdout.strip():
        yield done.stdout.strip()
    elif done.returncode not in (0, _NOTHING):
        raise OSError(errno.EIO, f"blkid: {done.stderr.strip()}", str(path))


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise OSError(errno.ENOENT, f"{program} is missing (Debian package util-linux)", program)
    try:
        return subprocess.run(
            [found, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, f"{program} takes too long", program) from None
