"""State that must outlive the process, as JSON files in the state directory."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scsi2nvme import durable
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.typed import parse_json
from scsi2nvme.unit.store import DamagedState, UnsavedState

log = logging.getLogger(__name__)


def own_directory(path: Path) -> None:
    """Make a directory, or check that not everybody may write in it, as OperationError says.

    Who may could put anything in the place of what is kept there.
    """
    try:
        new = not path.exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if new:
            durable.sync_directory(path.parent)
    except FileExistsError:
        pass  # as it is no directory, which is told
    except OSError as error:
        raise _unusable(path, error) from None
    check_directory(path)


def _unusable(path: Path, error: OSError) -> OperationError:
    return OperationError(
        f"state directory {path}: {error.strerror}; choose another with --state-dir"
    )


def check_directory(path: Path) -> None:
    """See that a directory is there, and that not everybody may write in it; OperationError."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unusable(path, error) from None
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(path, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if status.st_mode & stat.S_IWOTH:
        raise OperationError(
            f"state directory {path}: everybody may write in it; choose another with --state-dir, "
            "which is made if it is missing"
        )


class DamagedFile(OperationError, DamagedState):
    """What a file holds makes no sense: one line for people, and a state that some live without."""

    def __init__(self, line: str, key: str, reason: str) -> None:
        Exception.__init__(self, line)
        self.key, self.reason = key, reason


class JsonStore:
    """A `scsi2nvme.unit.store.Store` that keeps one file per key.

    A file is replaced as a whole: after a crash it holds what was last saved,
    or what was being saved, never part of it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        own_directory(directory)

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.directory / (quote(key, safe="") + ".json")

    def damaged(self, key: str, reason: object) -> DamagedFile:
        """Return what to tell if what is saved under `key` makes no sense."""
        line = f"saved state {self.path(key)} is damaged ({reason})"
        return DamagedFile(f"{line}; move it away to start without it", key, str(reason))

    def load(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last saved under `key`; OperationError if it is damaged."""
        try:
            value = parse_json(durable.read(self.path(key)))
        except FileNotFoundError:
            return None
        except OSError as error:
            # It may be sound, and for people to make readable.
            raise OperationError(str(self.damaged(key, error.strerror))) from None
        except ValueError as error:
            raise self.damaged(key, error) from None
        if not isinstance(value, dict):
            raise self.damaged(key, "it is no JSON object")
        return value

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """Save durably: file and directory are on stable storage on return."""
        path = self.path(key)
        content = json.dumps(value, indent=1, sort_keys=True).encode()
        try:
            if len(content) > durable.MAXIMUM_BYTES:  # it could not be loaded
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            durable.replace(path, content)
        except OSError as error:
            unsaved = UnsavedState(f"state {path} cannot be saved: {error.strerror}")
            log.error("%s", unsaved)
            raise unsaved from error

    def move(self, key: str, to: str) -> None:
        """Rename durably; OperationError if that fails."""
        try:
            self.path(key).replace(self.path(to))
            durable.sync_directory(self.directory)
        except OSError as error:
            raise OperationError(
                f"saved state {self.path(key)} cannot be renamed: {error.strerror}"
            ) from None
