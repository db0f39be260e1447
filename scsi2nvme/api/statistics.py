"""Statistics as the control API has them: their shapes, and the method."""

from __future__ import annotations

from dataclasses import field

from scsi2nvme.api.method import Method, Nothing, doc
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class KindCounts:
    """Commands of one kind that were answered."""

    operations: int
    bytes: int = field(metadata=doc("moved, or unmapped, by those that ended well"))
    failed: int = field(metadata=doc("answered by another status than GOOD or CONDITION MET"))
    latency_us: int = field(metadata=doc("from arrival to answer, of all together"))
    latency: tuple[int, ...] = field(
        metadata=doc(
            "how many took so long: 0, 1, 2, 3 µs, then four of each power of two "
            "(4, 5, 6, 7, 8-9, 10-11, …); zeros at the end are left out"
        )
    )


@dataclass(frozen=True, slots=True)
class FailureCount:
    """An answer other than GOOD or CONDITION MET. All zero: those beyond what is told apart."""

    status: int
    sense_key: int = field(metadata=doc("0 without sense data"))
    asc: int
    ascq: int
    count: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Commands since a logical unit or a session began."""

    read: KindCounts
    write: KindCounts
    discard: KindCounts = field(metadata=doc("UNMAP, and WRITE SAME with UNMAP"))
    other: KindCounts
    begun: int = field(metadata=doc("that came"))
    under_way: int = field(metadata=doc("that are neither answered nor aborted yet"))
    aborted: int = field(metadata=doc("that end without an answer"))
    failures: tuple[FailureCount, ...]


@dataclass(frozen=True, slots=True)
class UnitPath:
    """One of several controllers that lead to a logical unit."""

    controller: str = field(metadata=doc("its name, or SPEC where several have that name"))
    group: int = field(metadata=doc("its target port group"))
    in_use: bool = field(metadata=doc("whether commands go by it"))
    way: str = field(
        metadata=doc(
            "what it says of its way there: optimized, non-optimized, inaccessible, "
            "persistent loss or change; or lost, or refused"
        )
    )


@dataclass(frozen=True, slots=True)
class UnitCounts:
    """A logical unit and what is counted of it."""

    controller: str = field(metadata=doc("its name, or number"))
    nsid: int
    target: str = field(metadata=doc('the iSCSI name, "" where it is none of our portal\'s'))
    counts: Counts
    cold: dict[str, int] = field(
        metadata=doc("commands that the hot path left to the engine, by name")
    )
    paths: tuple[UnitPath, ...] = field(
        default=(), metadata=doc("all of these; none where there is but one")
    )

    @property
    def in_use(self) -> str:
        """The controller that commands go by, if there are several."""
        return next((path.controller for path in self.paths if path.in_use), "")


@dataclass(frozen=True, slots=True)
class SessionCounts:
    """An I_T nexus, which is a session or a device of the kernel's, and what is counted of it."""

    initiator: str = field(metadata=doc("the initiator's name"))
    isid: str = field(metadata=doc('six bytes in hexadecimal, "" where there is none'))
    target: str = field(metadata=doc("the target's name"))
    address: str = field(metadata=doc("the initiator's, as far as it is known"))
    counts: Counts


@dataclass(frozen=True, slots=True)
class AllCounts:
    """What the daemon counts, which only grows while a logical unit or session is there."""

    uptime_us: int = field(metadata=doc("since the daemon began, by the clock of these counts"))
    units: tuple[UnitCounts, ...]
    sessions: tuple[SessionCounts, ...]


STATISTICS = Method(
    "statistics",
    "what was counted of commands, by logical unit and by session",
    Nothing,
    AllCounts,
)
