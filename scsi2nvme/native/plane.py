"""Reactors, controllers, logical units, nexuses, tasks: the binding of csrc/dataplane.h."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle, check
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.records import dataclass
from scsi2nvme.unit.block_device import Portion
from scsi2nvme.unit.statistics import KindStatistics, Statistics

_LAST_BLOCK = (1 << 64) - 1  # no namespace has it
_BUCKETS = int(lib.S2N_LATENCY_BUCKETS)

# Where C puts what it returns besides; there is one control thread.
_length, _portion = ffi.new("uint16_t *"), ffi.new("s2n_portion *")


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
    TASK_ABORTED = lib.S2N_EVENT_TASK_ABORTED


_TYPES = {int(each): each for each in EventType}
_NO_BHS = bytes(48)
_ALL = (1 << 64) - 1  # tasks, however late they came


class Scope(IntEnum):
    """Which tasks an abort or a query means."""

    TASK = lib.S2N_SCOPE_TASK
    NEXUS_LU = lib.S2N_SCOPE_NEXUS_LU
    LU = lib.S2N_SCOPE_LU
    NEXUS = lib.S2N_SCOPE_NEXUS
    HELD = lib.S2N_SCOPE_HELD


class PlaneTask:
    """A SCSI task that a reactor handed over. `end` it exactly once."""

    __slots__ = (
        "announced",
        "attribute",
        "cdb",
        "expected",
        "lun",
        "native",
        "nexus_cookie",
        "portion",
    )

    def __init__(self, native: Any) -> None:
        self.native = native
        cdb = lib.s2n_task_cdb(native, _length)
        self.cdb = bytes(ffi.buffer(cdb, _length[0]))
        self.lun = bytes(ffi.buffer(lib.s2n_task_lun(native), 8))
        self.attribute = int(lib.s2n_task_attribute(native))
        self.nexus_cookie = int(lib.s2n_task_nexus(native))
        self.expected = int(lib.s2n_task_expected(native))
        self.portion: Portion | None = None
        if lib.s2n_task_portion(native, _portion):
            self.portion = Portion(_portion.offset, _portion.bytes)
        self.announced = int(_portion.announced)

    @property
    def ended(self) -> bool:
        """Whether it was ended."""
        return bool(self.native == ffi.NULL)

    @property
    def aborted(self) -> bool:
        """Whether nobody waits for the result any more; it has not ended."""
        return bool(lib.s2n_task_aborted(self.native))

    @property
    def misrouted(self) -> bool:
        """Whether its LUN leads to another logical unit now, or to none, than when it came."""
        return bool(lib.s2n_task_misrouted(self.native))

    def data_out(self) -> bytes:
        """Return what the initiator sent, of the portion."""
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


class Holder:
    """What keeps its blocks for a hot task that has failed. It must be released."""

    __slots__ = ("_native",)

    def __init__(self, native: Any) -> None:
        self._native = native

    def release(self) -> None:
        """Let others have the blocks. Not when the logical unit was closed."""
        native, self._native = self._native, ffi.NULL
        if native != ffi.NULL:
            lib.s2n_holder_release(native)


@dataclass(slots=True)
class Event:
    """One thing that a reactor tells; the fields are those of s2n_event."""

    type: EventType
    count: int
    cookie: int
    task: PlaneTask | None
    nvme_opcode: int
    dnr: bool
    more: bool
    phase: int
    status: int
    qid: int
    cid: int
    lba: int
    bhs: bytes
    data: bytes
    arrived: int = 0
    holder: Holder | None = None


class Plane(Handle):
    """The reactors. `cpus` pins one reactor to each of them. It is closed last, and stopped."""

    def __init__(self, cpus: list[int], poll_us: int = 0) -> None:
        self.reactors = len(cpus)
        self.cpus = tuple(cpus)
        array = ffi.new("int32_t[]", cpus)
        super().__init__(
            lib.s2n_plane_free, lib.s2n_plane_new(len(cpus), array, poll_us), "data plane"
        )

    def start(self) -> None:
        """Start the reactors' threads."""
        check(lib.s2n_plane_start(self.native), "reactors")

    def stop(self) -> None:
        """Stop and join them; connections have been closed and freed."""
        lib.s2n_plane_stop(self.native)

    @property
    def event_fd(self) -> int:
        """Readable when there are events."""
        return check(lib.s2n_plane_event_fd(self.native), "events")

    def events(self) -> Iterator[Event]:
        """Yield the events that are waiting."""
        raw = ffi.new("s2n_event *")
        while lib.s2n_plane_next_event(self.native, raw):
            data = bytes(ffi.buffer(raw.data, raw.data_length)) if raw.data_length else b""
            lib.s2n_event_free(raw)
            yield Event(
                _TYPES[raw.type],
                raw.count,
                raw.cookie,
                PlaneTask(raw.task) if raw.task != ffi.NULL else None,
                raw.nvme,
                bool(raw.dnr),
                bool(raw.more),
                raw.phase,
                raw.status,
                raw.qid,
                raw.cid,
                raw.lba,
                bytes(ffi.buffer(raw.bhs, 48)) if raw.type == EventType.PDU else _NO_BHS,
                data,
                raw.arrived,
                Holder(raw.holder) if raw.holder != ffi.NULL else None,
            )

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer the tasks that end in the body all at once, after it. It is short."""
        lib.s2n_plane_gather(self.native)
        try:
            yield
        finally:
            lib.s2n_plane_answer(self.native)

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
        up_to: int | None = None,
    ) -> None:
        """Abort (or count) tasks; DRAINED with `token` tells how many there were.

        Not those of `nexus` that came after `up_to`, an event's `arrived`.
        """
        lib.s2n_plane_abort(
            self.native,
            scope,
            nexus.native if nexus is not None else ffi.NULL,
            lu.native if lu is not None else ffi.NULL,
            itt,
            query,
            task_aborted_status,
            _ALL if up_to is None else up_to,
            token,
        )


class PlaneController(Handle):
    """A controller's I/O queues as the reactors see them. Close it after a pause.

    `paused`: no reactor touches them; whoever asked for the pause says so when it is over.
    """

    def __init__(self, plane: Plane, cookie: int) -> None:
        self.paused = False
        super().__init__(
            lib.s2n_controller_free, lib.s2n_controller_new(plane.native, cookie), "controller"
        )

    def set_queue(self, index: int, queue: QueuePair | None, eventfd: int, pool: Region) -> None:
        """Give reactor `index` its queue pair, if it has one, interrupt and buffer memory."""
        native = queue.native if queue is not None else ffi.NULL
        result = lib.s2n_controller_set_queue(self.native, index, native, eventfd, pool.native)
        check(result, f"queue of reactor {index}")

    def set_timeout(self, timeout_ms: int) -> None:
        """How long a hot command may take until OVERDUE tells of it."""
        lib.s2n_controller_set_timeout(self.native, timeout_ms)

    def attended(self, qid: int, cid: int) -> None:
        """What OVERDUE or ABORT told of was attended to: others may have its CID."""
        if not self.closed:
            lib.s2n_controller_attended(self.native, qid, cid)

    def pause(self, token: int) -> None:
        """Stop using the queues; DRAINED with `token` follows."""
        lib.s2n_controller_pause(self.native, token)

    def resume(self) -> None:
        """Use the re-created queues; what was in flight is placed again."""
        lib.s2n_controller_resume(self.native)

    def fail(self, status: int) -> None:
        """The controller is lost: end everything with `status`."""
        lib.s2n_controller_fail(self.native, status)


def _statistics(raw: Any) -> Statistics:
    """Return what a s2n_statistics says."""
    kinds = tuple(
        KindStatistics(
            kind.bytes, kind.failed, kind.latency_us, tuple(ffi.unpack(kind.latency, _BUCKETS))
        )
        for kind in raw.kind
    )
    failures = {each.answer: each.count for each in raw.failure if each.count}
    return Statistics(raw.begun, raw.aborted, kinds, failures)


class PlaneUnit(Handle):
    """A logical unit in the data plane. It begins stepped aside.

    When it is closed no nexus maps it any more.
    """

    def __init__(self, controller: PlaneController, parameters: UnitParameters) -> None:
        native = lib.s2n_lu_new(controller.native, parameters.native)
        super().__init__(lib.s2n_lu_free, native, "logical unit")

    def update(self, parameters: UnitParameters) -> None:
        """Change its parameters, while drained."""
        lib.s2n_lu_update(self.native, parameters.native)

    def move(self, controller: PlaneController) -> None:
        """Reach the same namespace by another controller, while drained.

        Every nexus that sees it was prepared.
        """
        lib.s2n_lu_move(self.native, controller.native)

    def set_left(self, left: bool) -> None:
        """The engine's commands go by another controller already, or no longer."""
        lib.s2n_lu_set_left(self.native, left)

    def set_descriptor_sense(self, descriptor: bool) -> None:
        """Tell by sense data in descriptor format, or in fixed format again."""
        lib.s2n_lu_set_descriptor_sense(self.native, descriptor)

    def set_aside(self, aside: bool) -> None:
        """Send everything to the engine, or no longer."""
        lib.s2n_lu_set_aside(self.native, aside)

    def drain(self, token: int) -> None:
        """Step aside; DRAINED with `token` once no hot task is under way.

        What is cold for no other reason waits until `set_aside`.
        """
        lib.s2n_lu_drain(self.native, token)

    def look_again(self) -> None:
        """While drained, a nexus was set aside: what waits of it is the engine's."""
        lib.s2n_lu_look_again(self.native)

    def recall(self, controller: PlaneController, *, forgotten: bool) -> None:
        """Have the engine look at the hot tasks of which a controller has nothing.

        `forgotten`: it was reset, and is not resumed yet: it has nothing of any.
        """
        lib.s2n_lu_recall(self.native, controller.native, forgotten)

    def drain_range(self, blocks: range, token: int) -> None:
        """Keep the hot path off some blocks; DRAINED with `token` once no hot task is there."""
        end = min(blocks.stop, _LAST_BLOCK)
        lib.s2n_lu_drain_range(self.native, blocks.start, end, token)

    def share(self, blocks: range, token: int) -> bool:
        """Have no hot task begin that must be alone on some blocks; whether one is."""
        end = min(blocks.stop, _LAST_BLOCK)
        return bool(lib.s2n_lu_share(self.native, blocks.start, end, token))

    def unshare(self, token: int) -> None:
        """End what `share` began with `token`."""
        lib.s2n_lu_unshare(self.native, token)

    def release_range(self, token: int) -> None:
        """End what `drain_range` began with `token`, or give it up."""
        lib.s2n_lu_release_range(self.native, token)

    def watch(self, blocks: Sequence[range]) -> None:
        """Have what would change these blocks, and no others, be the engine's from now on.

        They are in ascending order, and apart from each other. What is under way goes on.
        """
        edges = [edge for each in blocks for edge in (each.start, min(each.stop, _LAST_BLOCK))]
        lib.s2n_lu_watch(self.native, ffi.new("uint64_t[]", edges), len(blocks))

    def statistics(self) -> Statistics:
        """Return what was counted of its commands."""
        raw = ffi.new("s2n_statistics *")
        lib.s2n_lu_statistics(self.native, raw)
        return _statistics(raw)

    def cold(self, rows: int) -> list[int]:
        """Return how many commands the engine got of each of so many rows; the last: of none."""
        raw = ffi.new("uint64_t[]", rows + 1)
        lib.s2n_lu_cold(self.native, raw, rows + 1)
        return list(raw)


class PlaneNexus(Handle):
    """An I_T nexus in the data plane. It is closed after its session."""

    def __init__(self, cookie: int) -> None:
        super().__init__(lib.s2n_nexus_free, lib.s2n_nexus_new(cookie), "nexus")
        self.cookie = cookie

    def map(self, lun: int, unit: PlaneUnit | None) -> None:
        """Make `unit` this nexus' LUN `lun`, stepped aside."""
        native = unit.native if unit is not None else ffi.NULL
        check(lib.s2n_nexus_map(self.native, lun, native), f"LUN {lun}")

    def prepare(self, controller: PlaneController) -> None:
        """Let logical units that it sees move to a controller; OSError if that is impossible."""
        check(lib.s2n_nexus_prepare(self.native, controller.native), "nexus")

    def set_aside(self, lun: int, aside: bool) -> None:
        """Send this nexus' commands for `lun` to the engine, or no longer."""
        lib.s2n_nexus_set_aside(self.native, lun, aside)

    def statistics(self) -> Statistics:
        """Return what was counted of its commands."""
        raw = ffi.new("s2n_statistics *")
        lib.s2n_nexus_statistics(self.native, raw)
        return _statistics(raw)


EventHandler = Callable[[Event], None]
