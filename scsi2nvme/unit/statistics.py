"""What is counted of the commands of a logical unit, or of an I_T nexus, since it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """Commands of one kind that were answered.

    `bytes` were moved, or by discards unmapped, by those that ended well; `failed` had another
    status than GOOD or CONDITION MET. `latency` is how many took how long: 0, 1, 2, 3 µs, then
    in four buckets for each power of two.
    """

    bytes: int
    failed: int
    latency_us: int
    latency: tuple[int, ...]

    @property
    def operations(self) -> int:
        """How many there were."""
        return sum(self.latency)


_NONE = KindStatistics(0, 0, 0, ())


@dataclass(frozen=True, slots=True)
class Statistics:
    """Commands by kind, in the order of `scsi2nvme.command.Counted`.

    `failures` counts answers by status, sense key, ASC and ASCQ, a byte each; those beyond what
    is told apart are under 0.
    """

    begun: int = 0
    aborted: int = 0
    kinds: tuple[KindStatistics, ...] = (_NONE,) * 4
    failures: Mapping[int, int] = field(default_factory=dict)

    @property
    def read(self) -> KindStatistics:
        """What reads did."""
        return self.kinds[0]

    @property
    def write(self) -> KindStatistics:
        """What writes did."""
        return self.kinds[1]

    @property
    def under_way(self) -> int:
        """How many were neither answered nor aborted yet."""
        return max(0, self.begun - self.aborted - sum(kind.operations for kind in self.kinds))
