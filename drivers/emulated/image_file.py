"""The file of an emulated disk: opened for use, or by who must leave no trace."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from scsi2nvme import durable


class Purpose(Enum):
    """What for an image is opened."""

    SERVE = "use it, and make it where it is missing"
    INSPECT = "look at what is there, and leave no trace"
    REHEARSE = "see whether SERVE would succeed, and leave no trace"
    REHEARSE_HELD = "the same while somebody has it who will have let go of it by then"


_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_ATTEMPTS = 100  # while others make it, and discard it
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock, where off_t has 64 bits


def opened(path: Path, purpose: Purpose, controller: int = 0) -> tuple[int, bool]:
    """Return a descriptor of an image, locked, and whether it was made just now.

    In a rehearsal it is of another file where one would be made. A `controller` other than 0 shares
    it with others that have numbers of their own. Raises OSError: BlockingIOError if it is in use.
    """
    path = Path(os.path.realpath(path))  # O_EXCL follows no link
    for _ in range(_ATTEMPTS):
        try:
            fd, made = _found_or_made(path, purpose)
        except FileExistsError:
            continue  # another process makes it
        try:
            if purpose is not Purpose.REHEARSE_HELD:
                _lock(fd, controller, for_reading=purpose is Purpose.INSPECT)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is no regular file")
            new = status.st_size == 0
            if purpose is Purpose.INSPECT or (purpose is not Purpose.SERVE and not new):
                return fd, made
            if purpose is not Purpose.SERVE:
                return _substituted(fd, path), False
            if _is_at(fd, path):
                return fd, made
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # who had made it has discarded it
    raise BlockingIOError(errno.EAGAIN, "comes and goes")


def _found_or_made(path: Path, purpose: Purpose) -> tuple[int, bool]:
    try:
        return os.open(path, _FLAGS | _access(purpose)), False
    except FileNotFoundError:
        if purpose is Purpose.INSPECT:
            raise
    if purpose is Purpose.SERVE:
        return os.open(path, _FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
    return durable.nameless(path.parent), False


def _lock(fd: int, controller: int, *, for_reading: bool) -> None:
    """Have an image to oneself, or the number of a controller of it."""
    who = ""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if controller else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if controller:
            who = f"controller {controller} is "
            # Of the open file, as that of flock is. Spec: fcntl(2), open file description locks.
            kind = fcntl.F_RDLCK if for_reading else fcntl.F_WRLCK
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, controller, 1, 0))
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, f"{who}in use by another process") from None


def discard(
    fd: int, path: Path, *beside: Path, was_used: Callable[[], bool] = lambda: False
) -> None:
    """Remove an image that was made just now, with what lies `beside` it, unless it is used.

    `was_used`: another had it meanwhile, who may have written to it. It goes last: another that is
    made in its place has files of its own beside it.
    """
    path = Path(os.path.realpath(path))
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another controller may share it
        if _is_at(fd, path) and not was_used():
            for each in (*beside, path):
                each.unlink(missing_ok=True)


def _access(purpose: Purpose) -> int:
    return os.O_RDONLY if purpose is Purpose.INSPECT else os.O_RDWR


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _substituted(fd: int, path: Path) -> int:
    """Return another file in the place of one, which is closed if that succeeds."""
    substitute = durable.nameless(path.parent)
    os.close(fd)
    return substitute


def reservations_of(path: Path) -> tuple[Path, Path]:
    """Return the files of an image for reservations: what its controllers map, and what lasts."""
    return Path(f"{path}.reservations"), Path(f"{path}.reservations.json")


def may_come(path: Path) -> bool:
    """Whether there is no such file yet, and can be one: not where its name is too long."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ENOENT
    return False
