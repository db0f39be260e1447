"""The volatile write cache: present, on or off. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Part
from scsi2nvme.drivers.emulated.model import WRITE_CACHE
from scsi2nvme.drivers.scheme import CACHE
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Opcode

_PRESENT = 1
_FLUSH_TAKES_BROADCAST = 3 << 1


class WriteCache(Part):
    """After a reset, what was saved holds."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model

    def reset(self) -> None:
        """See Part."""
        self._model.set_write_cache(self._model.saved_write_cache)


def _apply(controller: Controller, command: Values) -> None:
    controller.model.set_write_cache(bool(command.cdw11 & 1))


CAPABILITY = Capability(
    "volatile write cache",
    io_commands={Opcode.FLUSH: 0},
    features=(
        Feature(
            WRITE_CACHE,
            check=lambda _, value: value & 1,
            apply=_apply,
            saveable=True,
            current=lambda controller, nsid: int(controller.model.write_cache),
            default_of=lambda controller: int(controller.model.default_write_cache),
        ),
    ),
    controller=lambda controller: {"vwc": _PRESENT | _FLUSH_TAKES_BROADCAST},
    options=(CACHE,),
    settings={CACHE.keyword: True},
    start=WriteCache,
)
