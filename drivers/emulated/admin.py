"""The emulated controller's admin queue: fetch, execute, complete, interrupt.

Spec: NVMe Base 2.0c 3.3 (queues), 5 (admin commands).
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable

from scsi2nvme.dataplane import Emulator
from scsi2nvme.drivers.emulated import identify as emulated_identify
from scsi2nvme.drivers.emulated import logs as emulated_logs
from scsi2nvme.drivers.emulated.background import Formatter, SelfTest
from scsi2nvme.drivers.emulated.features import EVENT_CONFIGURATION, Features
from scsi2nvme.drivers.emulated.identify import ASYNC_EVENT_REQUESTS
from scsi2nvme.drivers.emulated.memory import DmaMemory, UnmappedError
from scsi2nvme.drivers.emulated.model import (
    INVALID_DOORBELL_VALUE,
    CommandFailed,
    Event,
    Model,
    invalid_field,
)
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import CQE, CQE_BYTES, SQE, SQE_BYTES

_log = logging.getLogger(__name__)

MQES = 4095
_NOT_FOUND = 1  # DW0 of Abort: the command was not aborted

Interrupt = Callable[[int], int]  # vector: its eventfd
Signal = Callable[[int], None]


class AdminQueue:
    """The admin queue pair, seen from the controller. `signal` raises a vector's interrupt."""

    def __init__(
        self,
        model: Model,
        memory: DmaMemory,
        interrupt: Interrupt,
        signal: Signal,
        io_queues: int,
        vectors: int,
        formatter: Formatter,
        self_test: SelfTest,
    ) -> None:
        self.model = model
        self.memory = memory
        self.vectors = vectors
        self._io_queues = io_queues
        self.self_test = self_test
        self.features = Features(model, self)
        self._emulator: Emulator = model.emulator
        self._interrupt = interrupt
        self._signal = signal
        self._formatter = formatter
        self._handlers: dict[int, Callable[[Values], int | None]] = {
            AdminOpcode.DELETE_SQ: self._delete_sq,
            AdminOpcode.CREATE_SQ: self._create_sq,
            AdminOpcode.GET_LOG_PAGE: self._get_log_page,
            AdminOpcode.DELETE_CQ: self._delete_cq,
            AdminOpcode.CREATE_CQ: self._create_cq,
            AdminOpcode.IDENTIFY: self._identify,
            AdminOpcode.ABORT: self._abort,
            AdminOpcode.SET_FEATURES: self._set_features,
            AdminOpcode.GET_FEATURES: self._get_features,
            AdminOpcode.ASYNC_EVENT_REQUEST: self._async_event_request,
            AdminOpcode.DEVICE_SELF_TEST: self._device_self_test,
            AdminOpcode.FORMAT_NVM: self._format_nvm,
        }
        model.notify = self._notify
        self._generation = 0
        self.disable()

    # ---- life ----

    def enable(self, sq_iova: int, sq_depth: int, cq_iova: int, cq_depth: int) -> None:
        """Begin with empty rings; UnmappedError if they lie in no DMA memory."""
        self.memory.locate(sq_iova, sq_depth * SQE_BYTES)
        self.memory.locate(cq_iova, cq_depth * CQE_BYTES)
        self._sq_iova, self._sq_depth = sq_iova, sq_depth
        self._cq_iova, self._cq_depth = cq_iova, cq_depth
        self._enabled = True

    def disable(self) -> None:
        """A controller level reset: queues, requests and settings are forgotten."""
        self._enabled = False
        self._generation += 1
        self._sq_head = self._cq_tail = 0
        self._phase = 1
        self._sq_iova = self._cq_iova = self._sq_depth = self._cq_depth = 0
        self._granted: int | None = None
        self._cqs: set[int] = set()
        self._sqs: dict[int, int] = {}  # SQID: CQID
        self._replies: deque[tuple[Values, int, int]] = deque()
        self._requests: deque[Values] = deque()
        self._events: deque[Event] = deque()
        self._masked: set[int] = set()  # event types whose log was not read yet
        self.self_test.reset()
        self.features.reset()

    def process(self) -> None:
        """Deal with everything that the doorbells and the I/O side tell."""
        self.model.collect_errors()
        if not self._enabled:
            return
        tail = self._emulator.admin_tail
        if tail >= self._sq_depth:
            self._notify(INVALID_DOORBELL_VALUE)
            return
        # A host that takes no completions is not served any further.
        while self._sq_head != tail and len(self._replies) < self._cq_depth:
            self._fetch()
        self._post()

    def _fetch(self) -> None:
        raw = self.memory.read(self._sq_iova + self._sq_head * SQE_BYTES, SQE_BYTES)
        self._sq_head = (self._sq_head + 1) % self._sq_depth
        command = SQE.parse(raw)
        try:
            result = self._execute(command)
        except CommandFailed as failure:
            self._fail(command, failure)
        else:
            if result is not None:
                self._reply(command, result)

    def _execute(self, command: Values) -> int | None:
        """Return DW0, or None when the completion comes later."""
        handler = self._handlers.get(command.opc)
        if handler is None:
            raise CommandFailed(StatusCode.INVALID_OPCODE, 0)
        if command.fuse:
            raise invalid_field(1)
        if command.psdt:  # SGLs are not for admin commands
            raise invalid_field(1, 6)
        try:
            return handler(command)
        except UnmappedError:
            raise CommandFailed(StatusCode.DATA_TRANSFER_ERROR, 24, dnr=False) from None
        except (OSError, TransportError) as error:
            _log.error("admin command %#04x: %s", command.opc, error)
            raise CommandFailed(StatusCode.INTERNAL_ERROR, dnr=False) from error

    # ---- completing ----

    def _reply(self, command: Values, dw0: int, status: int = 0) -> None:
        self._replies.append((command, dw0, status))

    def _fail(self, command: Values, failure: CommandFailed) -> None:
        self.model.log_failed_command(command, failure)
        more = 1
        self._reply(command, 0, failure.status | more << 13 | failure.dnr << 14)

    def _post(self) -> None:
        """Post what fits; the rest waits until the host takes completions."""
        self._pair_events()
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
            self.memory.write(self._cq_iova + self._cq_tail * CQE_BYTES, entry)
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
            raw = self.memory.read(address, wanted * 8)
            read = [int.from_bytes(raw[n : n + 8], "little") for n in range(0, len(raw), 8)]
            entries += read
            if len(entries) < count:  # the last one was a pointer to more
                address = entries.pop()
                if address % PAGE:
                    raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 32)
        return entries

    def _to_host(self, command: Values, data: bytes) -> None:
        at = 0
        for address, length in self._pages(command, len(data)):
            self.memory.write(address, data[at : at + length])
            at += length

    def _from_host(self, command: Values, length: int) -> bytes:
        pieces = self._pages(command, length)
        return b"".join(self.memory.read(address, part) for address, part in pieces)

    # ---- queues ----

    def granted_queues(self) -> int:
        """Return DW0 of Number of Queues: both counts, 0's based."""
        granted = self._io_queues - 1 if self._granted is None else self._granted
        return granted | granted << 16

    def set_number_of_queues(self, cdw11: int) -> int:
        """Carry out Set Features, Number of Queues."""
        if self._cqs or self._sqs:
            raise CommandFailed(StatusCode.COMMAND_SEQUENCE_ERROR)
        wanted = cdw11 & 0xFFFF, cdw11 >> 16
        if 0xFFFF in wanted:
            raise invalid_field(44)
        self._granted = min(max(wanted), self._io_queues - 1)
        return self.granted_queues()

    def _check_queue(self, command: Values, taken: bool) -> tuple[int, int]:
        qid, size = command.cdw10 & 0xFFFF, command.cdw10 >> 16
        if qid == 0 or qid > (self.granted_queues() & 0xFFFF) + 1 or taken:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        if not 0 < size <= MQES:
            raise CommandFailed(StatusCode.INVALID_QUEUE_SIZE, 42)
        if not command.cdw11 & 1:  # CAP.CQR
            raise invalid_field(44)
        if command.prp1 % PAGE:
            raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 24)
        return qid, size + 1

    def _native(self, create: Callable[[], None]) -> None:
        try:
            create()
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise UnmappedError(str(error)) from error
            raise

    def _create_cq(self, command: Values) -> int:
        qid, depth = self._check_queue(command, command.cdw10 & 0xFFFF in self._cqs)
        vector = command.cdw11 >> 16
        if vector >= self.vectors:
            raise CommandFailed(StatusCode.INVALID_INTERRUPT_VECTOR, 46)
        eventfd = self._interrupt(vector) if command.cdw11 >> 1 & 1 else -1
        self._native(lambda: self._emulator.create_cq(qid, command.prp1, depth, eventfd))
        self._cqs.add(qid)
        return 0

    def _create_sq(self, command: Values) -> int:
        qid, depth = self._check_queue(command, command.cdw10 & 0xFFFF in self._sqs)
        cqid = command.cdw11 >> 16
        if cqid not in self._cqs:
            raise CommandFailed(StatusCode.INVALID_COMPLETION_QUEUE, 46)
        self._native(lambda: self._emulator.create_sq(qid, cqid, command.prp1, depth))
        self._sqs[qid] = cqid
        return 0

    def _delete_sq(self, command: Values) -> int:
        qid = command.cdw10 & 0xFFFF
        if qid not in self._sqs:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        self._emulator.delete_sq(qid)
        del self._sqs[qid]
        return 0

    def _delete_cq(self, command: Values) -> int:
        qid = command.cdw10 & 0xFFFF
        if qid not in self._cqs:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        if qid in self._sqs.values():
            raise CommandFailed(StatusCode.INVALID_QUEUE_DELETION, 40)
        self._emulator.delete_cq(qid)
        self._cqs.remove(qid)
        return 0

    def _abort(self, command: Values) -> int:
        sqid, cid = command.cdw10 & 0xFFFF, command.cdw10 >> 16
        if sqid:
            return 0 if self._emulator.abort(sqid, cid) else _NOT_FOUND
        for request in self._requests:
            if request.cid == cid:
                self._requests.remove(request)
                self._reply(request, 0, StatusCode.ABORT_REQUESTED)
                return 0
        return _NOT_FOUND

    # ---- information ----

    def _identify(self, command: Values) -> int:
        self._to_host(command, emulated_identify.identify(self.model, command))
        return 0

    def _get_features(self, command: Values) -> int:
        dw0, data = self.features.get(command)
        if data:
            self._to_host(command, data)
        return dw0

    def _set_features(self, command: Values) -> int:
        length = self.features.data_bytes(command)
        data = self._from_host(command, length) if length else b""
        return self.features.set(command, data)

    def _get_log_page(self, command: Values) -> int:
        data, acknowledges = emulated_logs.get_log_page(self.model, self.self_test, command)
        self._to_host(command, data)
        if acknowledges:
            lid = command.cdw10 & 0xFF
            self._masked = {kind for kind in self._masked if _LOG_OF_TYPE[kind] != lid}
        return 0

    # ---- asynchronous events ----

    def _async_event_request(self, command: Values) -> None:
        if len(self._requests) == ASYNC_EVENT_REQUESTS:
            raise CommandFailed(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED)
        self._requests.append(command)

    def _wanted(self, event: Event) -> bool:
        configuration = self.features.current(EVENT_CONFIGURATION)
        if event.type == 0:
            return True
        bit = event.info if event.type == 1 else 8 + event.info
        return bool(configuration >> bit & 1)

    def _notify(self, event: Event) -> None:
        if self._enabled and self._wanted(event) and event not in self._events:
            self._events.append(event)
            self._post()

    def _pair_events(self) -> None:
        """Complete requests with events whose type's log was read since the last one."""
        for event in list(self._events):
            if self._requests and event.type not in self._masked:
                self._events.remove(event)
                self._masked.add(event.type)
                dw0 = event.type | event.info << 8 | event.lid << 16
                self._reply(self._requests.popleft(), dw0)

    # ---- what takes time ----

    def _device_self_test(self, command: Values) -> int:
        self.self_test.execute(command)
        return 0

    def _format_nvm(self, command: Values) -> None:
        generation = self._generation

        def done(status: StatusCode) -> None:
            if generation != self._generation:
                return  # a reset took the queue away meanwhile
            self._reply(command, 0, status)
            self._post()

        self._formatter.start(command, done)
        self.self_test.formatted()


_LOG_OF_TYPE = {0: 0x01, 1: 0x02, 2: emulated_logs.CHANGED_NAMESPACES}
