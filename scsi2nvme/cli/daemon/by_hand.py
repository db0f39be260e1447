"""SCSI commands as people write them, for logical units that are served.

What changes data, or how a logical unit behaves to others, is refused unless it is forced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from scsi2nvme import commands
from scsi2nvme.api import scsi as api
from scsi2nvme.api.passing import DATA_OUT_BYTES
from scsi2nvme.api.scsi import CdbEnded, WhichCdb
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.happenings import tell
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.service import TaskService
from scsi2nvme.service.served_unit import GoneError
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

CDB_BYTES = 260  # at most. Spec: SPC-4 4.2.3
DATA_IN_BYTES = 2 << 20

_log = logging.getLogger(__name__)


class UnitCommands:
    """Answers the methods of `scsi2nvme.api.scsi`; `served` finds a controller by its name."""

    def __init__(self, service: TaskService, served: Callable[[str], Served]) -> None:
        self._service = service
        self._served = served

    def answer(self, answers: Answers) -> None:
        """Have these methods answered."""
        answers.add(api.COMMAND, self._command)

    async def _command(self, which: WhichCdb) -> CdbEnded:
        one = self._served(which.controller)
        cdb, data_out = _bytes("cdb", which.cdb, CDB_BYTES), b""
        if which.data_out:
            data_out = _bytes("data_out", which.data_out, DATA_OUT_BYTES)
        if data_out and which.data_in:
            raise UsageError("data_in and data_out: a command moves data one way")
        lu, row = _unit(one, which.nsid), commands.find(cdb)
        announced = _announced(row, cdb, lu)
        if row is not None and row.data is Data.OUT:
            _check_enough(data_out, announced)
            announced = 0
        expected = len(data_out) or which.data_in or announced
        if not 0 <= expected <= DATA_IN_BYTES:
            raise UsageError(f"data_in: {expected} bytes are not 0 to {DATA_IN_BYTES}")
        if row is not None and not is_harmless(row):
            _check_forced(one, which, row)
        try:
            result = await self._service.run_by_hand(lu, cdb, data_out, expected)
        except GoneError:
            raise OperationError(
                f"namespace {which.nsid} was removed meanwhile; nobody knows whether it was done"
            ) from None
        sense = result.sense.data(lu.mode.descriptor_sense) if result.sense is not None else b""
        return CdbEnded(int(result.status), sense.hex(), result.data_in[:expected].hex())


def _unit(one: Served, nsid: int) -> LogicalUnit:
    lu = one.units.get(nsid)
    if lu is None:
        known = ", ".join(map(str, sorted(one.units))) or "none"
        raise OperationError(f"namespace {nsid} is no logical unit here; those are: {known}")
    return lu


def _check_enough(data_out: bytes, announced: int) -> None:
    """An initiator may send less, and is told by a residual count that this was all."""
    if len(data_out) < announced:
        told = f"the CDB announces {announced} bytes" + (
            f", and at most {DATA_OUT_BYTES} can be sent" if announced > DATA_OUT_BYTES else ""
        )
        raise UsageError(f"data_out: {told}; there are {len(data_out)}")


def _check_forced(one: Served, which: WhichCdb, row: Command) -> None:
    if not which.force:
        raise OperationError(
            f"{row.name} changes data, or what other initiators meet; --force sends it all the same"
        )
    spec = one.settings.spec.text
    told = ("controller %s: namespace %d: %s is forced", spec, which.nsid, row.name)
    tell(_log, logging.WARNING, "command-forced", *told, controller=spec)


def is_harmless(row: Command) -> bool:
    """Whether a command changes neither data nor what others meet.

    A parameter list leaves something behind, as a token that others may use: data that are sent
    for nothing but to be compared are blocks.
    """
    if row.modifies_medium or row.exclusive or row.leaves_something:
        return False
    if row.data is Data.OUT and row.transfer is Transfer.BYTES:
        return False
    reads = row.access in (Access.ALWAYS, Access.READ)
    return row.data is Data.IN or row.hot is Hot.FLUSH or (reads and not row.third_party)


def _announced(row: Command | None, cdb: bytes, lu: LogicalUnit) -> int:
    """Return how many bytes a CDB says that it moves."""
    if row is None or row.data is Data.NONE or len(cdb) < row.length:
        return 0
    values = row.structure.parse(cdb)
    moved = lu.facts.moves_protection and bool(values.get(row.protect_field, 0))
    return row.data_bytes(values, lu.block_bytes + moved * TUPLE_BYTES)


def _bytes(name: str, text: str, most: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{name}: not bytes in hexadecimal, two digits each") from None
    if not 0 < len(found) <= most:
        raise UsageError(f"{name}: {len(found)} bytes are not 1 to {most}")
    return found
