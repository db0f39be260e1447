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

    def move(self, key: str, to: str) -> None:
        """Make what was saved under `key` that of `to`, durably; OSError if it cannot."""


def load_as(store: Store, key: str, former: str) -> Mapping[str, Any] | None:
    """Return what is saved under `key`.

    What an earlier version saved under `former`, "" for nothing, becomes it first: so it
    is found by one disk only, even if two go by that key.
    """
    value = store.load(key)
    if value is None and former and store.load(former) is not None:
        store.move(former, key)
        value = store.load(key)
    return value


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

    def move(self, key: str, to: str) -> None:
        """See Store."""
        self.values[to] = self.values.pop(key)
