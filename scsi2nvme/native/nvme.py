"""Queue pairs and mapped registers: the binding of drivers/nvme/csrc/nvme.h."""

from __future__ import annotations

import errno
from typing import Any

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle, check
from scsi2nvme.native.transport import Port, Region
from scsi2nvme.records import dataclass


class Registers:
    """Mapped registers of a device. When that is gone they read all ones.

    `offset` and `length` name whole pages of `fd`; offsets of accesses are
    multiples of their width. OSError if it cannot be mapped.
    """

    def __init__(self, fd: int, offset: int, length: int) -> None:
        pointer = ffi.new("void **")
        check(lib.s2n_mmio_map(fd, offset, length, pointer), "registers")
        self._native = pointer[0]
        self.address = int(ffi.cast("uintptr_t", self._native))
        self.length = length

    def _at(self, offset: int, width: int) -> int:
        if not 0 <= offset <= self.length - width or offset % width:
            raise ValueError(f"no {8 * width}-bit register at {offset:#x} of {self.length:#x}")
        if self._native == ffi.NULL:
            raise ValueError("the registers are unmapped")
        return offset

    def read32(self, offset: int) -> int:
        """Read 32 bits."""
        return int(lib.s2n_mmio_read32(self._native, self._at(offset, 4)))

    def read64(self, offset: int) -> int:
        """Read 64 bits."""
        return int(lib.s2n_mmio_read64(self._native, self._at(offset, 8)))

    def write32(self, offset: int, value: int) -> None:
        """Write 32 bits."""
        lib.s2n_mmio_write32(self._native, self._at(offset, 4), value)

    def write64(self, offset: int, value: int) -> None:
        """Write 64 bits."""
        lib.s2n_mmio_write64(self._native, self._at(offset, 8), value)

    def detach(self) -> None:
        """Put all ones in the device's place: no access reaches it any more."""
        check(lib.s2n_mmio_detach(self._native, self.length), "registers")

    def attach(self, fd: int, offset: int) -> None:
        """Put a device there again."""
        result = lib.s2n_mmio_attach(self._native, fd, offset, self.length)
        check(result, "registers")

    def close(self) -> None:
        """Unmap them; nobody may use the address any more."""
        if self._native != ffi.NULL:
            lib.s2n_mmio_unmap(self._native, self.length)
            self._native = ffi.NULL


@dataclass(frozen=True, slots=True)
class QueueCompletion:
    """One completion queue entry, with the cookie of its submission."""

    cid: int
    status: int
    dnr: bool
    more: bool
    crd: int
    dw0: int
    cookie: int


