"""Host Identifier, of 64 and of 128 bits. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Part
from scsi2nvme.drivers.emulated.model import CommandFailed
from scsi2nvme.fields import Values

_BYTES = {0: 8, 1: 16}  # by EXHID
_CTRATT_128_BITS = 1


class HostIdentifier(Part):
    """One of each length, until a reset. `exhid` is the length that was set last.

    `changed` is called when the host has become another.
    """

    def __init__(self, controller: Controller) -> None:
        self.changed: Callable[[], None] = lambda: None
        self.reset()

    def reset(self) -> None:
        """See Part."""
        self.value = {exhid: bytes(length) for exhid, length in _BYTES.items()}
        self.exhid = 0
        with suppress(CommandFailed):  # it is told as soon as it can be
            self.changed()

    @property
    def host(self) -> str:
        """Which host it is, "" if it has not said so."""
        value = self.value[self.exhid]
        return value.hex() if any(value) else ""


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    return 0, controller.part(HostIdentifier).value[command.cdw11 & 1]


def _put(controller: Controller, command: Values, data: bytes) -> int:
    part = controller.part(HostIdentifier)
    before = part.exhid, dict(part.value)
    part.exhid = command.cdw11 & 1
    part.value[part.exhid] = data
    try:
        part.changed()
    except CommandFailed:
        part.exhid, part.value = before
        raise
    return 0


CAPABILITY = Capability(
    "Host Identifier",
    features=(Feature(0x81, data_bytes=lambda value: _BYTES[value & 1], get=_get, put=_put),),
    controller=lambda controller: {"ctratt": _CTRATT_128_BITS},
    start=HostIdentifier,
)
