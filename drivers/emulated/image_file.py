"""The file of an emulated disk: opened for use, or by who must leave no trace."""

from __future__ import annotations

import fcntl
import os
from enum import Enum
from pathlib import Path

from scsi2nvme import durable


class Purpose(Enum):
    """What for an image is opened."""

    SERVE = "use it, and make it where it is missing"
    INSPECT = "look at what is there, and leave no trace"
    REHEARSE = "see whether SERVE would succeed, and leave no trace"
    REHEARSE_HELD = "the same while somebody has it who will have let go of it by then"


_FLAGS = {
    Purpose.SERVE: os.O_RDWR | os.O_CREAT,
    Purpose.INSPECT: os.O_RDONLY,
    Purpose.REHEARSE: os.O_RDWR,
    Purpose.REHEARSE_HELD: os.O_RDWR,
}


def opened(path: Path, purpose: Purpose, *, shared: bool) -> int:
    """Return a descriptor of an image, locked; in a rehearsal of another file where one is made.

    Raises OSError: BlockingIOError if another process has it, which may be so where it is `shared`.
    """
    try:
        fd = os.open(path, _FLAGS[purpose] | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if purpose is Purpose.INSPECT:
            raise
        return _substitute(path)
    try:
        if purpose is not Purpose.REHEARSE_HELD:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        new = os.fstat(fd).st_size == 0
        if not new or purpose in (Purpose.SERVE, Purpose.INSPECT):
            return fd
        substitute = _substitute(path)
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    return substitute


def _substitute(path: Path) -> int:
    return durable.nameless(Path(os.path.realpath(path)).parent)
