"""A namespace that several hosts share, which keeps reservations: for models of its controllers."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.drivers.emulated.model import CommandFailed
from scsi2nvme.drivers.emulated.reservations import DENY_READ, DENY_WRITE, Reservation
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.reservations import (
    ACQUIRE_DATA,
    IGNORE_KEY,
    REGISTER_DATA,
    REGISTERED_CONTROLLER,
    REGISTERED_CONTROLLER_EXTENDED,
    RELEASE_DATA,
    RESERVATION_STATUS,
)
from scsi2nvme.nvme.status import StatusCode
from tests.model_controller import ModelController, StatusError

Handler = Callable[[NvmeCommand], bytes | Completion | None]
_READS = (Opcode.READ, Opcode.COMPARE, Opcode.VERIFY)
_WRITES = (Opcode.WRITE, Opcode.FLUSH, Opcode.WRITE_ZEROES, Opcode.DATASET_MANAGEMENT)


class SharedDisk:
    """What all hosts see; `join` makes a model one host's controller."""

    def __init__(self) -> None:
        self.reservation = Reservation()

    def join(self, model: ModelController, host: bytes) -> None:
        """Have a model of a controller know this host, and stop what it may not do."""
        name, one = host.hex(), self.reservation
        for opcodes, access in ((_READS, DENY_READ), (_WRITES, DENY_WRITE)):
            for opcode in opcodes:
                model.io[opcode] = self._stopped(model.io[opcode], name, access)

        def register(command: NvmeCommand) -> None:
            keys, cdw10 = REGISTER_DATA.parse(command.data_out), command.cdw10
            ignore = bool(cdw10 & IGNORE_KEY)
            self._try(lambda: one.register(name, cdw10 & 7, keys.crkey, keys.nrkey, ignore=ignore))
            one.set_ptpl(cdw10 >> 30)

        def acquire(command: NvmeCommand) -> None:
            keys, cdw10 = ACQUIRE_DATA.parse(command.data_out), command.cdw10
            self._try(
                lambda: one.acquire(name, cdw10 & 7, cdw10 >> 8 & 0xFF, keys.crkey, keys.prkey)
            )

        def release(command: NvmeCommand) -> None:
            key, cdw10 = RELEASE_DATA.parse(command.data_out).crkey, command.cdw10
            self._try(lambda: one.release(name, cdw10 & 7, cdw10 >> 8 & 0xFF, key))

        model.io |= {
            Opcode.RESERVATION_REGISTER: register,
            Opcode.RESERVATION_ACQUIRE: acquire,
            Opcode.RESERVATION_RELEASE: release,
            Opcode.RESERVATION_REPORT: self._report,
        }

    def _stopped(self, handler: Handler, host: str, access: int) -> Handler:
        def checked(command: NvmeCommand) -> bytes | Completion | None:
            if self.reservation.denied(host) & access:
                raise StatusError(StatusCode.RESERVATION_CONFLICT)
            return handler(command)

        return checked

    def _try(self, change: Callable[[], None]) -> None:
        try:
            change()
        except CommandFailed as failure:
            raise StatusError(failure.status) from None

    def _report(self, command: NvmeCommand) -> bytes:
        one = self.reservation
        row = REGISTERED_CONTROLLER_EXTENDED if command.cdw11 & 1 else REGISTERED_CONTROLLER
        header = RESERVATION_STATUS.build(
            gen=one.generation, rtype=one.type, regctl=len(one.keys), ptpls=one.ptpl
        ).ljust(row.size, b"\0")
        for number, (host, key) in enumerate(one.keys.items()):
            hostid = int.from_bytes(bytes.fromhex(host), "little")
            header += row.build(cntlid=number, holds=one.holds(host), hostid=hostid, rkey=key)
        length = 4 * (command.cdw10 + 1)
        return header[:length].ljust(length, b"\0")
