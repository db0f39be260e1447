"""State that must outlive the process, as JSON files in the state directory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scsi2nvme.cli.errors import OperationError


class JsonStore:
    """A `scsi2nvme.unit.store.Store` that keeps one file per key.

    A file is replaced as a whole: after a crash it holds what was last saved,
    or what was being saved, never part of it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not directory.is_dir():
            directory.mkdir()
            _sync_directory(directory.parent)

    def _path(self, key: str) -> Path:
        return self.directory / (quote(key, safe="") + ".json")

    def load(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last saved under `key`; OperationError if it is damaged."""
        path = self._path(key)
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OperationError(
                f"saved state {path} is damaged ({error}); move it away to start without it"
            ) from None
        if not isinstance(value, dict):
            raise OperationError(
                f"saved state {path} holds no JSON object; move it away to start without it"
            )
        return value

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """Save durably: file and directory are on stable storage on return."""
        path = self._path(key)
        new = path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync_directory(self.directory)

    def move(self, key: str, to: str) -> None:
        """Rename durably."""
        self._path(key).replace(self._path(to))
        _sync_directory(self.directory)


def _sync_directory(path: Path) -> None:
    """Make what was created or renamed in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
