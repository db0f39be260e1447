"""An emulated controller that tells what it is told to tell, in whatever can be read of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    IdentifyData,
    LogPage,
    Tables,
)
from scsi2nvme.drivers.emulated.model import CommandFailed
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.fields import Values
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_BYTES

SIZE_BYTES = 1 << 20

Lie = Callable[[bytes], bytes]
_FEATURES = (AdminOpcode.GET_FEATURES, AdminOpcode.SET_FEATURES)


@dataclass(frozen=True)
class Reading:
    """What a register reads from its `after`th reading on: `value`, or with `flipped` bits."""

    offset: int
    after: int
    value: int | None = None
    flipped: int = 0


@dataclass(frozen=True)
class Lies:
    """What is told otherwise. By CNS, by log page, of all features; by register; by opcode."""

    identify: Mapping[int, Lie] = field(default_factory=dict)
    logs: Mapping[int, Lie] = field(default_factory=dict)
    feature: int | None = None  # DW0 of Get Features and Set Features
    registers: Sequence[Reading] = ()
    statuses: Mapping[int, StatusCode] = field(default_factory=dict)


class Liar(EmulatedTransport):
    """The controller. `commands` counts admin commands, `allocated` bytes of DMA memory."""

    def __init__(self, lies: Lies) -> None:
        self.commands = self.allocated = 0
        self._lies = lies
        self._readings: dict[int, int] = {}
        tables = Tables([self._lying(one) for one in TABLES.capabilities])
        super().__init__(
            EmulatedOptions(size_bytes=SIZE_BYTES, namespaces=2, vectors=3, io_queues=4), tables
        )

    def allocate(self, length: int) -> Region:
        """See EmulatedTransport."""
        self.allocated += length
        return super().allocate(length)

    def read32(self, offset: int) -> int:
        """See EmulatedTransport."""
        return self._told(offset, super().read32(offset))

    def read64(self, offset: int) -> int:
        """See EmulatedTransport."""
        return self._told(offset, super().read64(offset))

    def _told(self, offset: int, true: int) -> int:
        count = self._readings[offset] = self._readings.get(offset, 0) + 1
        for lie in self._lies.registers:
            if lie.offset == offset and count > lie.after:
                return (true if lie.value is None else lie.value) ^ lie.flipped
        return true

    # ---- tables ----

    def _lying(self, one: Capability) -> Capability:
        return replace(
            one,
            identify=tuple(self._identify(row) for row in one.identify),
            log_pages=tuple(self._log(row) for row in one.log_pages),
            commands=tuple(self._command(row) for row in one.commands),
        )

    def _identify(self, row: IdentifyData) -> IdentifyData:
        def build(controller: Controller, command: Values) -> bytes:
            true = row.build(controller, command).ljust(IDENTIFY_BYTES, b"\0")
            return self._lies.identify.get(row.cns, bytes)(true)

        return replace(row, build=build)

    def _log(self, row: LogPage) -> LogPage:
        return replace(
            row,
            build=lambda controller: self._lies.logs.get(row.lid, bytes)(row.build(controller)),
        )

    def _command(self, row: AdminCommand) -> AdminCommand:
        def execute(controller: Controller, command: Values) -> int | None:
            self.commands += 1
            if row.opcode in self._lies.statuses:
                raise CommandFailed(self._lies.statuses[row.opcode])
            result = row.execute(controller, command)
            told = self._lies.feature if row.opcode in _FEATURES else None
            return result if told is None or result is None else told

        return replace(row, execute=execute)
