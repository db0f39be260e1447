"""The file of an emulated disk: opened for use, or by who must leave no trace."""

from __future__ import annotations

import fcntl
import os
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


def opened(path: Path, purpose: Purpose, *, shared: bool) -> tuple[int, bool]:
    """Return a descriptor of an image, locked, and whether it was made just now.

    In a rehearsal it is of another file where one would be made. Raises OSError: BlockingIOError
    if another process has it, which may be so where it is `shared`.
    """
    path = Path(os.path.realpath(path))  # O_EXCL follows no link
    while True:
        try:
            fd, made = os.open(path, _FLAGS | _access(purpose)), False
        except FileNotFoundError:
            if purpose is Purpose.INSPECT:
                raise
            if purpose is not Purpose.SERVE:
                return _substitute(path), False
            try:
                fd, made = os.open(path, _FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
            except FileExistsError:
                continue  # another process makes it
        try:
            if purpose is not Purpose.REHEARSE_HELD:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if purpose is Purpose.SERVE and not _is_at(fd, path):
                os.close(fd)
                continue  # who had made it has discarded it
            new = os.fstat(fd).st_size == 0
            if not new or purpose in (Purpose.SERVE, Purpose.INSPECT):
                return fd, made
            substitute = _substitute(path)
        except OSError:
            os.close(fd)
            raise
        os.close(fd)
        return substitute, False


def discard(fd: int, path: Path, *beside: Path) -> None:
    """Remove an image that was made just now, with what lies `beside` it, unless it is used."""
    path = Path(os.path.realpath(path))
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another controller may share it
        if _is_at(fd, path):
            path.unlink()
            for each in beside:
                each.unlink(missing_ok=True)


def _access(purpose: Purpose) -> int:
    return os.O_RDONLY if purpose is Purpose.INSPECT else os.O_RDWR


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _substitute(path: Path) -> int:
    return durable.nameless(path.parent)


def reservations_of(path: Path) -> tuple[Path, Path]:
    """Return the files of an image for reservations: what its controllers map, and what lasts."""
    return Path(f"{path}.reservations"), Path(f"{path}.reservations.json")
