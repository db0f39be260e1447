"""ROD tokens: each stands for blocks of a logical unit, for copies to come. Spec: SPC-4 5.17.6.

No copy of the blocks is kept. What was to be as at one point in time is revoked before any of its
blocks change: a token never stands for other data than those for which it was made.
"""

from __future__ import annotations

import hmac
import itertools
import time
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from enum import Enum
from typing import Protocol

from scsi2nvme.records import dataclass
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.extents import meet, merged

MOST_RANGES = 64  # of one token
MOST_TOKENS = 512  # of all; who has most makes room for who has less
MOST_OWN_TOKENS = 64  # that one I_T nexus has made; the one goes that was not used for longest
# What they stand for is looked at for each command that may change it.
MOST_ALL_RANGES, MOST_OWN_RANGES = 4096, 512
_MOST_ENDED = 1024  # of which is known why
DEFAULT_INACTIVITY_S, LONGEST_INACTIVITY_S = 60, 600
LIFETIME_S = 3600
_SOON_S = 1.0  # after a timer should have run


class End(Enum):
    """Why a token is no more."""

    REVOKED = "blocks have changed, or are there no longer"
    EXPIRED = "its time was over"
    CANCELLED = "there was no room for more"
    DELETED = "who used it last wanted it so"


class Timer(Protocol):
    """What will happen later, unless it is cancelled."""

    def cancel(self) -> None:
        """Have it not happen."""


def _never(seconds: float, call: Callable[[], None]) -> Timer | None:
    """Have nothing happen later: there is no clock."""


@dataclass(eq=False, slots=True)
class RodToken:
    """A token; `data` are all of its bytes.

    `extents` are blocks of `source`, in the order of the data that they are. `vulnerable`: it is
    revoked when they change; else it stands for what they hold when they are read.
    """

    number: int
    data: bytes
    source: Rods
    extents: tuple[range, ...]
    owner: str
    vulnerable: bool
    block_bytes: int
    inactivity_s: float
    ends_s: float
    used_s: float
    uses: int = 0  # copies under way
    end: End | None = None

    @property
    def blocks(self) -> int:
        """How many there are."""
        return sum(len(each) for each in self.extents)

    @property
    def due_s(self) -> float:
        """When it expires, if nobody uses it until then."""
        return self.ends_s if self.uses else min(self.used_s + self.inactivity_s, self.ends_s)


@dataclass(eq=False)
class Rods:
    """What tokens a logical unit is the source of.

    `watch` is told of the blocks whose changes are to be told by `changed`, before they happen.
    """

    unit: BlockDevice
    watch: Callable[[Sequence[range]], None] = field(default=lambda blocks: None)
    vulnerable: list[RodToken] = field(default_factory=list)
    others: list[RodToken] = field(default_factory=list)
    tokens: Tokens = field(default_factory=lambda: Tokens())
    _watched: list[range] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)  # of these
    _ending: bool = False  # some at once

    def changed(self, blocks: Sequence[range] | None) -> None:
        """Some blocks are about to change; None: any of them may."""
        if blocks is None:
            self.end(list(self.vulnerable), End.REVOKED)
        elif self._are_watched(blocks):
            blocks = merged(blocks)
            met = [token for token in self.vulnerable if meet(token.extents, blocks)]
            self.end(met, End.REVOKED)

    def end_all(self, why: End | None) -> None:
        """End what was made here; None: nobody knows of it any more."""
        self.end([*self.vulnerable, *self.others], why)

    def end(self, tokens: Iterable[RodToken], why: End | None) -> None:
        """End some of what was made here; who watches is told once."""
        before = len(self.vulnerable)
        self._ending = True
        try:
            for token in tokens:
                self.tokens.end(token, why)
        finally:
            self._ending = False
            if len(self.vulnerable) != before:
                self._watch()

    def add(self, token: RodToken) -> None:
        """A token was made."""
        (self.vulnerable if token.vulnerable else self.others).append(token)
        if token.vulnerable:
            self._watch()

    def remove(self, token: RodToken) -> None:
        """A token is no more."""
        (self.vulnerable if token.vulnerable else self.others).remove(token)
        if token.vulnerable and not self._ending:
            self._watch()

    def _watch(self) -> None:
        self._watched = merged([each for token in self.vulnerable for each in token.extents])
        self._ends = [each.stop for each in self._watched]
        self.watch(self._watched)

    def _are_watched(self, blocks: Sequence[range]) -> bool:
        """Whether there may be a token of some blocks."""
        for each in blocks:
            at = bisect_right(self._ends, each.start)
            if at < len(self._watched) and self._watched[at].start < each.stop:
                return True
        return False


def _ranges(tokens: Iterable[RodToken]) -> int:
    return sum(len(token.extents) for token in tokens)


def _count(tokens: Iterable[RodToken]) -> int:
    return sum(1 for _ in tokens)


def _idle(tokens: Iterable[RodToken]) -> RodToken | None:
    """Return the first that no copy uses."""
    return next((token for token in tokens if not token.uses), None)


