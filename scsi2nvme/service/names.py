"""Names of logical units: worldwide unique, whatever disks say of themselves.

Some disks have the identifiers of others: copies of an image, and products that are all
alike. An initiator joins what has one name to one disk, and then reads from either. So
namespaces that tell the same NGUID, EUI-64 or UUID and are not the same namespace are named
by model, serial number and NSID, both of them; where that is equal, too, only the first is
served. The half of an NAA designator that some initiators go by counts as an identifier.
A dual-ported disk is one disk: two controllers of one subsystem.

Spec: SPC-4 7.8.6 (designators), NVMe Base 2.0c 5.17.2.1 (SUBNQN, CNTLID, CMIC), 4.5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit import naa

_MULTIPLE_CONTROLLERS = 1 << 1  # CMIC
_MODEL_CHARACTERS = 16  # of them, as in INQUIRY data, are in the name
_ADVICE = "if one is a copy of the other, give it a serial number of its own (serial=)"


@dataclass(frozen=True, slots=True)
class Claim:
    """A namespace that wants to be named. `label` says which it is, for people.

    `ambiguous`: its identifiers were found to be another's before, and do not count.
    """

    label: str
    facts: NamespaceFacts
    ambiguous: bool = False


class Verdict(Enum):
    """How a namespace may be named."""

    OWN = "by its own identifiers"
    MODEL = "by model, serial number and namespace"
    NONE = "not at all: it cannot be told from another"


def same_subsystem(one: NamespaceFacts, other: NamespaceFacts) -> bool:
    """Whether two controllers are ports of one disk.

    SUBNQN alone does not tell: a copy has it, too, and some products are all alike. In one
    subsystem no two controllers have the same CNTLID.
    """
    first, second = one.controller, other.controller
    multiple = first.cmic & second.cmic & _MULTIPLE_CONTROLLERS
    alike = all(first.bytes(name) == second.bytes(name) for name in ("subnqn", "mn", "sn"))
    named = any(first.bytes("subnqn"))
    return bool(multiple) and alike and named and first.cntlid != second.cntlid


def same_namespace(one: NamespaceFacts, other: NamespaceFacts) -> bool:
    """Whether two controllers lead to one namespace."""
    return one.nsid == other.nsid and same_subsystem(one, other)


def _identifiers(facts: NamespaceFacts) -> set[Hashable]:
    named = {"NGUID": facts.nguid, "EUI-64": facts.eui64, "UUID": facts.uuid}
    named["NAA"] = naa.registered(facts)[:8]
    return {(kind, value) for kind, value in named.items() if value}


def _fallback(facts: NamespaceFacts) -> Hashable:
    """Return what the name is made of where identifiers do not count."""
    controller = facts.controller
    model = controller.bytes("mn")[:_MODEL_CHARACTERS]
    return controller.vid, model, controller.bytes("sn"), facts.nsid


def _pairs(
    claims: Sequence[Claim], names: Callable[[int], Iterable[Hashable]]
) -> Iterator[tuple[int, int]]:
    """Yield who comes earlier and later of two that have a name in common, but are not one."""
    taken: dict[Hashable, list[int]] = {}
    for later, claim in enumerate(claims):
        for name in names(later):
            owners = taken.setdefault(name, [])
            for earlier in owners:
                if not same_namespace(claims[earlier].facts, claim.facts):
                    yield earlier, later
            owners.append(later)


def judge(claims: Sequence[Claim], tell: Callable[[str], None]) -> list[Verdict]:
    """Return how each namespace may be named; of those that cannot be told apart, the first is.

    `tell` gets a line for each two that have something in common.
    """
    verdicts = [Verdict.MODEL if claim.ambiguous else Verdict.OWN for claim in claims]
    identifiers = [_identifiers(claim.facts) for claim in claims]

    def refuse(pairs: Iterable[tuple[int, int]]) -> None:
        for earlier, later in list(pairs):
            if Verdict.NONE not in (verdicts[earlier], verdicts[later]):
                verdicts[later] = Verdict.NONE
                tell(
                    f"{claims[later].label} is not served: it cannot be told from "
                    f"{claims[earlier].label}, which has its identifiers, model and serial "
                    f"number; {_ADVICE}, or serve only one of them"
                )

    # Copies, so that the original keeps its name.
    same_model = _pairs(claims, lambda index: [_fallback(claims[index].facts)])
    refuse(pair for pair in same_model if identifiers[pair[0]] & identifiers[pair[1]])
    for pair in _pairs(claims, lambda index: identifiers[index]):
        if Verdict.NONE in (verdicts[pair[0]], verdicts[pair[1]]):
            continue
        tell(
            f"{claims[pair[1]].label} and {claims[pair[0]].label} have the same identifiers: "
            f"both are named by model, serial number and namespace instead; {_ADVICE}"
        )
        for index in pair:
            verdicts[index] = Verdict.MODEL
    # Those that are named so have to differ in that.
    refuse(
        _pairs(
            claims,
            lambda index: (
                [_fallback(claims[index].facts)]
                if verdicts[index] is Verdict.MODEL or not identifiers[index]
                else []
            ),
        )
    )
    return verdicts
