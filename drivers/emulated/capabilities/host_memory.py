"""Host Memory Buffer: memory of the host's that the controller keeps something in.

It needs none. What it is given it uses as a strict controller would: at each admin command it
looks whether a page holds what it left there, and leaves something else. A host that touches what
it has lent, or takes it away before it was given back, is told by failing commands.

Spec: NVMe Base 2.0c 5.27.1.10, 8.9.
"""

from __future__ import annotations

import logging
from itertools import pairwise

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Feature, Fields, Part
from scsi2nvme.drivers.emulated.memory import UnmappedError
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.scheme import Option, parse_size
from scsi2nvme.fields import Values
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import HOST_MEMORY_ATTRIBUTES, HOST_MEMORY_DESCRIPTOR
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

_FID = 0x0D
_ENABLE, _RETURNED = 1, 2
_LEAST_PAGES, _MOST_PIECES = 4, 16  # HMMINDS, HMMAXD
_STAMP_BYTES = 16


def _parse_preferred(text: str) -> int:
    size = parse_size(text)
    if size % (4 * _LEAST_PAGES * PAGE):
        raise ValueError(f"is no multiple of {4 * _LEAST_PAGES * PAGE >> 10}K")
    return size


PREFERRED = Option(
    "hmpre",
    "BYTES",
    "emulated only: how much of the host's memory it prefers to have (host memory buffer, HMPRE); "
    "a quarter is the least that it takes (default: none)",
    _parse_preferred,
    79,
    "hmpre",
    subject="a wish for memory",
)


@dataclass(frozen=True, slots=True)
class Lent:
    """What a host has lent: how it was told, and the addresses and pages of its pieces."""

    hsize: int
    hmdla: int
    hmdlec: int
    pieces: tuple[tuple[int, int], ...]

    def address(self, page: int) -> int:
        """Return where a page is."""
        for start, pages in self.pieces:
            if page < pages:
                return start + page * PAGE
            page -= pages
        raise IndexError(page)


class HostMemory(Part):
    """The memory, if there is any, and what was left in it, by pages."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._before: Lent | None = None  # what may be returned
        self._stamps: dict[int, bytes] = {}
        self._turn = 0
        self.lent: Lent | None = None

    def reset(self) -> None:
        """See Part: the memory is the host's; what is in it may be returned."""
        self._before, self.lent = self.lent or self._before, None

    def check(self, command: Values) -> None:
        """See Part: use it, for every command."""
        if self.lent is None:
            return
        self._turn += 1
        page = self._turn % self.lent.hsize
        self._look(self.lent, page)
        stamp = b"%016d" % self._turn
        self._controller.store(self.lent.address(page), stamp)
        self._stamps[page] = stamp

    def _look(self, lent: Lent, page: int) -> None:
        """See that a page is as it was left; CommandFailed if it is not."""
        try:
            found = self._controller.fetch(lent.address(page), _STAMP_BYTES)
        except UnmappedError:
            found = b""
        if found != self._stamps.get(page, found or b"gone"):
            _log.error("the host has touched, or taken, the memory that it lent (page %d)", page)
            raise CommandFailed(StatusCode.INTERNAL_ERROR)

    def take(self, command: Values) -> None:
        """Take what a command lends; CommandFailed if that is not possible."""
        if self.lent is not None:
            raise CommandFailed(StatusCode.COMMAND_SEQUENCE_ERROR, 44)
        lent = self._lent(command)
        if command.cdw11 & _RETURNED:
            if lent != self._before:
                raise invalid_field(44, 1)
            for page in self._stamps:
                self._look(lent, page)
        else:
            self._stamps.clear()
            for start, pages in lent.pieces:
                for address in (start, start + (pages - 1) * PAGE):
                    self._controller.fetch(address, PAGE)  # it is there
        self.lent = lent

    def _lent(self, command: Values) -> Lent:
        """Return what a command describes; CommandFailed, or UnmappedError."""
        if command.cdw13 & 0xF:
            raise invalid_field(52)
        if not 0 < command.cdw15 <= _MOST_PIECES:
            raise invalid_field(60)
        address = command.cdw13 | command.cdw14 << 32
        raw = self._controller.fetch(address, command.cdw15 * HOST_MEMORY_DESCRIPTOR.size)
        step = HOST_MEMORY_DESCRIPTOR.size
        rows = (raw[at : at + step] for at in range(0, len(raw), step))
        pieces = tuple((row.badd, row.bsize) for row in map(HOST_MEMORY_DESCRIPTOR.parse, rows))
        if any(start % PAGE or pages < _LEAST_PAGES for start, pages in pieces):
            raise invalid_field(52)
        ends = [(start, start + pages * PAGE) for start, pages in sorted(pieces)]
        if any(end > after for (_, end), (after, _) in pairwise(ends)):
            raise invalid_field(52)
        pages = sum(pages for _, pages in pieces)
        if command.cdw12 != pages or pages < _least_pages(self._controller):
            raise invalid_field(48)
        return Lent(command.cdw12, address, command.cdw15, pieces)

    def give_back(self) -> None:
        """Use it no more; CommandFailed if it is not as it was left."""
        lent, self.lent, self._before = self.lent, None, None
        if lent is not None:
            for page in self._stamps:
                self._look(lent, page)


def _least_pages(controller: Controller) -> int:
    preferred: int = controller.settings[PREFERRED.keyword]
    return preferred // 4 // PAGE


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    lent = controller.part(HostMemory).lent
    if lent is None:
        return 0, HOST_MEMORY_ATTRIBUTES.build()
    return _ENABLE, HOST_MEMORY_ATTRIBUTES.build(
        hsize=lent.hsize, hmdla=lent.hmdla, hmdlec=lent.hmdlec
    )


def _put(controller: Controller, command: Values, data: bytes) -> int:
    part = controller.part(HostMemory)
    if command.cdw11 & _ENABLE:
        part.take(command)
    else:
        part.give_back()
    return 0


def _controller(controller: Controller) -> Fields:
    preferred: int = controller.settings[PREFERRED.keyword]
    return {
        "hmpre": preferred // PAGE,
        "hmmin": _least_pages(controller),
        "hmminds": _LEAST_PAGES,
        "hmmaxd": _MOST_PIECES,
    }


CAPABILITY = Capability(
    "Host Memory Buffer",
    features=(Feature(_FID, get=_get, put=_put),),
    controller=_controller,
    options=(PREFERRED,),
    settings={PREFERRED.keyword: 0},
    start=HostMemory,
    offered=lambda settings: bool(settings[PREFERRED.keyword]),
)
