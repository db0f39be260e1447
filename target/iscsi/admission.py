"""Who may be connected: no peer, and no initiator, takes the place of the others. No I/O.

A connection is half open until it has logged in. Whoever sent nothing yet makes room for
newcomers; whoever fills the rest makes room for those who have less. Discovery sessions, which
may want no authentication where the targets do, have places of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import field
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Protocol, TypeVar

from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.login import Claim

IDLE_SECONDS = 1.0  # a login that goes on sends its next PDU sooner


class CrowdedError(Exception):
    """There is no room for one more connection."""


@dataclass(frozen=True)
class Limits:
    """How many connections there may be: half open, in discovery sessions, in normal ones.

    `maximum` and what follows is about normal sessions. An address is an IPv4 address or an
    IPv6 network of 64 bits, which anybody has who has one of its addresses.
    """

    half_open: int = 128
    half_open_per_address: int = 32
    discovery: int = 64
    maximum: int = 1024
    per_initiator: int = 256
    per_address: int = 512

    @classmethod
    def within(cls, connections: int) -> Limits:
        """Return limits for so many connections of all kinds, of which nobody can take all."""
        half_open = max(1, min(cls.half_open, connections // 4))
        discovery = max(1, min(cls.discovery, connections // 8))
        maximum = max(1, min(cls.maximum, connections - half_open - discovery))
        return cls(
            half_open=half_open,
            half_open_per_address=max(1, half_open // 4),
            discovery=discovery,
            maximum=maximum,
            per_initiator=max(1, maximum // 4),
            per_address=max(1, maximum // 2),
        )


def source_of(host: str) -> str:
    """Return what a peer's address counts as."""
    address = ip_address(host.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))


@dataclass(eq=False, slots=True)
class HalfOpen:
    """A connection that has not logged in yet. `drop` ends it.

    `heard`: when it sent its last PDU, None before the first. `logged_in`: nothing is wrong with
    its login, which is about to find its place.
    """

    source: str
    drop: Callable[[], object] = lambda: None
    heard: float | None = None
    logged_in: bool = False


class _FromSource(Protocol):
    @property
    def source(self) -> str:
        """Where it comes from."""


_T = TypeVar("_T", bound=_FromSource)


def first_of_heaviest(among: Sequence[_T], there: Iterable[_T], newcomer: str) -> _T:
    """Return the first of some whose source has most of what is there, a newcomer included."""
    held = Counter(one.source for one in there)
    held[newcomer] += 1
    return max(among, key=lambda one: held[one.source])


