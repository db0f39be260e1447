"""Who bears which name, also from one start of the daemon to the next.

Of two disks that tell the same of themselves only where they are tells which is which. So of each
place where the configuration has a disk, what was last seen there is on record, and counts until
it is known what is there now: a copy that is up before its original, or without it, is judged as
if the original were there. Of those that cannot be told apart goes first

1. who bore the name last, if the disk is up, or has not been seen since the daemon started;
2. who is not on record, first in the configuration: a new disk, or one that was moved;
3. who bore it last and is gone: its place tells of another disk, or is not configured;
4. who was refused for another's sake: a known copy, which gets nothing by waiting.

`forget` strikes those that are gone, or not up, off the record.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from enum import IntEnum

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.cli.spec import spelled
from scsi2nvme.printable import printable
from scsi2nvme.records import dataclass
from scsi2nvme.service.names import Claim, Identity, Verdict, judge
from scsi2nvme.typed import table
from scsi2nvme.unit.store import UnsavedState

log = logging.getLogger(__name__)

MAXIMUM_NAMESPACES = 16384  # on record, of all disks that are configured
MAXIMUM_GONE = 1024  # of what is gone: disks, namespaces that bore names, and known copies
_KEY = "names"  # in the store

_Key = tuple[str, Identity]
"""Of which namespace is told: its place, and what it tells itself."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A namespace as it was seen at a place. `refused`: it was not named, as another bore that."""

    place: str
    identity: Identity
    refused: bool

    @property
    def key(self) -> _Key:
        """Of which namespace this tells."""
        return self.place, self.identity


@dataclass(frozen=True, slots=True)
class Disk:
    """What the disk at a place is called, and its target, "" where that is another's."""

    place: str
    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept."""

    disks: tuple[Disk, ...]
    namespaces: tuple[Seen, ...]

    def __post_init__(self) -> None:
        for what, keys in (
            ("disks", [disk.place for disk in self.disks]),
            ("namespaces", [seen.key for seen in self.namespaces]),
        ):
            if len(set(keys)) < len(keys):
                raise ValueError(f"{what}: tells one twice")


@dataclass(frozen=True, slots=True)
class Shown:
    """A namespace that is there. `known`: it is a logical unit already, `ambiguous` or not."""

    number: int
    label: str
    identity: Identity
    known: bool
    ambiguous: bool


class Rank(IntEnum):
    """Who goes first of those that cannot be told apart: see above."""

    BORE = 1
    UNKNOWN = 2
    GONE = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A claim with its precedence, and where it stands among those that are there."""

    precedence: tuple[Rank, bool, int]
    claim: Claim
    index: int | None = None


