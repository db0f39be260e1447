"""Timestamp: milliseconds that the host set, or since 1970. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

import time

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Part
from scsi2nvme.fields import Values

TIMESTAMP_FEATURE = 0x0E
_TIMESTAMP_BYTES = 8
NO_TIMESTAMP = bytes(_TIMESTAMP_BYTES)
_ONCS_TIMESTAMP = 1 << 6
_SET_BY_HOST = 1  # Timestamp Origin


class Timestamp(Part):
    """The time: a controller level reset leaves it."""

    def __init__(self, controller: Controller) -> None:
        self._milliseconds, self._since, self._origin = 0, time.time(), 0

    def get(self) -> bytes:
        """Return the data of Get Features."""
        now = self._milliseconds + int((time.time() - self._since) * 1000)
        return (now & (1 << 48) - 1).to_bytes(6, "little") + bytes([self._origin << 1, 0])

    def set(self, data: bytes) -> None:
        """Take the data of Set Features."""
        self._milliseconds = int.from_bytes(data[:6], "little")
        self._since, self._origin = time.time(), _SET_BY_HOST


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    return 0, controller.part(Timestamp).get()


def _put(controller: Controller, command: Values, data: bytes) -> int:
    controller.part(Timestamp).set(data)
    return 0


CAPABILITY = Capability(
    "Timestamp",
    features=(
        Feature(TIMESTAMP_FEATURE, data_bytes=lambda value: _TIMESTAMP_BYTES, get=_get, put=_put),
    ),
    controller=lambda controller: {"oncs": _ONCS_TIMESTAMP},
    start=Timestamp,
    lackable="timestamp",
)
