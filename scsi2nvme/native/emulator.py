"""The emulated controller's I/O side: the binding of drivers/emulated/csrc/emulator.h."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle, check
from scsi2nvme.native.transport import Port, Region

CONTROLLERS = int(lib.S2N_EMU_CONTROLLERS)  # that may share a namespace
_REQUEST = ("nsid", "cdw10", "cdw11", "prp1", "prp2")


def gate_bytes() -> int:
    """Return how long the file is by which controllers of a subsystem keep reservations."""
    return int(lib.s2n_emu_gate_bytes())


_ANA_FLAGS = {3: 1 << 8, 4: 1 << 9, 15: 1 << 10}  # of states in which nothing is executed


class Disk(Handle):
    """A disk of `size_bytes` in memory; what was not written to it takes none.

    It is closed after the emulators whose namespaces are on it. OSError (ENOMEM) where the system
    grants no address space of that size.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(lib.s2n_emu_disk_free, lib.s2n_emu_disk_new(size_bytes), "disk in memory")


class Emulator(Handle):
    """The emulated controller's I/O side. Its port is closed before it is."""

    def __init__(self) -> None:
        super().__init__(lib.s2n_emu_free, lib.s2n_emu_new(), "emulated controller")

    def add_memory(self, region: Region) -> None:
        """Let the controller reach `region`."""
        check(lib.s2n_emu_add_memory(self.native, region.native), "emulated DMA memory")

    def set_namespace(
        self,
        nsid: int,
        medium: int | Disk,
        offset: int,
        blocks: int,
        block_bytes: int,
        *,
        write_cache: bool,
        write_protected: bool = False,
        direct: bool = False,
        formatting: bool = False,
        moves_nothing: bool = False,
        sanitizing: bool = False,
        sanitize_failed: bool = False,
        inactive: bool = False,
        ana_state: int = 1,
        marks: bool = False,
        metadata_bytes: int = 0,
        extended: bool = False,
        protection: int = 0,
    ) -> None:
        """Attach, or replace, a namespace on a file (its descriptor), or on a disk in memory.

        `protection` is as DPS; only in memory are there metadata.
        """
        flags = write_cache | write_protected << 1 | direct << 2 | formatting << 3
        flags |= moves_nothing << 4 | sanitizing << 5 | sanitize_failed << 6 | inactive << 7
        flags |= _ANA_FLAGS.get(ana_state, 0)
        flags |= marks << 16 | protection << 17 | extended << 21 | metadata_bytes << 24
        where = offset, blocks, block_bytes, flags
        if isinstance(medium, Disk):
            result = lib.s2n_emu_set_namespace_in_memory(self.native, nsid, medium.native, *where)
        else:
            result = lib.s2n_emu_set_namespace(self.native, nsid, medium, *where)
        check(result, f"namespace {nsid}")

    def set_zones(
        self,
        nsid: int,
        size: int,
        capacity: int,
        *,
        maximum_open: int = 0,
        maximum_active: int = 0,
        append_limit: int = 0,
    ) -> None:
        """Divide a namespace into empty zones, by logical blocks; 0: no limit.

        One that is divided like that stays as it is.
        """
        zoning = {
            "size": size,
            "capacity": capacity,
            "maximum_open": maximum_open,
            "maximum_active": maximum_active,
            "append_limit": append_limit,
        }
        result = lib.s2n_emu_set_zones(self.native, nsid, ffi.new("s2n_emu_zoning *", zoning))
        check(result, f"zones of namespace {nsid}")

    def finish_zone(self, nsid: int, lba: int) -> None:
        """Finish the active zone that a block is in, as a controller may by itself."""
        check(lib.s2n_emu_finish_zone(self.native, nsid, lba), f"zone of block {lba}")

    def remove_namespace(self, nsid: int) -> None:
        """Detach a namespace."""
        check(lib.s2n_emu_remove_namespace(self.native, nsid), f"namespace {nsid}")

    def set_limits(self, maximum_bytes: int, atomic_blocks: int) -> None:
        """Set what MDTS and AWUPF + 1 say."""
        check(lib.s2n_emu_set_limits(self.native, maximum_bytes, atomic_blocks), "limits")

    def refuse(self, opcode: int) -> None:
        """Refuse an I/O command as one that there is not, from now on."""
        lib.s2n_emu_refuse(self.native, opcode)

    def set_streams(self, limit: int) -> None:
        """Have streams of writes, so many at most; once, before there is a queue."""
        check(lib.s2n_emu_set_streams(self.native, limit), "streams")

    def enable_streams(self, nsid: int, *, enabled: bool) -> None:
        """Let writes to a namespace name streams, or let them not, with none open, or its own."""
        check(lib.s2n_emu_enable_streams(self.native, nsid, enabled), f"streams of {nsid}")

    def own_streams(self, nsid: int, count: int) -> None:
        """Give a namespace so many streams to itself, which there must be; 0: none."""
        check(lib.s2n_emu_own_streams(self.native, nsid, count), f"streams of {nsid}")

    def open_streams(self, nsid: int) -> tuple[int, ...]:
        """Return the identifiers of a namespace's streams that are open."""
        ids = ffi.new("uint16_t[]", lib.S2N_EMU_STREAMS)
        count = check(lib.s2n_emu_open_streams(self.native, nsid, ids), f"streams of {nsid}")
        return tuple(ids[0:count])

    def close_stream(self, nsid: int, stream: int) -> None:
        """Close a stream, if it is open."""
        check(lib.s2n_emu_close_stream(self.native, nsid, stream), f"streams of {nsid}")

    def create_cq(self, qid: int, iova: int, depth: int, eventfd: int = -1) -> None:
        """Create I/O Completion Queue."""
        check(lib.s2n_emu_create_cq(self.native, qid, iova, depth, eventfd), f"CQ {qid}")

    def create_sq(self, qid: int, cqid: int, iova: int, depth: int) -> None:
        """Create I/O Submission Queue."""
        check(lib.s2n_emu_create_sq(self.native, qid, cqid, iova, depth), f"SQ {qid}")

    def delete_sq(self, qid: int) -> None:
        """Delete I/O Submission Queue."""
        check(lib.s2n_emu_delete_sq(self.native, qid), f"SQ {qid}")

    def delete_cq(self, qid: int) -> None:
        """Delete I/O Completion Queue."""
        check(lib.s2n_emu_delete_cq(self.native, qid), f"CQ {qid}")

    def abort(self, sqid: int, cid: int) -> bool:
        """Abort a command; whether it was still there."""
        return bool(check(lib.s2n_emu_abort(self.native, sqid, cid), "abort"))

    def disable(self) -> None:
        """CC.EN went to zero."""
        lib.s2n_emu_disable(self.native)

    def set_paused(self, paused: bool) -> None:
        """Take no more I/O commands from the queues, or go on."""
        lib.s2n_emu_set_paused(self.native, paused)

    def flush(self, nsid: int) -> None:
        """Write back a namespace, or all of them (FFFFFFFFh)."""
        check(lib.s2n_emu_flush(self.native, nsid), "flush")

    def erase(self, nsid: int) -> None:
        """Deallocate all of a namespace, durably; callable from a helper thread."""
        check(lib.s2n_emu_erase(self.native, nsid), f"namespace {nsid}")

    def overwrite(self, nsid: int, pattern: int) -> None:
        """Write four bytes, the lowest first, all over a namespace, durably; as `erase`."""
        check(lib.s2n_emu_overwrite(self.native, nsid, pattern), f"namespace {nsid}")

    def marked(self, nsid: int, first: int) -> tuple[int, int] | None:
        """Return the first block from there on that is marked as unreadable, and how many follow.

        It is one of them. None if there is none.
        """
        at = ffi.new("uint64_t *", first)
        blocks = int(lib.s2n_emu_marked(self.native, nsid, at))
        return (int(at[0]), blocks) if blocks else None

    def open_gate(self, fd: int, slot: int) -> None:
        """Have Reservation commands, and heed what the file denies to the controller `slot`."""
        check(lib.s2n_emu_open_gate(self.native, fd, slot), "reservations")

    def deny(self, slot: int, nsid: int, denied: int) -> None:
        """Deny the host of a controller reads (1), writes (2), or nothing, from now on."""
        lib.s2n_emu_deny(self.native, slot, nsid, denied)

    def settle(self, slots: Iterable[int]) -> bool:
        """Wait until no command is under way in these that may not know of that; whether so."""
        bits = sum(1 << slot for slot in slots)
        return int(lib.s2n_emu_settle(self.native, bits)) == 0

    def next_request(self) -> tuple[int, dict[str, int]] | None:
        """Take a Reservation command, to be answered before anything else: opcode and fields."""
        out = ffi.new("s2n_emu_request *")
        if not lib.s2n_emu_next_request(self.native, out):
            return None
        return int(out.opcode), {name: int(getattr(out, name)) for name in _REQUEST}

    def answer(self, status: int) -> None:
        """Complete it, with DNR << 14 | SCT << 8 | SC."""
        lib.s2n_emu_answer(self.native, status)

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
        done: bool = False,
        delay_ms: int = 0,
        after: int = 0,
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
            "done": done,
            "delay_ms": delay_ms,
            "after": after,
            "count": count,
        }
        check(lib.s2n_emu_add_fault(self.native, ffi.new("s2n_emu_fault *", fault)), "fault")

    def clear_faults(self) -> None:
        """Behave again."""
        lib.s2n_emu_clear_faults(self.native)

    @property
    def admin_eventfd(self) -> int:
        """Readable when the admin submission doorbell was rung."""
        return check(lib.s2n_emu_admin_eventfd(self.native), "admin doorbell")

    @property
    def admin_tail(self) -> int:
        """The admin submission queue's tail as last rung."""
        return int(lib.s2n_emu_admin_tail(self.native))

    @property
    def admin_cq_head(self) -> int:
        """The admin completion queue's head as last rung."""
        return int(lib.s2n_emu_admin_cq_head(self.native))


class EmulatedPort(Port):
    """Doorbells of the emulated controller."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(lib.s2n_port_emulated(emulator.native))