class Admission:
    """Counts connections, and says who may come and who has to go.

    `limits` may change: who is there may stay.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._half_open: list[HalfOpen] = []  # the oldest first
        self._logged_in: Counter[str] = Counter()  # by initiator name
        self._sources: Counter[str] = Counter()  # of those

    def enter(self, source: str) -> HalfOpen:
        """Take one more connection, and drop another one for it if there is no room.

        Raises CrowdedError if that is not possible.
        """
        own = [one for one in self._half_open if one.source == source]
        if len(own) >= self.limits.half_open_per_address:
            self._make_room(source, own)
        elif len(self._half_open) >= self.limits.half_open:
            self._make_room(source, self._half_open)
        entered = HalfOpen(source)
        self._half_open.append(entered)
        return entered

    def _make_room(self, source: str, among: list[HalfOpen]) -> None:
        """Drop the oldest silent connection, else one of who has more than the newcomer.

        Whoever has less than the newcomer is spared: else those who speak and stay would
        drive out who is about to speak.
        """
        held = Counter(one.source for one in self._half_open)
        more = [(one, held[one.source] - held[source]) for one in among if not one.logged_in]
        idle_since = self._clock() - IDLE_SECONDS
        able = [one for one, excess in more if one.heard is None and excess >= 0] or [
            one
            for one, excess in more
            if one.heard is not None and (excess > 1 or (excess > 0 and one.heard <= idle_since))
        ]
        if not able:
            raise CrowdedError("too many connections that have not logged in")
        chosen = first_of_heaviest(able, self._half_open, source)
        self._half_open.remove(chosen)
        chosen.drop()

    def hear(self, half_open: HalfOpen) -> None:
        """Take note of a PDU."""
        half_open.heard = self._clock()

    def leave(self, half_open: HalfOpen) -> None:
        """Take note that a connection is not half open any more."""
        if half_open in self._half_open:
            self._half_open.remove(half_open)

    def crowd(self, initiator: str, source: str) -> str:
        """Return why an initiator may not have one more connection; nothing if it may."""
        limits = self.limits
        for held, limit, whose in (
            (self._logged_in[initiator], limits.per_initiator, "this initiator has"),
            (self._sources[source], limits.per_address, f"{source} has"),
            (self._logged_in.total(), limits.maximum, "there are"),
        ):
            if held >= limit:
                return f"{whose} {held} connections, as many as there may be"
        return ""

    def begin(self, initiator: str, source: str) -> None:
        """Count a connection that has logged in."""
        self._logged_in[initiator] += 1
        self._sources[source] += 1

    def end(self, initiator: str, source: str) -> None:
        """Count one less."""
        for counter, key in ((self._logged_in, initiator), (self._sources, source)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]


class Trust:
    """Which claims were proved from where: these need not wait for others' wrong proofs. No I/O.

    A wrong proof ends that for `REGAINED_SECONDS`, right ones in between or not: who guesses a
    secret by such a claim, from the same source, gains one guess in that time, or one more for
    each time that the claim is pushed out by others which were proved from there.
    """

    REGAINED_SECONDS = 600.0
    SOURCES = 1024
    CLAIMS = 64  # of each source

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # From when on each is trusted; what was proved last is at the end.
        self._since: dict[str, dict[Claim, float]] = {}

    def __contains__(self, proof: tuple[str, Claim]) -> bool:
        """Whether a source and a claim are trusted."""
        source, claim = proof
        since = self._since.get(source, {}).get(claim)
        return since is not None and since <= self._clock()

    def proved(self, source: str, claim: Claim) -> None:
        """Take note of a right proof."""
        claims = self._since.pop(source, {})
        since = claims.pop(claim, self._clock())
        self._since[source] = claims
        claims[claim] = since
        if len(claims) > self.CLAIMS:
            del claims[next(iter(claims))]
        if len(self._since) > self.SOURCES:
            del self._since[next(iter(self._since))]

    def failed(self, source: str, claim: Claim) -> None:
        """Take note of a wrong proof."""
        claims = self._since.get(source, {})
        if claim in claims:
            claims[claim] = self._clock() + self.REGAINED_SECONDS


@dataclass(slots=True)
class _Wait:
    """Until when a source has to wait, and in which order."""

    until: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class ProofPace:
    """Looks at proofs of who failed to prove himself one by one, and waits after each wrong one.

    A source is held up as a whole, right proofs too: else who guesses would know from the
    delay that he was wrong, and try again on another connection. Who is trusted is not held up.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[str, _Wait] = {}
        self._trust = Trust()

    @contextlib.asynccontextmanager
    async def turn(self, source: str, claim: Claim) -> AsyncIterator[None]:
        """Wait until it is the turn of one of the source's proofs.

        The proof is to be looked at at once, without awaiting anything before `failed`.
        """
        wait = self._waits.get(source)
        if wait is None or (source, claim) in self._trust:
            yield
            return
        wait.waiting += 1
        try:
            async with wait.turn:
                await asyncio.sleep(wait.until - time.monotonic())
                yield
        finally:
            wait.waiting -= 1

    def proved(self, source: str, claim: Claim) -> None:
        """Take note of a right proof."""
        self._trust.proved(source, claim)

    def failed(self, source: str, claim: Claim) -> None:
        """Take note of a wrong proof."""
        self._trust.failed(source, claim)
        now = time.monotonic()
        for name, wait in list(self._waits.items()):
            if wait.until <= now and not wait.waiting:
                del self._waits[name]
        self._waits.setdefault(source, _Wait(now)).until = now + self._seconds
