"""Where a logical unit's state goes that must outlive the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Store(Protocol):
    """Where state goes that must outlive the process. Values are JSON objects."""

    def load(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last saved under `key`."""

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """Save durably: when this returns, a crash does not lose it; OSError if it cannot."""


class MemoryStore:
    """A Store without durability, for tests and for LUs that need none."""

    def __init__(self) -> None:
        self.values: dict[str, Mapping[str, Any]] = {}

    def load(self, key: str) -> Mapping[str, Any] | None:
        """See Store."""
        return self.values.get(key)

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """See Store."""
        self.values[key] = dict(value)
