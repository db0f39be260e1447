"""Where a logical unit's state goes that must outlive the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


class DamagedState(ValueError):
    """What is saved under `key` makes no sense: to go on without it would break promises."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"saved state {key} is damaged: {reason}")
        self.key = key
        self.reason = reason


class UnsavedState(OSError):
    """State cannot be saved: what was saved stays. The store has told people why."""


class Store(Protocol):
    """Where state goes that must outlive the process. Values are JSON objects."""

    def load(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last saved under `key`."""

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """Save durably: when this returns, a crash does not lose it; UnsavedState if it cannot."""

    def move(self, key: str, to: str) -> None:
        """Make what was saved under `key` that of `to`, durably; OSError if it cannot."""


def load_as(
    store: Store, key: str, former: str, parse: Callable[[Mapping[str, Any]], _T]
) -> _T | None:
    """Return what is saved under `key`, parsed; DamagedState where `parse` raises ValueError.

    What an earlier version saved under `former`, "" for nothing, becomes it first: so it
    is found by one disk only, even if two go by that key.
    """
    value = store.load(key)
    if value is None and former and store.load(former) is not None:
        store.move(former, key)
        value = store.load(key)
    try:
        return None if value is None else parse(value)
    except ValueError as error:
        raise DamagedState(key, str(error)) from error


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
