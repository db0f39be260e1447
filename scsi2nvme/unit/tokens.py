"""ROD tokens: each stands for blocks of a logical unit, for copies to come. Spec: SPC-4 5.17.6.

No copy of the blocks is kept. What was to be as at one point in time is revoked before any of its
blocks change: a token never stands for other data than those for which it was made.
"""

from __future__ import annotations

import hmac
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from scsi2nvme.unit.block_device import BlockDevice

MOST_RANGES = 64  # of one token
MOST_TOKENS = 512  # of all
MOST_OWN_TOKENS = 64  # that one I_T nexus has made; the one goes that was not used for longest
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


def merged(extents: Sequence[range]) -> list[range]:
    """Return the same blocks in ascending order, as ranges that are apart."""
    result: list[range] = []
    for each in sorted(extents, key=lambda blocks: blocks.start):
        if result and each.start <= result[-1].stop:
            result[-1] = range(result[-1].start, max(result[-1].stop, each.stop))
        elif each:
            result.append(each)
    return result


def meet(some: Sequence[range], others: Sequence[range]) -> bool:
    """Whether any block is of both."""
    return any(
        max(one.start, other.start) < min(one.stop, other.stop) for one in some for other in others
    )


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

    def changed(self, blocks: Sequence[range] | None) -> None:
        """Some blocks are about to change; None: any of them may."""
        met = [token for token in self.vulnerable if blocks is None or meet(token.extents, blocks)]
        for token in met:
            self.tokens.end(token, End.REVOKED)

    def end_all(self, why: End | None) -> None:
        """End what was made here; None: nobody knows of it any more."""
        for token in [*self.vulnerable, *self.others]:
            self.tokens.end(token, why)

    def add(self, token: RodToken) -> None:
        """A token was made."""
        (self.vulnerable if token.vulnerable else self.others).append(token)
        if token.vulnerable:
            self._watch()

    def remove(self, token: RodToken) -> None:
        """A token is no more."""
        (self.vulnerable if token.vulnerable else self.others).remove(token)
        if token.vulnerable:
            self._watch()

    def _watch(self) -> None:
        self.watch(merged([each for token in self.vulnerable for each in token.extents]))


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
        if not self._has_room(owner):
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
        for token in [each for each in self._live.values() if each.due_s <= now_s]:
            self.end(token, End.EXPIRED)

    def stop(self) -> None:
        """Have nothing happen later any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.later, self._timer = _never, None

    def _has_room(self, owner: str) -> bool:
        own = [token for token in self._live.values() if token.owner == owner]
        if len(own) < MOST_OWN_TOKENS:
            return len(self._live) < MOST_TOKENS
        idle = next((token for token in own if not token.uses), None)
        if idle is not None:
            self.end(idle, End.CANCELLED)
        return idle is not None

    def _run_timer(self) -> None:
        if self._timer is not None or not self._live:
            return
        first_s = min(token.due_s for token in self._live.values())
        self._timer = self.later(max(first_s - self.now(), 0) + _SOON_S, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self.expire()
        self._run_timer()
