"""Files that must outlive the process: replaced as a whole, on stable storage on return.

After a crash such a file holds what it held before, or what was being written. Nothing is
written through a name that somebody else has put there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

MAXIMUM_BYTES = 1 << 24  # of what is kept so


def replace(path: Path, content: bytes, *, mode: int = 0o600, keep: bool = False) -> None:
    """Make `content` what the file holds, durably; OSError if that fails, and then it is as before.

    `keep`: it has the owner, group and mode of a file that is there, instead of `mode`; its group
    may only read it, and others have no part in it. It is the file that a link leads to.

    It is written to a new file beside it, `*.new`, whose left-over of a crash is removed.
    """
    if keep:
        path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    new = path.with_name(f"{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(new, flags, mode), "wb") as file:
        try:
            if keep and path.exists():
                before = path.stat()
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o740)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    sync_directory(path.parent)


def read(path: Path, most_bytes: int = MAXIMUM_BYTES) -> bytes:
    """Return what a regular file holds; OSError if it is none, or cannot be read.

    ValueError if it is larger than `most_bytes`. Nothing waits for who writes into a pipe.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "is no regular file", str(path))
    with open(fd, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is longer than {most_bytes} bytes")
    return content


def nameless(directory: Path) -> int:
    """Return a descriptor of a file that nobody else sees; OSError if none can be made there."""
    try:
        return os.open(directory, os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
    # The file system has no such files.
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return os.memfd_create("nameless", os.MFD_CLOEXEC)


def sync_directory(path: Path) -> None:
    """Make what was created or renamed in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
