"""Whether an initialization pattern was begun to be written to all blocks, and not to the end.

Format NVM ends by itself whatever becomes of us; what we write after it does not. Spec: SBC-3 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.typed import table
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.store import Store, load_as


@dataclass(frozen=True)
class _Saved:
    """What is written down."""

    begun: bool = False


class Initialization:
    """What is known of one logical unit, over restarts. `begun`: and has not ended."""

    def __init__(self, device: BlockDevice, store: Store) -> None:
        """Return to what `store` holds."""
        self._device = device
        self._store = store
        saved = load_as(store, self._store_key, "", _parse)
        self.begun = saved is not None and saved.begun

    def begin(self) -> None:
        """A pattern is to be written; UnsavedState if that cannot be written down."""
        self._save(True)

    def end(self) -> None:
        """It was, or something else has become of all blocks; as `begin`."""
        if self.begun:
            self._save(False)

    def _save(self, begun: bool) -> None:
        self._store.save(self._store_key, {"begun": begun})
        self.begun = begun

    @property
    def _store_key(self) -> str:
        return f"format/{self._device.state_key}"


def _parse(value: Mapping[str, Any]) -> _Saved:
    return table(value, _Saved)
