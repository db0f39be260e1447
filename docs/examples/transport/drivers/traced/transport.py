"""Registers that tell who touches them."""

from __future__ import annotations

import logging

from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.nvme.registers import Register

__all__ = ["EmulatedOptions", "TracedTransport"]

_log = logging.getLogger(__name__)
_NAMES = {int(register): register.name for register in Register}


def _tell(verb: str, offset: int, value: int) -> None:
    _log.info("%s %s %#x", verb, _NAMES.get(offset, hex(offset)), value)


class TracedTransport(EmulatedTransport):
    """A Transport. What is not a register is the emulated controller's affair."""

    def read32(self, offset: int) -> int:
        """Read a 32-bit register; all ones when the controller is gone."""
        value = super().read32(offset)
        _tell("read", offset, value)
        return value

    def read64(self, offset: int) -> int:
        """Read a 64-bit register."""
        value = super().read64(offset)
        _tell("read", offset, value)
        return value

    def write32(self, offset: int, value: int) -> None:
        """Write a 32-bit register."""
        _tell("write", offset, value)
        super().write32(offset, value)
