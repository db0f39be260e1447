"""The emulated controller's admin queue: fetch, execute, complete, interrupt.

What commands there are is not known here. Spec: NVMe Base 2.0c 3.3 (queues).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from scsi2nvme.drivers.emulated.capability import Done, Misfortune, P, Part, Tables
from scsi2nvme.drivers.emulated.memory import DmaMemory, UnmappedError
from scsi2nvme.drivers.emulated.model import (
    INVALID_DOORBELL_VALUE,
    CommandFailed,
    Model,
    invalid_field,
)
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import CQE, CQE_BYTES, SQE, SQE_BYTES

_log = logging.getLogger(__name__)

Interrupt = Callable[[int], int]  # vector: its eventfd
Signal = Callable[[int], None]


class AdminQueue:
    """The admin queue pair, seen from the controller: what capabilities see as Controller.

    `interrupt` returns a vector's eventfd, `signal` raises it. `settings` are those of the
    capabilities, complete.
    """

    def __init__(
        self,
        model: Model,
        memory: DmaMemory,
        tables: Tables,
        settings: Mapping[str, Any],
        *,
        interrupt: Interrupt,
        signal: Signal,
        io_queues: int,
        vectors: int,
    ) -> None:
        self.model = model
        self.tables = tables
        self.settings = settings
        self.vectors = vectors
        self.io_queues = io_queues
        self.interrupt = interrupt
        self.enabled = False
        self._memory = memory
        self._emulator = model.emulator
        self._signal = signal
        self._generation = 0
        self._parts: dict[type[Part], Part] = {}
        try:
            for capability in tables.capabilities:
                part = capability.start(self)
                if part is not None:
                    self._parts[type(part)] = part
            self.disable()
        except BaseException:
            self.give_up()
            self.close()
            raise

    def part(self, kind: type[P]) -> P:
        """Return what a capability keeps, by its class."""
        part = self._parts[kind]
        assert isinstance(part, kind)
        return part

    def part_if_any(self, kind: type[P]) -> P | None:
        """The same, None where the controller lacks the capability."""
        return self.part(kind) if kind in self._parts else None

    # ---- life ----

    def enable(self, sq_iova: int, sq_depth: int, cq_iova: int, cq_depth: int) -> None:
        """Begin with empty rings; UnmappedError if they lie in no DMA memory."""
        self._memory.locate(sq_iova, sq_depth * SQE_BYTES)
        self._memory.locate(cq_iova, cq_depth * CQE_BYTES)
        self._sq_iova, self._sq_depth = sq_iova, sq_depth
        self._cq_iova, self._cq_depth = cq_iova, cq_depth
        self.enabled = True

    def disable(self) -> None:
        """A controller level reset: queues, requests and settings are forgotten."""
        self.enabled = False
        self._generation += 1
        self._sq_head = self._cq_tail = 0
        self._phase = 1
        self._sq_iova = self._cq_iova = self._sq_depth = self._cq_depth = 0
        self._replies: deque[tuple[Values, int, int]] = deque()
        for part in self._parts.values():
            part.reset()

    def give_up(self) -> None:
        """Undo what opening the controller has made; before `close`."""
        for part in self._parts.values():
            part.give_up()

    def close(self) -> None:
        """End what capabilities have under way."""
        for part in self._parts.values():
            part.close()

    def process(self) -> None:
        """Deal with everything that the doorbells and the I/O side tell."""
        self.model.collect_errors()
        if not self.enabled:
            return
        tail = self._emulator.admin_tail
        if tail >= self._sq_depth:
            self.model.notify(INVALID_DOORBELL_VALUE)
            return
        # A host that takes no completions is not served any further.
        while self._sq_head != tail and len(self._replies) < self._cq_depth:
            self._fetch()
        self.post()

    def _fetch(self) -> None:
        raw = self._memory.read(self._sq_iova + self._sq_head * SQE_BYTES, SQE_BYTES)
        self._sq_head = (self._sq_head + 1) % self._sq_depth
        command = SQE.parse(raw)
        found = (part.misfortune(command) for part in self._parts.values())
        misfortune = next((each for each in found if each is not None), None)
        if misfortune is None:
            self._run(command)
        elif math.isfinite(misfortune.delay_s):
            asyncio.get_running_loop().call_later(
                misfortune.delay_s, self._suffer, command, misfortune, self._generation
            )

    def _suffer(self, command: Values, misfortune: Misfortune, generation: int) -> None:
        if generation != self._generation:
            return  # a reset came before
        if misfortune.status is None:
            self._run(command)
        else:
            self.reply(command, 0, misfortune.status)
        self.post()

    def _run(self, command: Values) -> None:
        try:
            result = self._execute(command)
        except CommandFailed as failure:
            self._fail(command, failure)
        else:
            if result is not None:
                self.reply(command, result)

    def _execute(self, command: Values) -> int | None:
        """Return DW0, or None when the completion comes later."""
        row = self.tables.commands.get(command.opc)
        if row is None:
            raise CommandFailed(StatusCode.INVALID_OPCODE, 0)
        if command.fuse:
            raise invalid_field(1)
        if command.psdt:  # SGLs are not for admin commands
            raise invalid_field(1, 6)
        for part in self._parts.values():
            part.check(command)
        try:
            return row.execute(self, command)
        except UnmappedError:
            raise CommandFailed(StatusCode.DATA_TRANSFER_ERROR, 24, dnr=False) from None
        except (OSError, TransportError) as error:
            _log.error("admin command %#04x: %s", command.opc, error)
            raise CommandFailed(StatusCode.INTERNAL_ERROR, dnr=False) from error

    # ---- completing ----

    def reply(self, command: Values, dw0: int, status: int = 0) -> None:
        """See Controller."""
        self.model.ended(command, status & 0x7FF)
        self._replies.append((command, dw0, status))

    def _fail(self, command: Values, failure: CommandFailed) -> None:
        self.model.log_failed_command(command, failure)
        more = 1
        self.reply(command, 0, failure.status | more << 13 | failure.dnr << 14)

    def later(self, command: Values) -> Done:
        """See Controller."""
        generation = self._generation

        def done(status: StatusCode) -> None:
            if generation != self._generation:
                return  # a reset took the queue away meanwhile
            self.reply(command, 0, status)
            self.post()

        return done

    def post(self) -> None:
        """Post what fits; the rest waits until the host takes completions."""
        for part in self._parts.values():
            part.before_posting()
        posted = False
        while self._replies:
            following = (self._cq_tail + 1) % self._cq_depth
            if following == self._emulator.admin_cq_head % self._cq_depth:
                break
            command, dw0, status = self._replies.popleft()
            entry = CQE.build(
                dw0=dw0,
                sqhd=self._sq_head,
                cid=command.cid,
                p=self._phase,
                sc=status & 0xFF,
                sct=status >> 8 & 7,
                m=status >> 13 & 1,
                dnr=status >> 14 & 1,
            )
            self._memory.write(self._cq_iova + self._cq_tail * CQE_BYTES, entry)
            if following == 0:
                self._phase ^= 1
            self._cq_tail = following
            posted = True
        if posted:
            self._signal(0)

    # ---- data ----

    def _pages(self, command: Values, length: int) -> list[tuple[int, int]]:
        """Return the (address, length) pieces that the PRPs describe."""
        if command.prp1 % 4:
            raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 24)
        first = min(length, PAGE - command.prp1 % PAGE)
        pieces = [(command.prp1, first)]
        length -= first
        if length > PAGE:
            entries = self._list(command.prp2, -(-length // PAGE))
        else:
            entries = [command.prp2] if length else []
        for entry in entries:
            if entry % PAGE:
                raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 32)
            pieces.append((entry, min(length, PAGE)))
            length -= PAGE
        return pieces

    def _list(self, address: int, count: int) -> list[int]:
        entries: list[int] = []
        if address % 8:
            raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 32)
        while len(entries) < count:
            here = (PAGE - address % PAGE) // 8
            wanted = min(count - len(entries), here)
            raw = self._memory.read(address, wanted * 8)
            read = [int.from_bytes(raw[n : n + 8], "little") for n in range(0, len(raw), 8)]
            entries += read
            if len(entries) < count:  # the last one was a pointer to more
                address = entries.pop()
                if address % PAGE:
                    raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 32)
        return entries

    def to_host(self, command: Values, data: bytes) -> None:
        """See Controller."""
        at = 0
        for address, length in self._pages(command, len(data)):
            self._memory.write(address, data[at : at + length])
            at += length

    def from_host(self, command: Values, length: int) -> bytes:
        """See Controller."""
        pieces = self._pages(command, length)
        return b"".join(self._memory.read(address, part) for address, part in pieces)

    def fetch(self, address: int, length: int) -> bytes:
        """See Controller."""
        return self._memory.read(address, length)

    def store(self, address: int, data: bytes) -> None:
        """See Controller."""
        self._memory.write(address, data)