class Tokens:
    """The tokens of all logical units that copies can be made between.

    `now` is the clock, `later` calls something after so many seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.later: Callable[[float, Callable[[], None]], Timer | None] = _never
        self._live: OrderedDict[int, RodToken] = OrderedDict()  # the latest used last
        self._ended: OrderedDict[int, tuple[bytes, End]] = OrderedDict()
        self._numbers = itertools.count(1)
        self._timer: Timer | None = None

    def create(
        self,
        source: Rods,
        extents: tuple[range, ...],
        owner: str,
        block_bytes: int,
        build: Callable[[int], bytes],
        *,
        vulnerable: bool,
        inactivity_s: float = 0,
    ) -> RodToken | None:
        """Return a new token, whose bytes `build` returns for its number; None: there is no room.

        `owner` is the key of the nexus that makes it; no `inactivity_s`: as long as is usual.
        """
        self.expire()
        if not self._has_room(owner, len(extents)):
            return None
        number, now_s = next(self._numbers), self.now()
        token = RodToken(
            *(number, build(number), source, extents, owner, vulnerable, block_bytes),
            inactivity_s=inactivity_s or DEFAULT_INACTIVITY_S,
            ends_s=now_s + LIFETIME_S,
            used_s=now_s,
        )
        self._live[number] = token
        source.add(token)
        self._run_timer()
        return token

    def find(self, number: int, data: bytes) -> RodToken | End | None:
        """Return the token with such bytes, why it is no more, or None if there never was one."""
        self.expire()
        token = self._live.get(number)
        if token is not None:
            return token if hmac.compare_digest(token.data, data) else None
        ended = self._ended.get(number)
        return ended[1] if ended is not None and hmac.compare_digest(ended[0], data) else None

    def all(self) -> list[RodToken]:
        """Return those that can be used, the oldest first."""
        self.expire()
        return sorted(self._live.values(), key=lambda token: token.number)

    def use(self, token: RodToken) -> None:
        """A copy begins: the token does not expire for inactivity before it ends."""
        token.uses += 1

    def used(self, token: RodToken, *, delete: bool = False) -> None:
        """It has ended; `delete`: the token is wanted no more."""
        token.uses -= 1
        token.used_s = self.now()
        if token.end is None:
            self._live.move_to_end(token.number)
            if delete:
                self.end(token, End.DELETED)
        self._run_timer()

    def end(self, token: RodToken, why: End | None) -> None:
        """It can be used no more; None: and nobody is told why."""
        if self._live.pop(token.number, None) is None:
            return
        token.end = why or End.REVOKED
        if why is not None:
            self._ended[token.number] = token.data, why
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)
        token.source.remove(token)

    def expire(self) -> None:
        """End those whose time is over."""
        now_s = self.now()
        over = [each for each in self._live.values() if each.due_s <= now_s]
        for source in {token.source for token in over}:
            source.end([token for token in over if token.source is source], End.EXPIRED)

    def stop(self) -> None:
        """Have nothing happen later any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.later, self._timer = _never, None

    def _has_room(self, owner: str, ranges: int) -> bool:
        """Make room for another token of an owner's, which stands for so many ranges, if need be.

        Another's goes for it only where that one has more than this one would have with it.
        """
        own = [token for token in self._live.values() if token.owner == owner]
        while len(own) >= MOST_OWN_TOKENS or _ranges(own) + ranges > MOST_OWN_RANGES:
            idle = _idle(own)
            if idle is None:
                return False
            self.end(idle, End.CANCELLED)
            own.remove(idle)
        while (most := self._lacking(ranges)) is not None:
            mine = len(own) + 1 if most is _count else _ranges(own) + ranges
            idle = self._of_the_richest(most, mine) or _idle(own)
            if idle is None:
                return False
            self.end(idle, End.CANCELLED)
            own = [token for token in own if token is not idle]
        return True

    def _lacking(self, ranges: int) -> Callable[[Iterable[RodToken]], int] | None:
        """Return how to count what there is not enough of for another token; None: there is."""
        every = self._live.values()
        if len(every) >= MOST_TOKENS:
            return _count
        return _ranges if _ranges(every) + ranges > MOST_ALL_RANGES else None

    def _of_the_richest(
        self, count: Callable[[Iterable[RodToken]], int], mine: int
    ) -> RodToken | None:
        """Return what was not used for longest of the owner with most; None: he has not more."""
        owners: dict[str, list[RodToken]] = defaultdict(list)
        for token in self._live.values():
            owners[token.owner].append(token)
        for tokens in sorted(owners.values(), key=count, reverse=True):
            if count(tokens) <= mine:
                return None
            if (idle := _idle(tokens)) is not None:
                return idle
        return None

    def _run_timer(self) -> None:
        if self._timer is not None or not self._live:
            return
        first_s = min(token.due_s for token in self._live.values())
        self._timer = self.later(max(first_s - self.now(), 0) + _SOON_S, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self.expire()
        self._run_timer()
