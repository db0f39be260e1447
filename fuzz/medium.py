"""A controller with a medium: what blocks hold, and what has happened to them."""

from __future__ import annotations

from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import DSM_RANGE

LOOKS_AT = frozenset({Opcode.READ, Opcode.COMPARE, Opcode.VERIFY})
_DEALLOCATE = 1 << 2  # CDW11 of Dataset Management
CHANGES = frozenset({Opcode.WRITE, Opcode.WRITE_ZEROES, Opcode.WRITE_UNCORRECTABLE})


def ranges(command: NvmeCommand) -> list[range]:
    """Return the blocks that an I/O command names."""
    if command.opcode in LOOKS_AT | CHANGES:
        return [range(command.slba, command.slba + command.blocks)]
    if command.opcode != Opcode.DATASET_MANAGEMENT:
        return []
    data, size = command.data_out, DSM_RANGE.size
    each = (DSM_RANGE.parse(data[at : at + size]) for at in range(0, len(data), size))
    return [range(one.slba, one.slba + one.nlb) for one in each]


def joined(pieces: list[range]) -> list[range]:
    """Join pieces that follow each other, in their order; empty ones vanish."""
    whole: list[range] = []
    for piece in pieces:
        if whole and piece and whole[-1].stop == piece.start:
            whole[-1] = range(whole[-1].start, piece.stop)
        elif piece:
            whole.append(piece)
    return whole


class Medium:
    """Executes I/O commands on blocks that nobody has written before.

    `numbered`: each block holds its LBA, else zeroes. Command number `fails_at`
    (from 0) ends with `status`.
    """

    def __init__(
        self,
        facts: NamespaceFacts,
        *,
        numbered: bool,
        fails_at: int | None = None,
        status: int = 0,
    ) -> None:
        self.facts = facts
        self.numbered = numbered
        self.looked_at: list[range] = []
        self.changed: list[range] = []
        self.unmapped: list[range] = []
        self.hinted: list[range] = []
        self.written: dict[int, bytes] = {}
        self.failed = False
        self._fails_at, self._status = fails_at, status
        self._count = 0
        self._last_status = 0

    def block(self, lba: int) -> bytes:
        """Return what a block holds."""
        size = self.facts.block_bytes
        fresh = lba.to_bytes(8, "big") * (size // 8) if self.numbered else bytes(size)
        return self.written.get(lba, fresh)

    def blocks(self, lbas: range) -> bytes:
        """Return what some blocks hold."""
        return b"".join(map(self.block, lbas))

    def answer(self, command: NvmeCommand) -> Completion:
        """Execute a command."""
        number, self._count = self._count, self._count + 1
        if command.fuse is Fuse.SECOND and self._last_status:
            return Completion(status=StatusCode.FAILED_FUSED)
        if number == self._fails_at:
            self.failed = not command.admin
            self._last_status = self._status
            return Completion(status=self._status, dnr=True)
        completion = self._execute(command)
        self._last_status = completion.status
        return completion

    def _execute(self, command: NvmeCommand) -> Completion:
        if command.admin:
            return Completion(data=bytes(command.data_in))
        named = ranges(command)
        if command.opcode in LOOKS_AT:
            self.looked_at += named
            held = self.blocks(named[0]) if command.opcode != Opcode.VERIFY else b""
            if command.opcode == Opcode.COMPARE and held != command.data_out:
                return Completion(status=StatusCode.COMPARE_FAILURE, dnr=True)
            return Completion(data=held if command.opcode == Opcode.READ else b"")
        if command.opcode in CHANGES:
            self.changed += named
            size = self.facts.block_bytes
            data = command.data_out or bytes(command.blocks * size)
            for index, lba in enumerate(named[0]):
                self.written[lba] = data[index * size : (index + 1) * size]
        if command.opcode == Opcode.DATASET_MANAGEMENT:
            managed = self.unmapped if command.cdw11 & _DEALLOCATE else self.hinted
            managed += named
        return Completion()
