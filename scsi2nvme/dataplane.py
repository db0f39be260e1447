"""The binding floor: the only module that calls the native data plane.

Each class owns one native handle and frees it in `close()`; integers become
exceptions in `_check`. Threads: everything here belongs to the thread that
runs the asyncio loop, but for `Port.qtest_command` and `crc32c`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES

MAXIMUM_REACTORS: int = lib.S2N_MAXIMUM_REACTORS
# Of one CDB: a command for each block of 512 bytes.
_MOST_HOT_OPS = MAXIMUM_TRANSFER_BYTES // 512


def _check(result: int, what: str) -> int:
    """Turn a negative errno into OSError; this is the only place that does."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


def _handle(pointer: Any, what: str) -> Any:
    if pointer == ffi.NULL:
        raise OSError(errno.ENOMEM, f"{what}: {os.strerror(errno.ENOMEM)}")
    return pointer


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the CRC32C of `data`, continuing from `crc`."""
    buffer = ffi.from_buffer(data)
    return int(lib.s2n_crc32c(crc, buffer, len(buffer)))


@dataclass(frozen=True, slots=True)
class Region:
    """DMA memory: our address, the controller's address, and a length in bytes."""

    vaddr: int
    iova: int
    length: int

    def slice(self, offset: int, length: int) -> Region:
        """Return a part of it."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ValueError(f"{offset}+{length} lies outside {self.length} bytes")
        return Region(self.vaddr + offset, self.iova + offset, length)

    def view(self) -> memoryview:
        """Return the memory itself, writable."""
        return memoryview(ffi.buffer(ffi.cast("uint8_t *", self.vaddr), self.length))

    def _native(self) -> Any:
        return ffi.new(
            "s2n_region *",
            {
                "vaddr": ffi.cast("uint8_t *", self.vaddr),
                "iova": self.iova,
                "length": self.length,
            },
        )


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


class Emulator:
    """The emulated controller's I/O side. Arguments are those of dataplane.h."""

    def __init__(self) -> None:
        self.native = _handle(lib.s2n_emu_new(), "emulated controller")

    def close(self) -> None:
        """Free it; its port must be closed already."""
        if self.native != ffi.NULL:
            lib.s2n_emu_free(self.native)
            self.native = ffi.NULL

    def add_memory(self, region: Region) -> None:
        """Let the controller reach `region`."""
        _check(lib.s2n_emu_add_memory(self.native, region._native()), "emulated DMA memory")

    def set_namespace(
        self,
        nsid: int,
        fd: int,
        offset: int,
        blocks: int,
        block_bytes: int,
        *,
        write_cache: bool,
        write_protected: bool = False,
        direct: bool = False,
        formatting: bool = False,
    ) -> None:
        """Attach, or replace, a namespace backed by a file."""
        flags = write_cache | write_protected << 1 | direct << 2 | formatting << 3
        result = lib.s2n_emu_set_namespace(
            self.native, nsid, fd, offset, blocks, block_bytes, flags
        )
        _check(result, f"namespace {nsid}")

    def remove_namespace(self, nsid: int) -> None:
        """Detach a namespace."""
        _check(lib.s2n_emu_remove_namespace(self.native, nsid), f"namespace {nsid}")

    def set_limits(self, maximum_bytes: int, atomic_blocks: int) -> None:
        """Set what MDTS and AWUPF + 1 say."""
        _check(lib.s2n_emu_set_limits(self.native, maximum_bytes, atomic_blocks), "limits")

    def create_cq(self, qid: int, iova: int, depth: int, eventfd: int = -1) -> None:
        """Create I/O Completion Queue."""
        _check(lib.s2n_emu_create_cq(self.native, qid, iova, depth, eventfd), f"CQ {qid}")

    def create_sq(self, qid: int, cqid: int, iova: int, depth: int) -> None:
        """Create I/O Submission Queue."""
        _check(lib.s2n_emu_create_sq(self.native, qid, cqid, iova, depth), f"SQ {qid}")

    def delete_sq(self, qid: int) -> None:
        """Delete I/O Submission Queue."""
        _check(lib.s2n_emu_delete_sq(self.native, qid), f"SQ {qid}")

    def delete_cq(self, qid: int) -> None:
        """Delete I/O Completion Queue."""
        _check(lib.s2n_emu_delete_cq(self.native, qid), f"CQ {qid}")

    def abort(self, sqid: int, cid: int) -> bool:
        """Abort a command; whether it was still there."""
        return bool(_check(lib.s2n_emu_abort(self.native, sqid, cid), "abort"))

    def disable(self) -> None:
        """CC.EN went to zero."""
        lib.s2n_emu_disable(self.native)

    def flush(self, nsid: int) -> None:
        """Write back a namespace, or all of them (FFFFFFFFh)."""
        _check(lib.s2n_emu_flush(self.native, nsid), "flush")

    def erase(self, nsid: int) -> None:
        """Deallocate all of a namespace, durably; callable from a helper thread."""
        _check(lib.s2n_emu_erase(self.native, nsid), f"namespace {nsid}")

    def counters(self) -> dict[str, int]:
        """Return the counters since creation."""
        out = ffi.new("s2n_emu_counters *")
        lib.s2n_emu_counters_get(self.native, out)
        return {
            name: int(getattr(out, name))
            for name in (
                "host_reads",
                "host_writes",
                "bytes_read",
                "bytes_written",
                "media_errors",
                "errors",
            )
        }

    def errors(self) -> Iterator[dict[str, int]]:
        """Yield and remove what belongs into the error log."""
        out = ffi.new("s2n_emu_error *")
        names = ("sqid", "cid", "status", "parameter", "nsid", "lba")
        while lib.s2n_emu_next_error(self.native, out):
            yield {name: int(getattr(out, name)) for name in names}

    def add_fault(
        self,
        *,
        lba_first: int = 0,
        lba_last: int = (1 << 64) - 1,
        nsid: int = 0,
        opcode: int = 0xFF,
        action: int = 0,
        status: int = 0,
        delay_ms: int = 0,
        count: int = 0,
    ) -> None:
        """Misbehave from now on, as `s2n_emu_fault` says."""
        fault = {
            "lba_first": lba_first,
            "lba_last": lba_last,
            "nsid": nsid,
            "opcode": opcode,
            "action": action,
            "status": status,
            "delay_ms": delay_ms,
            "count": count,
        }
        _check(lib.s2n_emu_add_fault(self.native, ffi.new("s2n_emu_fault *", fault)), "fault")

    def clear_faults(self) -> None:
        """Behave again."""
        lib.s2n_emu_clear_faults(self.native)

    @property
    def admin_eventfd(self) -> int:
        """Readable when the admin submission doorbell was rung."""
        return _check(lib.s2n_emu_admin_eventfd(self.native), "admin doorbell")

    @property
    def admin_tail(self) -> int:
        """The admin submission queue's tail as last rung."""
        return int(lib.s2n_emu_admin_tail(self.native))

    @property
    def admin_cq_head(self) -> int:
        """The admin completion queue's head as last rung."""
        return int(lib.s2n_emu_admin_cq_head(self.native))


