"""What the daemon has counted, for whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from scsi2nvme.api.method import Nothing
from scsi2nvme.api.statistics import (
    STATISTICS,
    AllCounts,
    Counts,
    FailureCount,
    KindCounts,
    SessionCounts,
    UnitCounts,
)
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.paths import unit_paths
from scsi2nvme.service import TaskService
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.statistics import KindStatistics, Statistics


class Counting:
    """The counts of everything that is served. Of the asyncio loop's thread.

    `portal`: there is one of ours, so that what is served is a target.
    """

    def __init__(self, service: TaskService, served: Sequence[Served], *, portal: bool) -> None:
        self._service = service
        self._served = served
        self._portal = portal
        self._begun = time.monotonic_ns()

    def answer(self, answers: Answers) -> None:
        """Have the method of the control API answered."""

        async def statistics(_: Nothing) -> AllCounts:
            return self.counts()

        answers.add(STATISTICS, statistics)

    def counts(self) -> AllCounts:
        """Return what was counted until now."""
        return AllCounts(
            (time.monotonic_ns() - self._begun) // 1000,
            tuple(self._units()),
            tuple(self._sessions()),
        )

    def _units(self) -> Iterator[UnitCounts]:
        told: set[LogicalUnit] = set()
        for one in self._served:
            target = one.iqn if self._portal and not one.rival else ""
            for nsid, lu in sorted(one.units.items()):
                if lu in told:
                    continue  # reached by another controller, too: counted once
                told.add(lu)
                statistics, cold = self._service.unit_statistics(lu)
                ways = unit_paths(self._served, lu)
                yield UnitCounts(one.names[0], nsid, target, _counts(statistics), cold, ways)

    def _sessions(self) -> Iterator[SessionCounts]:
        for nexus, statistics in self._service.nexus_statistics():
            yield SessionCounts(
                nexus.initiator.device,
                nexus.initiator.isid.hex(),
                nexus.target.device,
                nexus.address,
                _counts(statistics),
            )


def _counts(all_: Statistics) -> Counts:
    read, write, discard, other = map(_kind, all_.kinds)
    failures = tuple(_failure(answer, count) for answer, count in all_.failures.items())
    return Counts(read, write, discard, other, all_.begun, all_.under_way, all_.aborted, failures)


def _failure(answer: int, count: int) -> FailureCount:
    status, sense_key, asc, ascq = answer.to_bytes(4)
    return FailureCount(status, sense_key, asc, ascq, count)


def _kind(kind: KindStatistics) -> KindCounts:
    last = max((at for at, count in enumerate(kind.latency) if count), default=-1)
    return KindCounts(
        kind.operations, kind.bytes, kind.failed, kind.latency_us, kind.latency[: last + 1]
    )
