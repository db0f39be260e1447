"""What initiators have written down of a logical unit: the identifying information.

Spec: SPC-4 6.32 and 6.43.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.typed import table
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.store import Store, load_as


class InformationType(IntEnum):
    """IDENTIFYING INFORMATION TYPE, as far as there is something to keep. Spec: SPC-4 6.32.1."""

    DEVICE = 0x00
    TEXT = 0x02  # UTF-8


MAXIMUM_BYTES = {InformationType.DEVICE: 64, InformationType.TEXT: 256}


class IdentifyingInformation:
    """The identifying information of one logical unit, which outlives a restart."""

    def __init__(self, device: BlockDevice, store: Store) -> None:
        """Return to what `store` holds."""
        self._device = device
        self._store = store
        self._values = load_as(store, self._store_key, "", _values) or {}

    @property
    def values(self) -> Mapping[InformationType, bytes]:
        """What was set, by type."""
        return self._values

    def set(self, kind: InformationType, value: bytes) -> None:
        """Save a value, b"" for none; UnsavedState leaves all as it was."""
        values = {**self._values, kind: value}
        self._store.save(self._store_key, {_NAMES[each]: values[each].hex() for each in values})
        self._values = values

    @property
    def _store_key(self) -> str:
        return f"identifying/{self._device.state_key}"


_NAMES = {InformationType.DEVICE: "device", InformationType.TEXT: "text"}


@dataclass(frozen=True)
class _Saved:
    """What `set` writes down, in hexadecimal."""

    device: str = ""
    text: str = ""


def _values(value: Mapping[str, Any]) -> dict[InformationType, bytes]:
    """Return what was saved; ValueError if that is none."""
    saved = table(value, _Saved)
    values = {kind: bytes.fromhex(getattr(saved, name)) for kind, name in _NAMES.items()}
    for kind, each in values.items():
        if len(each) > MAXIMUM_BYTES[kind]:
            raise ValueError(f"{_NAMES[kind]}: is longer than {MAXIMUM_BYTES[kind]} bytes")
    return {kind: each for kind, each in values.items() if each}