class MmioPort(Port):
    """Doorbells in mapped registers: `length` bytes from `address`, `stride` apart."""

    def __init__(self, address: int, stride: int, length: int) -> None:
        native = lib.s2n_port_mmio(ffi.cast("void *", address), stride)
        super().__init__(native, length // (2 * stride))


_UNKNOWN_AGE = (1 << 63) - 1
TRACE_BYTES = int(ffi.sizeof("s2n_trace"))
TRACE_ENTRIES = int(lib.S2N_TRACE_ENTRIES)


@dataclass(frozen=True, slots=True)
class Pending:
    """A command under way: its 64-byte entry, and for how long, None: nobody knows."""

    cid: int
    sqe: bytes
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class QueueState:
    """Where a queue pair is, and what is under way on it."""

    qid: int
    depth: int
    sq_tail: int
    cq_head: int
    phase: bool
    unexpected: int
    pending: tuple[Pending, ...]


class QueuePair(Handle):
    """One submission and completion queue, used from Python or given to a reactor."""

    def __init__(self, port: Port, qid: int, depth: int, memory: Region) -> None:
        native = lib.s2n_qpair_new(port.native, qid, depth, memory.native)
        super().__init__(lib.s2n_qpair_free, native, f"queue pair {qid}")
        self.qid = qid
        self.depth = depth
        self._out = ffi.new("s2n_completion[64]")

    @staticmethod
    def bytes_needed(depth: int) -> int:
        """DMA memory that a queue pair of `depth` entries takes."""
        return int(lib.s2n_qpair_bytes(depth))

    @property
    def sq_iova(self) -> int:
        """Where the submission queue lies."""
        return int(lib.s2n_qpair_sq_iova(self.native))

    @property
    def cq_iova(self) -> int:
        """Where the completion queue lies."""
        return int(lib.s2n_qpair_cq_iova(self.native))

    def place(self, sqe: bytes, buffer: Region | None, cookie: int, timeout_ms: int) -> int | None:
        """Place an entry; return its CID, or None if the queue is full."""
        native = buffer.native if buffer is not None else ffi.NULL
        cid = lib.s2n_qpair_place(self.native, sqe, native, cookie, timeout_ms)
        if cid == -errno.EAGAIN:
            return None
        return check(cid, "submission")

    def ring(self) -> None:
        """Tell the controller of what was placed."""
        lib.s2n_qpair_ring(self.native)

    def poll(self) -> list[QueueCompletion]:
        """Take the completions that have arrived, 64 at most."""
        count = check(lib.s2n_qpair_poll(self.native, self._out, 64), "completion")
        return [
            QueueCompletion(c.cid, c.status, bool(c.dnr), bool(c.more), c.crd, c.dw0, c.cookie)
            for c in self._out[0:count]
        ]

    @property
    def free_slots(self) -> int:
        """How many entries fit now."""
        return int(lib.s2n_qpair_free_slots(self.native))

    def next_deadline(self) -> tuple[int, int]:
        """Return milliseconds to the earliest deadline (-1: none, 0: overdue) and its CID."""
        cid = ffi.new("uint16_t *")
        return int(lib.s2n_qpair_next_deadline(self.native, cid)), int(cid[0])

    def extend(self, cid: int, timeout_ms: int) -> bool:
        """Give an overdue command more time; whether it was given more before, in vain."""
        return bool(lib.s2n_qpair_extend(self.native, cid, timeout_ms))

    def extended(self, cid: int) -> bool:
        """Whether a command is under way and was given more time."""
        return bool(lib.s2n_qpair_extended(self.native, cid))

    def pin(self, cid: int) -> None:
        """Give the CID of a command under way to no other one until as many `unpin`."""
        lib.s2n_qpair_pin(self.native, cid)

    def unpin(self, cid: int) -> None:
        """See `pin`."""
        lib.s2n_qpair_unpin(self.native, cid)

    def reset(self, *, replay: bool) -> None:
        """Begin anew after the controller forgot its queues."""
        lib.s2n_qpair_reset(self.native, replay)

    def abandon(self, status: int) -> None:
        """The controller is gone: everything ends with `status`."""
        lib.s2n_qpair_abandon(self.native, status)

    def revive(self) -> None:
        """The controller is there again: `reset` is next."""
        lib.s2n_qpair_revive(self.native)

    def trace(self, memory: Any) -> None:
        """Note what is placed and completed in `TRACE_BYTES` of zeroed memory, from now on.

        The memory, aligned to 64 bytes, is kept until the queue pair is closed; None: no more.
        """
        self._trace = memory
        native = ffi.NULL
        if memory is not None:
            native = ffi.cast("s2n_trace *", ffi.from_buffer(memory, require_writable=True))
        lib.s2n_qpair_set_trace(self.native, native)

    def state(self) -> QueueState:
        """Return where it is; whoever owns it does nothing with it meanwhile."""
        state, sqe = ffi.new("s2n_qpair_state *"), ffi.new("uint8_t[64]")
        lib.s2n_qpair_look(self.native, state)
        pending = []
        for cid in range(self.depth - 1):
            age_ms = int(lib.s2n_qpair_look_at(self.native, cid, sqe))
            if age_ms >= 0:
                known = None if age_ms == _UNKNOWN_AGE else age_ms
                pending.append(Pending(cid, bytes(ffi.buffer(sqe)), known))
        return QueueState(
            state.qid,
            state.depth,
            state.sq_tail,
            state.cq_head,
            bool(state.phase),
            int(state.unexpected),
            tuple(pending),
        )