class Bearers:
    """Keeps the `record` of names. OperationError if what is saved of it makes no sense."""

    def __init__(self, store: JsonStore, targets: Sequence[TargetSettings]) -> None:
        self._store = store
        self._targets = targets
        self.configured()
        self.record = self._saved = self._load()
        self._portals: dict[str, int] = {}  # who is a target since the start, by the target's name

    def configured(self) -> None:
        """The targets that there are to be are other ones now: more, each in its place."""
        self._places = places(self._targets)
        self._numbers = {place: number for number, place in enumerate(self._places)}

    def _load(self) -> Record:
        saved = self._store.load(_KEY)
        try:
            return Record((), ()) if saved is None else table(saved, Record)
        except ValueError as error:
            raise self._store.damaged(_KEY, error) from None

    def _keep(self, record: Record) -> None:
        self.record = record
        if record == self._saved:
            return
        with contextlib.suppress(UnsavedState):  # which the store has told: it counts all the same
            self._store.save(_KEY, asdict(record))
            self._saved = record

    # Namespaces

    def judge(
        self, shown: Sequence[Shown], up: Iterable[int], tell: Callable[[str], None]
    ) -> list[Verdict]:
        """Return how each namespace may be named: all that the controllers of numbers `up` show.

        `tell` as in `names.judge`.
        """
        there = {self._places[number] for number in up}
        keys = [(self._places[one.number], one.identity) for one in shown]
        ranked = [*self._ranked(shown, keys), *self._absent_ranked(keys, there)]
        ranked.sort(key=lambda each: each.precedence)
        found = judge([each.claim for each in ranked], tell)
        verdicts = [Verdict.NONE] * len(shown)
        for each, verdict in zip(ranked, found, strict=True):
            if each.index is not None:
                verdicts[each.index] = verdict
        now = self._seen(keys, verdicts)
        self._keep(replace(self.record, namespaces=self._with_absent(now, keys, there)))
        return verdicts

    def _seen(self, keys: Sequence[_Key], verdicts: Sequence[Verdict]) -> list[Seen]:
        """Return what to record of what is there.

        A copy is known for one when it was seen beside the other. What was refused for the sake
        of something absent may be that very disk, moved.
        """
        copies = {seen.key for seen in self.record.namespaces if seen.refused}
        pairs = list(zip(keys, verdicts, strict=True))
        borne = {key[1].fallback for key, verdict in pairs if verdict is not Verdict.NONE}
        return [
            Seen(*key, verdict is Verdict.NONE)
            for key, verdict in pairs
            if verdict is not Verdict.NONE or key in copies or key[1].fallback in borne
        ]

    def _ranked(self, shown: Sequence[Shown], keys: Sequence[_Key]) -> Iterator[_Ranked]:
        """Yield what is there; of one rank, logical units go before what wants to become one."""
        ranks = {False: Rank.BORE, None: Rank.UNKNOWN, True: Rank.REFUSED}
        lasting = {seen.key: seen.refused for seen in self.record.namespaces}
        for index, (one, key) in enumerate(zip(shown, keys, strict=True)):
            claim = Claim(one.label, one.identity, one.ambiguous)
            yield _Ranked((ranks[lasting.get(key)], not one.known, one.number), claim, index)

    def _absent_ranked(self, keys: Sequence[_Key], there: set[str]) -> Iterator[_Ranked]:
        """Yield what bore a name and is not there: what may come, and what is kept from a copy."""
        shown = set(keys)
        copies = {
            seen.identity.fallback
            for seen in self.record.namespaces
            if seen.refused and seen.key in shown
        }
        for seen in self.record.namespaces:
            awaited = self._awaited(seen.place, there)
            if seen.refused or seen.key in shown:
                continue
            if awaited or seen.identity.fallback in copies:
                claim = Claim(self._told(seen), seen.identity, absent=True)
                rank = Rank.BORE if awaited else Rank.GONE
                yield _Ranked((rank, True, self._number(seen.place)), claim)

    def _with_absent(
        self, now: Sequence[Seen], shown: Sequence[_Key], there: set[str]
    ) -> tuple[Seen, ...]:
        """Return what there is to know, given what was seen `now` at places whose disk is up.

        What is gone is kept until its name is borne, or its place has another; then only if it
        keeps a known copy from the name. What went first is last, and is dropped first.
        """
        keys = set(shown)
        rest = [seen for seen in self.record.namespaces if seen.key not in keys]
        absent = [seen for seen in rest if self._awaited(seen.place, there)]
        gone = [seen for seen in rest if not self._awaited(seen.place, there)]
        self._tell_moved(now, gone)
        replaced = {(place, identity.nsid) for place, identity in shown}
        left = [seen for seen in gone if (seen.place, seen.identity.nsid) not in replaced]
        left_keys = {seen.key for seen in left}
        copies = [seen for seen in left if seen.refused]
        bearers = [seen.identity for seen in (*now, *absent) if not seen.refused]
        borne = {name for identity in bearers for name in _names(identity)}
        wanted = {seen.identity.fallback for seen in (*now, *absent, *copies) if seen.refused}
        bore = [
            seen
            for seen in gone
            if not seen.refused
            and borne.isdisjoint(_names(seen.identity))
            and (seen.key in left_keys or seen.identity.fallback in wanted)
        ]
        models = {identity.fallback for identity in (*bearers, *(seen.identity for seen in bore))}
        copies = [seen for seen in copies if seen.identity.fallback in models]
        return *_bounded((*now, *absent)), *bore[:MAXIMUM_GONE], *copies[:MAXIMUM_GONE]

    def _tell_moved(self, now: Sequence[Seen], gone: Sequence[Seen]) -> None:
        """Tell of what bears from now on what another bore that is gone."""
        known = {seen.key for seen in self.record.namespaces}
        before = {seen.identity: seen.place for seen in gone if not seen.refused}
        for seen in now:
            place = before.get(seen.identity, seen.place)
            if not seen.refused and seen.key not in known and place != seen.place:
                log.warning(
                    "namespace %d at %s has the names that one had at %s, which is not there any "
                    "more: it is taken for the same, moved",
                    seen.identity.nsid,
                    seen.place,
                    place,
                )

    def _awaited(self, place: str, there: set[str]) -> bool:
        """Whether there is to be a disk at a place, and nothing is known of it yet."""
        return place in self._numbers and place not in there

    def _number(self, place: str) -> int:
        """Return where a place is in the configuration, -1: nowhere."""
        return self._numbers.get(place, -1)

    def _told(self, seen: Seen) -> str:
        number = self._number(seen.place)
        spec = self._targets[number].spec.text if number >= 0 else seen.place
        return (
            f"namespace {seen.identity.nsid} of controller {spec!r} (not there now; if it is gone "
            f"for good: scsi2nvme forget {shlex.quote(spec)})"
        )

    # Disks and targets

    def absent_names(self, served: Sequence[Served]) -> list[str]:
        """Return what the disks are called that are configured and not up, as far as is known."""
        return list(self._absent(served).values())

    def _absent(self, served: Sequence[Served]) -> dict[int, str]:
        up = {one.number for one in served}
        numbers = {self._number(disk.place): disk.name for disk in self.record.disks}
        return {number: name for number, name in numbers.items() if number not in {-1, *up}}

    def rivals(self, served: Sequence[Served]) -> Mapping[int, str]:
        """Settle who bears which target's name.

        Return whose name is another's, by number, with the SPEC of that other. First goes who is a
        target already, then who is given the name by the configuration, then
        who had it last.
        """
        names = self._target_names(served)
        last = {disk.place: disk.target for disk in self.record.disks}

        def precedence(number: int) -> tuple[bool, bool, bool, int]:
            name = names[number]
            already = self._portals.get(name) == number
            lasting = last.get(self._places[number]) == name
            return not already, not self._targets[number].iqn, not lasting, number

        bearers: dict[str, int] = {}
        for number in sorted(names, key=precedence):
            bearers.setdefault(names[number], number)
        rivals = {
            number: self._targets[bearers[name]].spec.text
            for number, name in names.items()
            if bearers[name] != number
        }
        up = {one.number: disk_name(one.controller.identity) for one in served}
        self._portals = {name: n for name, n in bearers.items() if n in up}
        disks = [
            Disk(self._places[number], name, "" if number in rivals else names.get(number, ""))
            for number, name in up.items()
        ]
        here = {disk.place for disk in disks}
        borne = {disk.target for disk in disks}
        rest = [
            replace(disk, target="" if disk.target in borne else disk.target)
            for disk in self.record.disks
            if disk.place not in here
        ]
        disks += [disk for disk in rest if disk.place in self._numbers]
        disks += [disk for disk in rest if disk.place not in self._numbers][:MAXIMUM_GONE]
        self.record = replace(self.record, disks=tuple(disks))  # saved with what it has
        return rivals

    def _target_names(self, served: Sequence[Served]) -> dict[int, str]:
        """Return the targets' names by number, as far as they are known."""
        disks = self._absent(served)
        disks |= {one.number: disk_name(one.controller.identity) for one in served}
        names = {}
        for number, target in enumerate(self._targets):
            with contextlib.suppress(UsageError):  # it can be no target's: told by the portal
                if target.own and (target.iqn or number in disks):
                    names[number] = target.name(disks.get(number, ""))
        return names

    # People

    def forget(self, asked: str, served: Sequence[Served]) -> None:
        """Strike off the record what is not there of a controller, by its SPEC, place or name.

        OperationError if there is nothing.
        """
        place = next(
            (
                self._places[number]
                for number, target in enumerate(self._targets)
                if asked == target.spec.text or spelled(asked) in target.spec.names(number)
            ),
            asked,
        )
        there = {
            (self._places[one.number], Identity.of(facts))
            for one in served
            for facts in one.controller.namespaces.values()
        }
        up = place in {self._places[one.number] for one in served}
        disks = tuple(disk for disk in self.record.disks if up or disk.place != place)
        kept = tuple(
            seen for seen in self.record.namespaces if seen.place != place or seen.key in there
        )
        if (disks, kept) == (self.record.disks, self.record.namespaces):
            raise OperationError(f"nothing is on record of {asked!r} that is not there now")
        self._keep(Record(disks, kept))


def _names(identity: Identity) -> set[tuple[str, str]]:
    """Return by what a namespace is told from others: no two bear one of these."""
    return {(identity.fallback, name) for name in identity.identifiers or ("",)}


def _bounded(seen: Sequence[Seen]) -> Sequence[Seen]:
    if len(seen) > MAXIMUM_NAMESPACES:
        log.error(
            "%d namespaces are more than the %d whose names are on record: after a restart copies "
            "are not told from the others",
            len(seen),
            MAXIMUM_NAMESPACES,
        )
    return seen[:MAXIMUM_NAMESPACES]


def places(targets: Sequence[TargetSettings]) -> list[str]:
    """Return what tells each controller's disk from others that tell the same of themselves.

    That is where it is, or for a disk that ends with the process, what it was asked for by.
    """
    return list(_numbered(printable(each.spec.place or each.spec.text) for each in targets))


def _numbered(names: Iterable[str]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        yield name if counts[name] == 1 else f"{name} ({counts[name]})"
