"""Which namespace each device was created for, over restarts: configured is but a number."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from scsi2nvme.target.tcmu.device_config import ConfigError
from scsi2nvme.target.tcmu.uio import UioDevice
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import Store, UnsavedState, load_as

KEY = "devices"
OTHER = "its namespace is another; remove it, and create it again"

_IDENTIFIERS = ("uuid", "nguid", "eui64")


def identity(lu: LogicalUnit) -> dict[str, str]:
    """Return what tells a namespace from others: where nothing else does, the disk it is on."""
    facts = lu.facts_as_read
    found = {name: value.hex() for name in _IDENTIFIERS if (value := getattr(facts, name))}
    return found or {"serial": facts.controller.bytes("sn").hex()}


def _record(uio: UioDevice, lu: LogicalUnit) -> dict[str, str]:
    return {"config": uio.config, **identity(lu)}


def _parse(value: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    for label, one in value.items():
        if not isinstance(one, dict) or not all(isinstance(each, str) for each in one.values()):
            raise ValueError(f"{label}: is no device")
    return {label: dict(one) for label, one in value.items()}


class NamespacesOf:
    """What is known of devices, by their labels: configurations, and identities of namespaces.

    DamagedState, or what `store` raises, where that makes no sense.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = load_as(store, KEY, "", _parse) or {}

    def check(self, uio: UioDevice, lu: LogicalUnit) -> None:
        """See that a device from before finds the namespace that it was created for."""
        known, now = self._known.get(uio.label), _record(uio, lu)
        if known is not None and known.get("config") == uio.config and known != now:
            raise ConfigError(OTHER)

    def keep(self, uio: UioDevice, lu: LogicalUnit) -> None:
        """This is the namespace of a device; UnsavedState where that cannot be kept."""
        now = _record(uio, lu)
        if self._known.get(uio.label) != now:
            self._save({**self._known, uio.label: now})

    def forget(self, label: str) -> None:
        """A device is removed."""
        if label in self._known:
            with suppress(UnsavedState):  # which was told: one that is made anew is kept anew
                self._save({key: one for key, one in self._known.items() if key != label})

    def _save(self, known: dict[str, dict[str, str]]) -> None:
        self._store.save(KEY, known)
        self._known = known
