"""Third-party copies of a logical unit: what is to be moved, and what is known of each operation.

Results are kept by I_T nexus and list identifier. Spec: SPC-4 5.17.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import IntEnum
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import Errand, Result
from scsi2nvme.scsi.sense import Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.ports import ITNexus
from scsi2nvme.unit.tokens import RodToken

MOST_RESULTS = 64  # of one I_T nexus; the oldest goes
MOST_BEHIND = 64  # that go on although their commands have ended, likewise; no others begin
CONCURRENT_COPIES = 4  # that move blocks at the same time; others wait


class Side(IntEnum):
    """Which logical unit. The values are SENSE DATA SOURCE's. Spec: SPC-5 4.4.2.8."""

    SOURCE = 1
    DESTINATION = 2


@dataclass(frozen=True, slots=True)
class Move:
    """`blocks` from one place to another, for `nexus`. They may lie on the same logical unit.

    Block lengths are the same. `refused` says why the source's are not to be read, also when they
    have been; what was read then is not written. `limit_s`: for so long at most, however much that
    is; None: until all are moved.
    """

    nexus: ITNexus
    source: BlockDevice
    lba: int
    destination: BlockDevice
    to: int
    blocks: int
    refused: Callable[[], Sense | None] = field(default=lambda: None)
    limit_s: float | None = None

    @property
    def overlaps(self) -> bool:
        """Whether blocks are read that are written, too."""
        return self.source is self.destination and abs(self.lba - self.to) < self.blocks


@dataclass(frozen=True, slots=True)
class Fill:
    """`blocks` that are to be zero, for `nexus`; `limit_s` as in a `Move`."""

    nexus: ITNexus
    destination: BlockDevice
    to: int
    blocks: int
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why blocks were not moved: what a command to one of the logical units would be told.

    `reachable`: whether the logical unit is there at all; `in_range`: whether it has the blocks.
    """

    side: Side
    result: Result
    reachable: bool = True
    in_range: bool = True


@dataclass(frozen=True, slots=True)
class Moved:
    """How many blocks, from the first one on, were moved; what kept the next from it, if anything.

    `aborted`: nobody wanted the rest; `late`: there was no time for the rest. It took `seconds`.
    """

    blocks: int
    fault: Fault | None = None
    aborted: bool = False
    late: bool = False
    seconds: float = 0.0


class Moving(Errand):
    """Blocks that are to be moved: `start` calls `ended` with a `Moved`."""

    def abort(self) -> None:
        """End soon, with what was done."""


Mover = Callable[[Move], Moving]
"""Moves blocks as Reads and Writes of the initiator's would, but by itself."""

Filler = Callable[[Fill], Moving]
"""Fills blocks likewise."""


@dataclass(frozen=True, slots=True)
class Taking:
    """Blocks of a logical unit that a token is to stand for, as they are at one point in time.

    `make` makes it, or None where there is no room.
    """

    nexus: ITNexus
    source: BlockDevice
    extents: tuple[range, ...]
    make: Callable[[], RodToken | None]


Taker = Callable[[Taking], Moving]
"""Has a token made while nobody changes the blocks; `ended` gets that, None, or a `Moved`."""


class State(IntEnum):
    """COPY OPERATION STATUS. Spec: SPC-4 6.25 (RECEIVE COPY STATUS (LID4))."""

    DONE = 0x01
    FAILED = 0x02
    PARTIAL = 0x03  # done as far as there was time: Windows takes 04h for one that goes on
    FOREGROUND = 0x11
    BACKGROUND = 0x12
    ABORTED = 0x60


RUNNING = (State.FOREGROUND, State.BACKGROUND)


@dataclass(eq=False, slots=True)
class Operation:
    """A copy operation, under way or ended.

    `transferred` counts bytes, `segments` those that were done; `status` and `sense` are how the
    command has ended. `token` is what was made, `moving` what is under way now.
    """

    service_action: int
    state: State = State.FOREGROUND
    segments: int = 0
    transferred: int = 0
    status: Status = Status.GOOD
    sense: Sense | None = None
    token: RodToken | None = None
    moving: Moving | None = None
    aborting: bool = False
    late: bool = False  # there was time for a part of it only

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in RUNNING

    def abort(self) -> None:
        """Have it end soon."""
        self.aborting = True
        if self.moving is not None:
            self.moving.abort()

    def end(self, state: State, result: Result) -> None:
        """It has ended, and a command that waits for it with `result`."""
        self.state, self.status, self.sense = state, result.status, result.sense
        self.moving = None


class _Nobody(Moving):
    """Moves nothing: the logical unit is not served."""

    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        result = Result(Status.BUSY)
        ended(Moved(0, Fault(Side.SOURCE, result, reachable=False)))
        return lambda: None


@dataclass(eq=False)
class Copies:
    """The copy operations that a logical unit was asked for, by nexus key and list identifier.

    LID1 and LID4 are told apart: their identifiers are not of the same length.
    """

    mover: Mover = field(default=lambda move: _Nobody())
    filler: Filler = field(default=lambda fill: _Nobody())
    taker: Taker = field(default=lambda taking: _Nobody())
    _operations: dict[tuple[str, int, bool], Operation] = field(default_factory=dict)

    def find(self, nexus: ITNexus, identifier: int, *, long: bool) -> Operation | None:
        """Return an operation that is under way, or whose result is kept."""
        return self._operations.get((nexus.key, identifier, long))

    def begin(
        self, nexus: ITNexus, identifier: int, service_action: int, *, long: bool
    ) -> Operation | None:
        """Keep a new operation; None if one with that identifier is under way."""
        key = nexus.key, identifier, long
        before = self._operations.pop(key, None)
        if before is not None and before.running:
            self._operations[key] = before
            return None
        operation = self._operations[key] = Operation(service_action)
        self._bound(nexus.key)
        return operation

    def has_many_behind(self, nexus: ITNexus) -> bool:
        """Whether a nexus has as much under way that it does not wait for as it may have."""
        behind = [
            key
            for key, each in self._operations.items()
            if key[0] == nexus.key and each.state is State.BACKGROUND
        ]
        return len(behind) >= MOST_BEHIND

    def forget(self, operation: Operation) -> None:
        """Keep the result of an operation no longer."""
        for key, kept in list(self._operations.items()):
            if kept is operation:
                del self._operations[key]

    def nexus_lost(self, nexus_key: str) -> None:
        """End what a nexus has under way, and keep none of its results."""
        for key, operation in list(self._operations.items()):
            if key[0] == nexus_key:
                operation.abort()
                del self._operations[key]

    def reset(self) -> None:
        """A logical unit reset ends all. Spec: SPC-4 5.17.4.3."""
        for operation in self._operations.values():
            operation.abort()
        self._operations.clear()

    def _bound(self, nexus_key: str) -> None:
        ended = [
            key
            for key, each in self._operations.items()
            if key[0] == nexus_key and not each.running
        ]
        for key in ended[: max(0, len(ended) - MOST_RESULTS)]:
            del self._operations[key]