class Port:
    """The doorbells of one controller: of so many `queue_pairs`, the admin queue's included."""

    def __init__(self, native: Any, queue_pairs: int = 1 << 16) -> None:
        self.native = _handle(native, "port")
        self.queue_pairs = queue_pairs

    @classmethod
    def emulated(cls, emulator: Emulator) -> Port:
        """Doorbells of the emulated controller."""
        return cls(lib.s2n_port_emulated(emulator.native))

    @classmethod
    def qtest(cls, fd: int, bar0: int, stride: int) -> Port:
        """Doorbells behind a qtest socket, which is taken over."""
        return cls(lib.s2n_port_qtest(fd, bar0, stride))

    @classmethod
    def mmio(cls, address: int, stride: int, length: int) -> Port:
        """Mapped doorbell registers, `length` bytes of them."""
        return cls(lib.s2n_port_mmio(ffi.cast("void *", address), stride), length // (2 * stride))

    def qtest_command(self, line: str) -> int:
        """Send one qtest command; return the value that it reads, if any."""
        value = ffi.new("uint64_t *")
        _check(lib.s2n_qtest_command(self.native, line.encode(), value), f"qtest {line}")
        return int(value[0])

    def close(self) -> None:
        """Free it; its queue pairs must be closed already."""
        if self.native != ffi.NULL:
            lib.s2n_port_free(self.native)
            self.native = ffi.NULL


class Registers:
    """Mapped registers of a device. When that is gone they read all ones.

    `offset` and `length` name whole pages of `fd`; offsets of accesses are
    multiples of their width. OSError if it cannot be mapped.
    """

    def __init__(self, fd: int, offset: int, length: int) -> None:
        pointer = ffi.new("void **")
        _check(lib.s2n_mmio_map(fd, offset, length, pointer), "registers")
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
        _check(lib.s2n_mmio_detach(self._native, self.length), "registers")

    def attach(self, fd: int, offset: int) -> None:
        """Put a device there again."""
        result = lib.s2n_mmio_attach(self._native, fd, offset, self.length)
        _check(result, "registers")

    def close(self) -> None:
        """Unmap them; nobody may use the address any more."""
        if self._native != ffi.NULL:
            lib.s2n_mmio_unmap(self._native, self.length)
            self._native = ffi.NULL


class Window:
    """A range of a controller's addresses in which memory of others appears, page by page.

    It goes to a PlaneTcmu, and is closed after that. `released` is called then.
    """

    def __init__(self, native: Any, released: Callable[[], None]) -> None:
        self.native = native
        self._released = released

    @classmethod
    def vfio(cls, container: int, iova: int, length: int, released: Callable[[], None]) -> Window:
        """Of the IOMMU of a VFIO container."""
        native = lib.s2n_window_vfio(container, iova, length)
        if native == ffi.NULL:
            raise OSError(ffi.errno, f"window: {os.strerror(ffi.errno)}")
        return cls(native, released)

    def close(self) -> None:
        """Free it; it is empty."""
        if self.native != ffi.NULL:
            lib.s2n_window_free(self.native)
            self.native = ffi.NULL
            self._released()


class QueuePair:
    """One submission and completion queue, used from Python or given to a reactor."""

    def __init__(self, port: Port, qid: int, depth: int, memory: Region) -> None:
        native = lib.s2n_qpair_new(port.native, qid, depth, memory._native())
        self.native = _handle(native, f"queue pair {qid}")
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
        native = buffer._native() if buffer is not None else ffi.NULL
        cid = lib.s2n_qpair_place(self.native, sqe, native, cookie, timeout_ms)
        if cid == -errno.EAGAIN:
            return None
        return _check(cid, "submission")

    def ring(self) -> None:
        """Tell the controller of what was placed."""
        lib.s2n_qpair_ring(self.native)

    def poll(self) -> list[QueueCompletion]:
        """Take the completions that have arrived, 64 at most."""
        count = _check(lib.s2n_qpair_poll(self.native, self._out, 64), "completion")
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

    def extend(self, cid: int, timeout_ms: int) -> None:
        """Give an overdue command more time."""
        lib.s2n_qpair_extend(self.native, cid, timeout_ms)

    def reset(self, *, replay: bool) -> None:
        """Begin anew after the controller forgot its queues."""
        lib.s2n_qpair_reset(self.native, replay)

    def abandon(self, status: int) -> None:
        """The controller is gone: everything ends with `status`."""
        lib.s2n_qpair_abandon(self.native, status)

    def revive(self) -> None:
        """The controller is there again: `reset` is next."""
        lib.s2n_qpair_revive(self.native)

    def close(self) -> None:
        """Free it."""
        if self.native != ffi.NULL:
            lib.s2n_qpair_free(self.native)
            self.native = ffi.NULL


class EventType(IntEnum):
    """What a reactor tells."""

    TASK = lib.S2N_EVENT_TASK
    TASK_FAILED = lib.S2N_EVENT_TASK_FAILED
    DRAINED = lib.S2N_EVENT_DRAINED
    OVERDUE = lib.S2N_EVENT_OVERDUE
    PDU = lib.S2N_EVENT_PDU
    CONN_CLOSED = lib.S2N_EVENT_CONN_CLOSED
    TASK_REFUSED = lib.S2N_EVENT_TASK_REFUSED
    ABORT = lib.S2N_EVENT_ABORT
    PAGES = lib.S2N_EVENT_PAGES
    UNIT_RESET = lib.S2N_EVENT_UNIT_RESET


class Scope(IntEnum):
    """Which tasks an abort or a query means."""

    TASK = lib.S2N_SCOPE_TASK
    NEXUS_LU = lib.S2N_SCOPE_NEXUS_LU
    LU = lib.S2N_SCOPE_LU
    NEXUS = lib.S2N_SCOPE_NEXUS


class PlaneTask:
    """A SCSI task that a reactor handed over. `end` it exactly once."""

    __slots__ = ("attribute", "cdb", "expected", "lun", "native", "nexus_cookie")

    def __init__(self, native: Any) -> None:
        self.native = native
        length = ffi.new("uint16_t *")
        cdb = lib.s2n_task_cdb(native, length)
        self.cdb = bytes(ffi.buffer(cdb, length[0]))
        self.lun = bytes(ffi.buffer(lib.s2n_task_lun(native), 8))
        self.attribute = int(lib.s2n_task_attribute(native))
        self.nexus_cookie = int(lib.s2n_task_nexus(native))
        self.expected = int(lib.s2n_task_expected(native))

    @property
    def aborted(self) -> bool:
        """Whether nobody waits for the result any more."""
        return bool(lib.s2n_task_aborted(self.native))

    def data_out(self) -> bytes:
        """Return what the initiator sent."""
        length = lib.s2n_task_data_length(self.native)
        if length == 0:
            return b""
        out = bytearray(length)
        lib.s2n_task_copy_data(self.native, ffi.from_buffer(out))
        return bytes(out)

    def end(self, status: int, sense: bytes = b"", data_in: bytes = b"") -> None:
        """Give the result to the front end."""
        native, self.native = self.native, ffi.NULL
        assert native != ffi.NULL, "a task ends once"
        sense = sense[: lib.S2N_SENSE_BYTES]
        lib.s2n_task_end(native, status, sense, len(sense), data_in, len(data_in))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a reactor tells; the fields are those of s2n_event."""

    type: EventType
    count: int
    cookie: int
    task: PlaneTask | None
    nvme_opcode: int
    dnr: bool
    more: bool
    status: int
    qid: int
    cid: int
    lba: int
    bhs: bytes
    data: bytes


class Plane:
    """The reactors. `cpus` pins one reactor to each of them."""

    def __init__(self, cpus: list[int], poll_us: int = 0) -> None:
        self.reactors = len(cpus)
        self.cpus = tuple(cpus)
        array = ffi.new("int32_t[]", cpus)
        self.native = _handle(lib.s2n_plane_new(len(cpus), array, poll_us), "data plane")

    def start(self) -> None:
        """Start the reactors' threads."""
        _check(lib.s2n_plane_start(self.native), "reactors")

    def stop(self) -> None:
        """Stop and join them; connections have been closed and freed."""
        lib.s2n_plane_stop(self.native)

    def close(self) -> None:
        """Free everything that is left."""
        if self.native != ffi.NULL:
            lib.s2n_plane_free(self.native)
            self.native = ffi.NULL

    @property
    def event_fd(self) -> int:
        """Readable when there are events."""
        return _check(lib.s2n_plane_event_fd(self.native), "events")

    def events(self) -> Iterator[Event]:
        """Yield the events that are waiting."""
        raw = ffi.new("s2n_event *")
        while lib.s2n_plane_next_event(self.native, raw):
            data = bytes(ffi.buffer(raw.data, raw.data_length)) if raw.data_length else b""
            lib.s2n_event_free(raw)
            yield Event(
                EventType(raw.type),
                raw.count,
                raw.cookie,
                PlaneTask(raw.task) if raw.task != ffi.NULL else None,
                raw.nvme,
                bool(raw.dnr),
                bool(raw.more),
                raw.status,
                raw.qid,
                raw.cid,
                raw.lba,
                bytes(ffi.buffer(raw.bhs, 48)),
                data,
            )

    def abort(
        self,
        scope: Scope,
        nexus: PlaneNexus | None,
        lu: PlaneUnit | None,
        token: int,
        *,
        itt: int = 0,
        query: bool = False,
        task_aborted_status: bool = False,
    ) -> None:
        """Abort (or count) tasks; DRAINED with `token` tells how many there were."""
        lib.s2n_plane_abort(
            self.native,
            scope,
            nexus.native if nexus is not None else ffi.NULL,
            lu.native if lu is not None else ffi.NULL,
            itt,
            query,
            task_aborted_status,
            token,
        )


class PlaneController:
    """A controller's I/O queues as the reactors see them."""

    def __init__(self, plane: Plane, cookie: int) -> None:
        self.native = _handle(lib.s2n_controller_new(plane.native, cookie), "controller")

    def set_queue(self, index: int, queue: QueuePair, eventfd: int, pool: Region) -> None:
        """Give reactor `index` its queue pair, interrupt and buffer memory."""
        result = lib.s2n_controller_set_queue(
            self.native, index, queue.native, eventfd, pool._native()
        )
        _check(result, f"queue of reactor {index}")

    def set_timeout(self, timeout_ms: int) -> None:
        """How long a hot command may take until OVERDUE tells of it."""
        lib.s2n_controller_set_timeout(self.native, timeout_ms)

    def pause(self, token: int) -> None:
        """Stop using the queues; DRAINED with `token` follows."""
        lib.s2n_controller_pause(self.native, token)

    def resume(self) -> None:
        """Use the re-created queues; what was in flight is placed again."""
        lib.s2n_controller_resume(self.native)

    def fail(self, status: int) -> None:
        """The controller is lost: end everything with `status`."""
        lib.s2n_controller_fail(self.native, status)

    def close(self) -> None:
        """Free it, after a pause."""
        if self.native != ffi.NULL:
            lib.s2n_controller_free(self.native)
            self.native = ffi.NULL


@dataclass(frozen=True, slots=True)
class UnitParameters:
    """What the hot path must know of a logical unit. See s2n_lu_params."""

    nsid: int
    block_bytes: int
    blocks: int
    maximum_blocks: int
    boundary_blocks: int
    volatile_cache: bool

    def _native(self) -> Any:
        return ffi.new(
            "s2n_lu_params *",
            {
                "nsid": self.nsid,
                "block_shift": self.block_bytes.bit_length() - 1,
                "blocks": self.blocks,
                "maximum_blocks": self.maximum_blocks,
                "boundary_blocks": self.boundary_blocks,
                "volatile_cache": self.volatile_cache,
            },
        )


class PlaneUnit:
    """A logical unit in the data plane. It begins stepped aside."""

    def __init__(self, controller: PlaneController, parameters: UnitParameters) -> None:
        native = lib.s2n_lu_new(controller.native, parameters._native())
        self.native = _handle(native, "logical unit")

    def update(self, parameters: UnitParameters) -> None:
        """Change its parameters, while drained."""
        lib.s2n_lu_update(self.native, parameters._native())

    def set_aside(self, aside: bool) -> None:
        """Send everything to the engine, or no longer."""
        lib.s2n_lu_set_aside(self.native, aside)

    def drain(self, token: int) -> None:
        """Step aside; DRAINED with `token` once no hot task is under way."""
        lib.s2n_lu_drain(self.native, token)

    def close(self) -> None:
        """Free it; no nexus maps it any more."""
        if self.native != ffi.NULL:
            lib.s2n_lu_free(self.native)
            self.native = ffi.NULL


class PlaneNexus:
    """An I_T nexus in the data plane."""

    def __init__(self, plane: Plane, cookie: int) -> None:
        self.native = _handle(lib.s2n_nexus_new(plane.native, cookie), "nexus")

    def map(self, lun: int, unit: PlaneUnit | None) -> None:
        """Make `unit` this nexus' LUN `lun`, stepped aside."""
        native = unit.native if unit is not None else ffi.NULL
        _check(lib.s2n_nexus_map(self.native, lun, native), f"LUN {lun}")

    def set_aside(self, lun: int, aside: bool) -> None:
        """Send this nexus' commands for `lun` to the engine, or no longer."""
        lib.s2n_nexus_set_aside(self.native, lun, aside)

    def close(self) -> None:
        """Free it, after its session."""
        if self.native != ffi.NULL:
            lib.s2n_nexus_free(self.native)
            self.native = ffi.NULL


@dataclass(frozen=True, slots=True)
class NvmeOp:
    """One NVMe command that the hot path would place. `sqe` lacks CID and data pointer."""

    opcode: int
    slba: int
    blocks: int
    cdw12: int
    nsid: int
    sqe: bytes


def hot_translate(parameters: UnitParameters, cdb: bytes) -> list[NvmeOp] | None:
    """Return the hot path's translation of a CDB; None where it steps aside."""
    out = ffi.new("s2n_nvme_op[]", _MOST_HOT_OPS)
    count = lib.s2n_hot_translate(parameters._native(), cdb, len(cdb), out, _MOST_HOT_OPS)
    if count < 0:
        return None
    return [
        NvmeOp(op.opcode, op.slba, op.blocks, op.cdw12, op.nsid, bytes(ffi.buffer(op.sqe)))
        for op in out[0:count]
    ]


def hot_data_bytes(cdb: bytes, block_bytes: int) -> tuple[int, int]:
    """Return the bytes of data that a CDB announces, and 0 none, 1 in or 2 out."""
    direction = ffi.new("uint8_t *")
    count = lib.s2n_hot_data_bytes(cdb, len(cdb), block_bytes, direction)
    return int(count), int(direction[0])


@dataclass(frozen=True, slots=True)
class ConnectionParameters:
    """The result of a login, as the full-feature phase needs it. See s2n_conn_params."""

    header_digest: bool = False
    data_digest: bool = False
    maximum_recv: int = 262144
    maximum_send: int = 8192
    maximum_burst: int = 262144
    first_burst: int = 65536
    initial_r2t: bool = True
    immediate_data: bool = True
    maximum_r2t: int = 1
    discovery: bool = False
    ping_ms: int = 30000
    ping_timeout_ms: int = 30000


class PlaneSession:
    """An iSCSI session in the data plane: one reactor, one or more connections."""

    def __init__(self, plane: Plane, nexus: PlaneNexus, cmd_sn: int, window: int) -> None:
        native = lib.s2n_session_new(plane.native, nexus.native, cmd_sn, window)
        self.native = _handle(native, "session")

    @property
    def expected_cmd_sn(self) -> int:
        """ExpCmdSN."""
        return int(lib.s2n_session_expected_cmd_sn(self.native))

    def close(self) -> None:
        """Free it, after its last connection."""
        if self.native != ffi.NULL:
            lib.s2n_session_free(self.native)
            self.native = ffi.NULL


class PlaneConnection:
    """A connection in full-feature phase. CONN_CLOSED tells its end; then `close` it."""

    def __init__(
        self,
        session: PlaneSession,
        fd: int,
        parameters: ConnectionParameters,
        stat_sn: int,
        received: bytes,
        cookie: int,
    ) -> None:
        native = ffi.new(
            "s2n_conn_params *",
            {name: int(getattr(parameters, name)) for name in parameters.__slots__},
        )
        self.native = _handle(
            lib.s2n_conn_new(session.native, fd, native, stat_sn, received, len(received), cookie),
            "connection",
        )

    def send(self, bhs: bytes, data: bytes = b"", *, consumes: bool = True) -> None:
        """Send a PDU; sequence numbers, length and digests are filled in."""
        assert len(bhs) == 48
        lib.s2n_conn_send(self.native, bhs, data, len(data), consumes)

    def set_maximum_send(self, length: int) -> None:
        """The initiator declared another MaxRecvDataSegmentLength."""
        lib.s2n_conn_set_maximum_send(self.native, length)

    def disconnect(self, *, graceful: bool) -> None:
        """End the connection, after what is queued or at once."""
        lib.s2n_conn_close(self.native, graceful)

    def close(self) -> None:
        """Free it."""
        if self.native != ffi.NULL:
            lib.s2n_conn_free(self.native)
            self.native = ffi.NULL


class PlaneTcmu:
    """A TCMU device's ring in the data plane. CONN_CLOSED tells its end; then `close` it.

    `fd` tells of new entries and is taken over; `memory` is what is mapped, `length`
    bytes of it. Through `window`, which is taken over, the controller may reach it. OSError:
    EPROTO or EPROTONOSUPPORT if there is no ring that we know.
    """

    def __init__(
        self,
        plane: Plane,
        nexus: PlaneNexus,
        fd: int,
        memory: int,
        length: int,
        cookie: int,
        window: Window | None = None,
    ) -> None:
        out = ffi.new("s2n_tcmu **")
        native = window.native if window is not None else ffi.NULL
        _check(
            lib.s2n_tcmu_new(plane.native, nexus.native, fd, memory, length, native, cookie, out),
            "ring",
        )
        self.native = out[0]
        self._window = window

    @property
    def has_window(self) -> bool:
        """Whether data could stay in place."""
        return self._window is not None

    def set_in_place(self, allowed: bool) -> None:
        """Let data stay where they are, or have them copied."""
        lib.s2n_tcmu_set_in_place(self.native, allowed)

    def counters(self) -> dict[str, int]:
        """Return what was counted, and the reactor's number; see s2n_tcmu_counters."""
        out = ffi.new("s2n_tcmu_counters *")
        lib.s2n_tcmu_counters_get(self.native, out)
        names = ("in_place", "copied", "pages", "withdrawals", "moves", "reactor")
        return {name: int(getattr(out, name)) for name in names}

    def drain(self, token: int) -> None:
        """DRAINED with `token` follows once every entry of the ring was answered."""
        lib.s2n_tcmu_drain(self.native, token)

    def disconnect(self) -> None:
        """Leave the ring, and forget what is under way."""
        lib.s2n_tcmu_close(self.native)

    def close(self) -> None:
        """Free it."""
        if self.native != ffi.NULL:
            lib.s2n_tcmu_free(self.native)
            self.native = ffi.NULL
            if self._window is not None:
                self._window.close()


EventHandler = Callable[[Event], None]
