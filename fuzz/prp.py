"""The PRP rules: what a queue pair writes into its entries, read as a controller does.

Spec: NVMe Base 2.0 4.1.1. The device is plain memory: its doorbells are read
back, its completions are written here.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import strategies as st

from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.native.nvme import MmioPort, QueuePair
from scsi2nvme.native.transport import Region

PAGE = 4096
_SQE_BYTES, _CQE_BYTES = 64, 16
_LIST_ENTRIES = PAGE // 8
# What one page of list describes wherever the buffer begins; more is refused, not chained.
_MOST_BYTES = _LIST_ENTRIES * PAGE
_DEPTH = 8
_STRIDE = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """The subject: a submission queue entry."""

    name: str = "Submission queue entry"


@dataclass
class Device:
    """A queue pair over plain memory, and its controller's view of it."""

    queue: QueuePair
    memory: Region
    tail: int = 0
    cq_tail: int = 0
    phase: int = 1
    sq_head: int = 0
    in_flight: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    def at(self, iova: int, length: int) -> bytes:
        """Read DMA memory."""
        return bytes(self.memory.slice(iova - self.memory.iova, length).view())

    def fetch(self) -> bytes:
        """Take the next submission queue entry."""
        entry = self.at(self.queue.sq_iova + self.sq_head * _SQE_BYTES, _SQE_BYTES)
        self.sq_head = (self.sq_head + 1) % _DEPTH
        return entry

    def complete(self, cid: int) -> None:
        """Post a completion."""
        entry = bytes(8) + self.sq_head.to_bytes(2, "little") + bytes(2)
        entry += cid.to_bytes(2, "little") + self.phase.to_bytes(2, "little")
        offset = self.queue.cq_iova - self.memory.iova + self.cq_tail * _CQE_BYTES
        self.memory.slice(offset, _CQE_BYTES).view()[:] = entry
        self.cq_tail = (self.cq_tail + 1) % _DEPTH
        self.phase ^= self.cq_tail == 0


def _address(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@contextmanager
def device(iova: int) -> Iterator[Device]:
    """Make a device whose queue memory the controller sees at `iova`."""
    size = QueuePair.bytes_needed(_DEPTH)
    with mmap.mmap(-1, size) as memory, mmap.mmap(-1, PAGE) as doorbells:
        region = Region(_address(memory), iova, size)
        port = MmioPort(_address(doorbells), _STRIDE, PAGE)
        queue = QueuePair(port, 1, _DEPTH, region)
        try:
            yield Device(queue, region)
        finally:
            queue.close()
            port.close()


def describable(iova: int, length: int) -> bool:
    """Whether PRPs can describe a buffer; one of no bytes needs none."""
    if not length:
        return True
    return iova % 4 == 0 and length <= _MOST_BYTES and iova + length < (1 << 64) - PAGE


def pieces(here: Device, entry: bytes, length: int) -> list[tuple[int, int]]:
    """Return what a controller would touch for `length` bytes, as (address, bytes)."""
    prp1, prp2 = (int.from_bytes(entry[at : at + 8], "little") for at in (24, 32))
    _require(prp1 % 4 == 0, "prp1", f"{prp1:#x} is not aligned to dwords")
    first = min(length, PAGE - prp1 % PAGE)
    found, left = [(prp1, first)], length - first
    if not left:
        _require(prp2 == 0, "prp2", f"{prp2:#x}, though PRP1 describes all")
        return found
    _require(prp2 % PAGE == 0, "prp2", f"{prp2:#x} is not aligned to a page")
    count = -(-left // PAGE)
    addresses = [prp2]
    if count > 1:
        inside = here.memory.iova <= prp2 <= here.memory.iova + here.memory.length - PAGE
        _require(inside and count <= _LIST_ENTRIES, "prp2", f"{prp2:#x} is no list of {count}")
        raw = here.at(prp2, 8 * count)
        addresses = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
    for number, address in enumerate(addresses):
        _require(address % PAGE == 0, f"list entry {number}", f"{address:#x} is not aligned")
        found.append((address, min(left, PAGE)))
        left -= PAGE
    return found


def _require(holds: bool, place: str, message: str) -> None:
    if not holds:
        raise Finding(Entry(), place, message)


@st.composite
def buffers(draw: st.DrawFn) -> tuple[int, int]:
    """Return a buffer as (address, length), often at an edge of a page or of all memory."""
    page = draw(st.sampled_from((0, 1, 512, (1 << 52) - 600, (1 << 52) - 2)))
    offset = draw(st.one_of(st.sampled_from((0, 4, PAGE - 4, 2)), st.integers(0, PAGE - 1)))
    pages = draw(st.sampled_from((0, 1, 2, 3, 511, 512, 513)))
    change = draw(st.one_of(st.sampled_from((0, 4, -4, PAGE - 4)), st.integers(-PAGE, PAGE)))
    return page * PAGE + offset, max(0, pages * PAGE + change)


def prp_rules(entry: Entry, data: st.DataObject) -> None:
    """A buffer is described exactly, in order, or refused; entries do not share lists."""
    with device(data.draw(st.sampled_from((PAGE, 1 << 32, 1 << 63)))) as here:
        for _ in range(data.draw(st.integers(1, 12))):
            _place(here, data)
            if data.draw(st.booleans()) and here.in_flight:
                _complete(here, data.draw(st.sampled_from(sorted(here.in_flight))))


def _place(here: Device, data: st.DataObject) -> None:
    iova, length = data.draw(buffers())
    image = data.draw(st.binary(min_size=_SQE_BYTES, max_size=_SQE_BYTES))
    free = here.queue.free_slots
    try:
        cid = here.queue.place(image, Region(0, iova, length), cookie=length, timeout_ms=0)
    except OSError:
        _require(not describable(iova, length), "prp1", f"{iova:#x}+{length} is refused")
        _require(here.queue.free_slots == free, "cid", "a refused entry keeps its slot")
        return
    if cid is None:
        _require(free == 0, "cid", f"refused with {free} free slots")
        return
    _require(describable(iova, length), "prp1", f"{iova:#x}+{length} is taken")
    _require(cid not in here.in_flight and free > 0, "cid", f"{cid} is in use")
    sqe = here.fetch()
    if not length:  # no data: the pointers are the caller's
        _require(sqe[4:] == image[4:], "image", sqe.hex())
        here.in_flight[cid] = sqe, 0
        return
    expected = image[:2] + cid.to_bytes(2, "little") + image[4:24]
    _require(sqe[:24] == expected and sqe[40:] == image[40:], "image", sqe.hex())
    here.in_flight[cid] = sqe, length
    at = iova
    for address, size in pieces(here, sqe, length):
        _require(address == at, "prp list", f"{address:#x} where {at:#x} comes next")
        at += size
    _require(at == iova + length, "prp list", f"ends at {at:#x}, not {iova + length:#x}")
    for other, (earlier, size) in here.in_flight.items():
        if not size:
            continue
        start = int.from_bytes(earlier[24:32], "little")
        total = sum(each for _, each in pieces(here, earlier, size))
        _require(total == size and start % 4 == 0, "prp list", f"that of CID {other} has changed")


def _complete(here: Device, cid: int) -> None:
    _, length = here.in_flight.pop(cid)
    here.complete(cid)
    done = [(each.cid, each.cookie, each.status) for each in here.queue.poll()]
    _require(done == [(cid, length, 0)], "cid", f"{done} completes, not {cid}")
