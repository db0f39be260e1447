"""Whether what initiators were told of commands is true, by the rules of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from scsi2nvme.command import Data, Transfer
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.model.medium import Changes, Effect, Medium, becomes, joins
from tests.model.requests import (
    Request,
    compares,
    compares_what_it_wrote,
    is_refused,
    is_scattered,
    joins_medium,
    named,
)

GOOD, CHECK_CONDITION, CONDITION_MET, BUSY, TASK_ABORTED = 0, 2, 4, 8, 0x40
NOT_READY, MEDIUM_ERROR, ILLEGAL_REQUEST, UNIT_ATTENTION, DATA_PROTECT = 2, 3, 5, 6, 7
ABORTED_COMMAND, MISCOMPARE = 0xB, 0xE
_REFUSALS = (ILLEGAL_REQUEST, DATA_PROTECT)


@dataclass(frozen=True)
class Outcome:
    """How a command ended for its initiator. `status` None: it was aborted without a word.

    Residual counts are None where the way to the logical unit tells none.
    """

    status: int | None
    data: bytes = b""
    key: int = 0
    code: int = 0  # ASC << 8 | ASCQ
    information: int | None = None
    overflow: int | None = None
    underflow: int | None = None
    deferred: bool = False  # what is told is of a command before it

    def __repr__(self) -> str:
        sense = f"{self.key:X}/{self.code:04X}h {self.information}" if self.key else ""
        sense += " deferred" * self.deferred
        return f"status {self.status} {sense} {len(self.data)} bytes -{self.underflow}"

    @property
    def good(self) -> bool:
        """Whether the command did all that it says."""
        return self.status in (GOOD, CONDITION_MET)


class Luck(Enum):
    """What may happen to commands that nothing is wrong with."""

    GOOD = "they succeed"
    PAUSED = "or, fused, are not repeated after a reset of the controller"
    ABORTED = "or are aborted by a reset"
    BAD = "or fail with the controller's commands"


class Wrong(AssertionError):
    """What an initiator was told, or shown, cannot be."""


@dataclass(frozen=True)
class Judge:
    """Holds commands that ran side by side against the medium.

    `exact_unmap`: blocks that were unmapped are zeroes at once; else they may still be as before.
    """

    lu: LogicalUnit
    medium: Medium
    exact_unmap: bool
    protected: bool = False

    def settle(self, ended: Sequence[tuple[Request, Outcome]], luck: Luck) -> None:
        """Check every outcome, and let the medium follow. Raises Wrong."""
        changes = [self._changes(request) for request, _ in ended]
        crossed = [
            _is_crossed(request, [*changes[:index], *changes[index + 1 :]])
            for index, (request, _) in enumerate(ended)
        ]
        for (request, outcome), is_crossed in zip(ended, crossed, strict=True):
            self._check_status(request, outcome, luck, is_crossed)
        effects = [
            self._effect(*each, own, is_crossed)
            for each, own, is_crossed in zip(ended, changes, crossed, strict=True)
        ]
        self.medium.apply(effects)
        for request, outcome in ended:
            self._check_comparison(request, outcome)
            if outcome.good and request.row.data is Data.IN:
                self._check_data(request, outcome)

    # ---- status ----

    def _check_status(
        self, request: Request, outcome: Outcome, luck: Luck, is_crossed: bool
    ) -> None:
        def require(holds: bool, message: str) -> None:
            if not holds:
                raise Wrong(f"{request}: {outcome!r}: {message}")

        require(not outcome.deferred, "nothing failed after its status")
        if is_refused(request, self.lu, protected=self.protected):
            told = outcome.status == CHECK_CONDITION and outcome.key in _REFUSALS
            require(told or _is_aborted(outcome, luck), "it must be refused")
        elif outcome.good:
            _check_residual(request, outcome, require)
        elif outcome.key == MISCOMPARE and compares_what_it_wrote(request):
            require(is_crossed or luck is Luck.BAD, "nobody else changed what it wrote")
        elif outcome.key != MISCOMPARE or not compares(request):
            fused = request.row.transfer is Transfer.TWICE_BLOCKS
            aborted = _is_aborted(outcome, luck, fused=fused)
            require(aborted or luck is Luck.BAD, "nothing is wrong with it")
        if not outcome.good and request.row.data is Data.IN:
            require(not outcome.data, "data that nobody may use")
            require(outcome.underflow in (None, request.expected), "not all is residual")
        if outcome.key == MEDIUM_ERROR and outcome.information is not None:
            block = outcome.information
            inside = any(lba <= block < lba + count for lba, count in named(request))
            require(inside, "INFORMATION is none of its blocks")

    # ---- effects ----

    def _effect(
        self, request: Request, outcome: Outcome, changes: Changes, is_crossed: bool
    ) -> Effect:
        if not is_crossed and not outcome.good and self._differs(request):
            return Effect()
        if is_refused(request, self.lu, protected=self.protected):
            return Effect()
        if outcome.key in (UNIT_ATTENTION, NOT_READY, ILLEGAL_REQUEST, DATA_PROTECT, MISCOMPARE):
            # Nothing was done, but for what ended elsewhere: WRITE AND VERIFY has written.
            done_before = outcome.key == MISCOMPARE and request.row.transfer is Transfer.BLOCKS
            may_have = outcome.key in (NOT_READY, DATA_PROTECT, ILLEGAL_REQUEST)
            if not done_before:
                return Effect(changes, -1) if may_have else Effect()
        if outcome.good:
            return Effect(changes)
        if outcome.information is None or is_scattered(request.row):
            return Effect(changes, -1)
        return Effect(changes, outcome.information)

    def _differs(self, request: Request) -> bool:
        """Whether it is COMPARE AND WRITE of what the blocks surely do not hold.

        However it ends, by a reset as well, it must have written nothing.
        """
        return request.row.transfer is Transfer.TWICE_BLOCKS and any(
            block not in self.medium.may_hold(lba) for lba, block in compares(request).items()
        )

    def _changes(self, request: Request) -> Changes:
        row = request.row
        if not row.modifies_medium:
            return {}
        if row.transfer is Transfer.BYTES:
            return {
                lba: self._unmapped
                for start, count in named(request)
                for lba in range(start, start + count)
            }
        if is_scattered(row):
            return self._scattered(request)
        moved = len(request.sent) // request.block_bytes
        if row.transfer is Transfer.BLOCKS:
            change = joins if joins_medium(row) else becomes
            return {request.lba + index: change(request.block(index)) for index in range(moved)}
        if row.transfer is Transfer.TWICE_BLOCKS:
            half = request.blocks
            return {
                request.lba + index: becomes(request.block(half + index)) for index in range(half)
            }
        same = becomes(request.sent or bytes(request.block_bytes))
        return dict.fromkeys(range(request.lba, request.lba + request.blocks), same)

    def _scattered(self, request: Request) -> Changes:
        """Return what blocks become; of ranges that meet any may be the one that is seen."""
        changes: dict[int, frozenset[bytes]] = {}
        index = 1  # the first block is the list
        for lba, count in named(request):
            for each in range(lba, lba + count):
                changes[each] = changes.get(each, frozenset()) | {request.block(index)}
                index += 1
        return {lba: _one_of(blocks) for lba, blocks in changes.items()}

    def _unmapped(self, old: bytes) -> frozenset[bytes]:
        zeroes = bytes(self.medium.block_bytes)
        return frozenset({zeroes}) if self.exact_unmap else frozenset({zeroes, old})

    # ---- what was seen ----

    def _check_data(self, request: Request, outcome: Outcome) -> None:
        size = request.block_bytes
        wanted = min(request.expected, request.announced)
        if len(outcome.data) != wanted:
            raise Wrong(f"{request}: {len(outcome.data)} bytes came, not {wanted}")
        for index in range(wanted // size):
            block = outcome.data[index * size : (index + 1) * size]
            self._check_seen(request, request.lba + index, block)
        rest = wanted % size
        if rest:
            lba = request.lba + wanted // size
            if not any(each[:rest] == outcome.data[-rest:] for each in self._seen(lba)):
                raise Wrong(f"{request}: block {lba} begins with {outcome.data[-rest:].hex()}")

    def _seen(self, lba: int) -> frozenset[bytes]:
        return self.medium.may_be_seen(lba)

    def _check_seen(self, request: Request, lba: int, block: bytes) -> None:
        possible = self._seen(lba)
        if not self.medium.saw(lba, block):
            told = " or ".join(sorted(each[:16].hex() for each in possible))
            raise Wrong(f"{request}: block {lba} is {block[:16].hex()}…, not {told}…")

    def _check_comparison(self, request: Request, outcome: Outcome) -> None:
        compared = compares(request)
        if not compared or is_refused(request, self.lu, protected=self.protected):
            return
        # Before the Write of COMPARE AND WRITE, which `apply` has let have its effect.
        if outcome.good and request.row.transfer is not Transfer.TWICE_BLOCKS:
            for lba, block in compared.items():
                self._check_seen(request, lba, block)
        elif outcome.good:
            self._require_possible(request, compared)
        elif outcome.key == MISCOMPARE:
            same = all(self._seen(lba) == {block} for lba, block in compared.items())
            if same:
                raise Wrong(f"{request}: a miscompare, but the blocks hold these data")
            self._check_difference(request, outcome, compared)

    def _require_possible(self, request: Request, compared: Mapping[int, bytes]) -> None:
        for lba, block in compared.items():
            if block not in self._seen(lba):
                raise Wrong(f"{request}: GOOD, but block {lba} is not what was compared")

    def _check_difference(
        self, request: Request, outcome: Outcome, compared: Mapping[int, bytes]
    ) -> None:
        """COMPARE AND WRITE tells the byte that differs. Spec: SBC-3 5.2."""
        if request.row.transfer is not Transfer.TWICE_BLOCKS or outcome.information is None:
            return
        held = [self._seen(lba) for lba in compared]
        if any(len(each) > 1 for each in held):
            return
        medium = b"".join(block for each in held for block in each)
        wanted = b"".join(compared.values())
        first = next(
            at for at, pair in enumerate(zip(medium, wanted, strict=True)) if pair[0] != pair[1]
        )
        if outcome.information != first:
            raise Wrong(f"{request}: differs at byte {first}, told {outcome.information}")


def _one_of(blocks: frozenset[bytes]) -> Callable[[bytes], frozenset[bytes]]:
    return lambda old: blocks


def _is_crossed(request: Request, others: Sequence[Changes]) -> bool:
    """Whether others that ran beside a command change its blocks."""
    own = range(request.lba, request.lba + request.blocks)
    return not all(each.keys().isdisjoint(own) for each in others)


def _is_aborted(outcome: Outcome, luck: Luck, *, fused: bool = False) -> bool:
    if luck is Luck.GOOD:
        return False
    if luck is Luck.PAUSED:
        return fused and outcome.key == ABORTED_COMMAND
    return outcome.status in (None, TASK_ABORTED, BUSY) or outcome.key == UNIT_ATTENTION


def _check_residual(
    request: Request, outcome: Outcome, require: Callable[[bool, str], None]
) -> None:
    if outcome.overflow is None:
        return
    over = max(0, request.announced - request.expected)
    under = max(0, request.expected - request.announced)
    if request.row.data is Data.NONE:
        over, under = 0, request.expected
    told = (outcome.overflow, outcome.underflow)
    require(told == (over, under), f"residual counts {told}, not {(over, under)}")
