"""How long things may take."""

from __future__ import annotations

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.records import dataclass

_SLOW_S = 300.0
_SLOW = {Opcode.FLUSH, Opcode.WRITE_ZEROES, Opcode.DATASET_MANAGEMENT, Opcode.COPY}
_SLOW_ADMIN: dict[int, float] = {
    AdminOpcode.NAMESPACE_MANAGEMENT: _SLOW_S,
    AdminOpcode.FIRMWARE_COMMIT: _SLOW_S,
    AdminOpcode.SECURITY_SEND: _SLOW_S,
    AdminOpcode.SECURITY_RECEIVE: _SLOW_S,
    AdminOpcode.FORMAT_NVM: 24 * 3600.0,  # some format before they answer
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A command's own `timeout_s` goes before these."""

    io_s: float = 30.0
    admin_s: float = 60.0
    grace_s: float = 5.0  # of an aborted command, before the controller is reset
    watch_s: float = 5.0  # how often CSTS is looked at; an idle daemon wakes for nothing else

    def of(self, command: NvmeCommand) -> float:
        """Return how long a command may take."""
        if command.timeout_s is not None:
            return command.timeout_s
        if command.admin:
            return max(self.admin_s, _SLOW_ADMIN.get(command.opcode, 0.0))
        return max(self.io_s, _SLOW_S) if command.opcode in _SLOW else self.io_s
