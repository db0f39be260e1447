"""Names of logical units: worldwide unique, whatever disks say of themselves.

Some disks have the identifiers of others: copies of an image, and products that are all
alike. An initiator joins what has one name to one disk, and then reads from either. So
namespaces that tell the same NGUID, EUI-64 or UUID and are not the same namespace are named
by model, serial number and NSID, both of them; where that is equal, too, only the first is
served. The half of an NAA designator that some initiators go by counts as an identifier.
A dual-ported disk is one disk: two controllers of one subsystem. What is absent may be judged
beside what is there, by what it told when it was: then nobody takes its name meanwhile.

Spec: SPC-4 7.8.6 (designators), NVMe Base 2.0c 5.17.2.1 (SUBNQN, CNTLID, CMIC), 4.5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from hashlib import sha256
from typing import Self

from scsi2nvme.fields import Values
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.records import dataclass
from scsi2nvme.unit import naa

_MULTIPLE_CONTROLLERS = 1 << 1  # CMIC
_SHARED = 1  # NMIC
_MODEL_CHARACTERS = 16  # of them, as in INQUIRY data, are in the name
_ADVICE = "if one is a copy of the other, give it a serial number of its own (serial=)"


def subsystem_of(controller: Values) -> str:
    """Return what stands for a disk that may have several controllers, "" for others."""
    nqn, model, serial = (controller.bytes(name) for name in ("subnqn", "mn", "sn"))
    several = any(nqn) and controller.cmic & _MULTIPLE_CONTROLLERS
    return sha256(nqn + model + serial).hexdigest() if several else ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a namespace tells of which it is, as text that can be kept.

    `identifiers` are unique in the world, or ought to be; `fallback` is what it is named by where
    they do not count. `subsystem` stands for SUBNQN, model and serial number of a disk that may
    have several controllers, "" for others; `cntlid` is that of the controller.
    """

    nsid: int
    identifiers: tuple[str, ...]
    fallback: str
    subsystem: str
    cntlid: int

    @classmethod
    def of(cls, facts: NamespaceFacts) -> Self:
        """Return what a namespace tells."""
        controller = facts.controller
        named = {"NGUID": facts.nguid, "EUI-64": facts.eui64, "UUID": facts.uuid}
        named["NAA"] = naa.registered(facts)[:8]
        model, serial = controller.bytes("mn"), controller.bytes("sn")
        words = (model[:_MODEL_CHARACTERS].hex(), serial.hex())
        return cls(
            facts.nsid,
            tuple(f"{kind} {value.hex()}" for kind, value in named.items() if value),
            f"{controller.vid:04x} {' '.join(words)} {facts.nsid}",
            subsystem_of(controller),
            controller.cntlid,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A namespace that wants to be named. `label` says which it is, for people.

    `ambiguous`: its identifiers were found to be another's before, and do not count. `absent`: it
    is not there, and nobody has to be told what becomes of it.
    """

    label: str
    identity: Identity
    ambiguous: bool = False
    absent: bool = False


class Verdict(Enum):
    """How a namespace may be named."""

    OWN = "by its own identifiers"
    MODEL = "by model, serial number and namespace"
    NONE = "not at all: it cannot be told from another"


def same_namespace(one: Identity, other: Identity) -> bool:
    """Whether two controllers lead to one namespace, as ports of one disk.

    SUBNQN alone does not tell: a copy has it, too, and some products are all alike. In one
    subsystem no two controllers have the same CNTLID.
    """
    ports = one.subsystem == other.subsystem != "" and one.cntlid != other.cntlid
    return ports and one.nsid == other.nsid


def shared(one: NamespaceFacts, other: NamespaceFacts) -> bool:
    """Whether two controllers lead to one namespace, and say that it is shared.

    Spec: NVMe Base 2.0c 2.4.1; NVM Command Set 1.0c 4.1.5.1 (NMIC).
    """
    here, there = Identity.of(one), Identity.of(other)
    said = one.namespace.nmic & other.namespace.nmic & _SHARED
    alike = replace(here, cntlid=0) == replace(there, cntlid=0)
    return bool(said) and alike and same_namespace(here, there)


def _pairs(
    claims: Sequence[Claim], names: Callable[[int], Iterable[str]]
) -> Iterator[tuple[int, int]]:
    """Yield who comes earlier and later of two that have a name in common, but are not one."""
    taken: dict[str, list[int]] = {}
    for later, claim in enumerate(claims):
        for name in names(later):
            owners = taken.setdefault(name, [])
            for earlier in owners:
                if not same_namespace(claims[earlier].identity, claim.identity):
                    yield earlier, later
            owners.append(later)


def judge(claims: Sequence[Claim], tell: Callable[[str], None]) -> list[Verdict]:
    """Return how each namespace may be named; of those that cannot be told apart, the first is.

    `tell` gets a line for each two that have something in common.
    """
    verdicts = [Verdict.MODEL if claim.ambiguous else Verdict.OWN for claim in claims]
    identifiers = [set(claim.identity.identifiers) for claim in claims]

    def refuse(pairs: Iterable[tuple[int, int]]) -> None:
        for earlier, later in list(pairs):
            if Verdict.NONE not in (verdicts[earlier], verdicts[later]):
                verdicts[later] = Verdict.NONE
                if claims[later].absent:
                    continue
                tell(
                    f"{claims[later].label} is not served: it cannot be told from "
                    f"{claims[earlier].label}, which has its identifiers, model and serial "
                    f"number; {_ADVICE}, or serve only one of them"
                )

    # Copies, so that the original keeps its name.
    same_model = _pairs(claims, lambda index: [claims[index].identity.fallback])
    refuse(pair for pair in same_model if identifiers[pair[0]] & identifiers[pair[1]])
    for pair in _pairs(claims, lambda index: identifiers[index]):
        if Verdict.NONE in (verdicts[pair[0]], verdicts[pair[1]]):
            continue
        for index in pair:
            verdicts[index] = Verdict.MODEL
        if not all(claims[index].absent for index in pair):
            tell(
                f"{claims[pair[1]].label} and {claims[pair[0]].label} have the same identifiers: "
                f"both are named by model, serial number and namespace instead; {_ADVICE}"
            )
    # Those that are named so have to differ in that.
    refuse(
        _pairs(
            claims,
            lambda index: (
                [claims[index].identity.fallback]
                if verdicts[index] is Verdict.MODEL or not identifiers[index]
                else []
            ),
        )
    )
    return verdicts
