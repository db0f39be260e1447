"""Host Identifier, of 64 and of 128 bits. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Part
from scsi2nvme.fields import Values

_BYTES = {0: 8, 1: 16}  # by EXHID
_CTRATT_128_BITS = 1


class HostIdentifier(Part):
    """One of each length, until a reset."""

    def __init__(self, controller: Controller) -> None:
        self.reset()

    def reset(self) -> None:
        """See Part."""
        self.value = {exhid: bytes(length) for exhid, length in _BYTES.items()}


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    return 0, controller.part(HostIdentifier).value[command.cdw11 & 1]


def _put(controller: Controller, command: Values, data: bytes) -> int:
    controller.part(HostIdentifier).value[command.cdw11 & 1] = data
    return 0


CAPABILITY = Capability(
    "Host Identifier",
    features=(Feature(0x81, data_bytes=lambda value: _BYTES[value & 1], get=_get, put=_put),),
    controller=lambda controller: {"ctratt": _CTRATT_128_BITS},
    start=HostIdentifier,
)
