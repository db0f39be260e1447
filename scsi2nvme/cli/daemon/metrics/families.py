"""Which metrics there are: a row each, by Prometheus' conventions for names and units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from scsi2nvme import __version__
from scsi2nvme.api.statistics import AllCounts, Counts, FailureCount, KindCounts
from scsi2nvme.cli.statistics import buckets_below
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status

# Where buckets end, of which the daemon has more: 16 µs to 17 s.
_ENDS_US = tuple(1 << power for power in range(4, 25))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one moment. `listed` is what `list --json` tells."""

    counts: AllCounts
    listed: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A metric: its family, its labels, and what yields their values beside the metric's own."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    doc: str
    labels: tuple[str, ...]
    values: Callable[[Seen], Iterator[tuple[Sequence[str], float]]]

    def metric(self, seen: Seen) -> Metric:
        """Return the metric as the library has it; what has equal labels is one sample's."""
        metric = self.family(self.name, self.doc, labels=self.labels)
        sums: Counter[tuple[str, ...]] = Counter()
        for labels, value in self.values(seen):
            sums[*labels] += value  # type: ignore[assignment]
        for labels, value in sums.items():
            metric.add_metric(labels, value)
        return metric


def _kinds(counts: Counts) -> dict[str, KindCounts]:
    return {
        "read": counts.read,
        "write": counts.write,
        "discard": counts.discard,
        "other": counts.other,
    }


def _units(seen: Seen) -> Iterator[tuple[tuple[str, str], Counts]]:
    for one in seen.counts.units:
        yield (one.controller, str(one.nsid)), one.counts


def _sessions(seen: Seen) -> Iterator[tuple[tuple[str, str, str], Counts]]:
    for one in seen.counts.sessions:
        yield (one.initiator, one.isid, one.target), one.counts


_Values = Callable[[Seen], Iterator[tuple[Sequence[str], float]]]
_Places = Callable[[Seen], Iterator[tuple[tuple[str, ...], Counts]]]


def _each(places: _Places, value: Callable[[Counts], float]) -> _Values:
    """Return what yields a value of each place."""

    def values(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
        for labels, counts in places(seen):
            yield labels, value(counts)

    return values


def _by_kind(places: _Places, value: Callable[[KindCounts], float]) -> _Values:
    """Return what yields a value of each place and kind."""

    def values(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
        for labels, counts in places(seen):
            for name, kind in _kinds(counts).items():
                yield (*labels, name), value(kind)

    return values


def _failures(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for labels, counts in _units(seen):
        for one in counts.failures:
            yield (*labels, *_told(one)), one.count


def _told(one: FailureCount) -> tuple[str, str, str]:
    """Return the names of a status and a sense key, and the additional sense code."""
    if not one.status:
        return "others", "", ""
    status, key = Status(one.status).name, SenseKey(one.sense_key).name
    words = [name.replace("_", " ") for name in (status, key)]
    if one.status != Status.CHECK_CONDITION:
        return words[0], "", ""
    return words[0], words[1], f"{one.asc:02X}/{one.ascq:02X}"


def _cold(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for one in seen.counts.units:
        for name, count in one.cold.items():
            yield (one.controller, str(one.nsid), name), count


def _states(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for one in seen.listed["Controllers"]:
        yield (one["DevicePath"], one["State"]), 1


_UNIT = ("controller", "namespace")
_SESSION = ("initiator", "isid", "target")

ROWS = (
    Row(
        GaugeMetricFamily,
        "scsi2nvme_build_info",
        "Which program answers.",
        ("version",),
        lambda seen: iter([((__version__,), 1)]),
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_controller_state",
        "How many controllers of a SPEC are in this state; those that are live serve.",
        ("spec", "state"),
        _states,
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_bytes_total",
        "Bytes that were moved, or unmapped, by commands that ended well.",
        (*_UNIT, "kind"),
        _by_kind(_units, lambda kind: kind.bytes),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_failed_commands_total",
        "Commands that were answered by another status than GOOD or CONDITION MET.",
        (*_UNIT, "status", "sense_key", "additional_sense"),
        _failures,
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_aborted_commands_total",
        "Commands that ended without an answer.",
        _UNIT,
        _each(_units, lambda counts: counts.aborted),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_cold_commands_total",
        "Commands that the hot path left to the engine.",
        (*_UNIT, "command"),
        _cold,
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_commands_under_way",
        "Commands that are neither answered nor aborted.",
        _UNIT,
        _each(_units, lambda counts: counts.under_way),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_session_commands_total",
        "Commands of a session that were answered.",
        (*_SESSION, "kind"),
        _by_kind(_sessions, lambda kind: kind.operations),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_session_bytes_total",
        "Bytes that a session's commands moved, or unmapped.",
        (*_SESSION, "kind"),
        _by_kind(_sessions, lambda kind: kind.bytes),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_session_command_seconds_total",
        "How long a session's commands took, all together.",
        (*_SESSION, "kind"),
        _by_kind(_sessions, lambda kind: kind.latency_us / 1e6),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_session_failed_commands_total",
        "Commands of a session that were answered by another status than GOOD or CONDITION MET.",
        (*_SESSION, "kind"),
        _by_kind(_sessions, lambda kind: kind.failed),
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_session_commands_under_way",
        "Commands of a session that are neither answered nor aborted.",
        _SESSION,
        _each(_sessions, lambda counts: counts.under_way),
    ),
)


def duration(seen: Seen) -> HistogramMetricFamily:
    """Return the histogram of latencies, which counts commands as well."""
    metric = HistogramMetricFamily(
        "scsi2nvme_command_duration_seconds",
        "How long commands took from their arrival to their answer.",
        labels=(*_UNIT, "kind"),
    )
    for labels, counts in _units(seen):
        for name, kind in _kinds(counts).items():
            metric.add_metric((*labels, name), _buckets(kind), kind.latency_us / 1e6)
    return metric


def _buckets(kind: KindCounts) -> list[tuple[str, float]]:
    ended = [(repr(us / 1e6), float(sum(kind.latency[: buckets_below(us)]))) for us in _ENDS_US]
    return [*ended, ("+Inf", float(kind.operations))]


class Families(Collector):
    """Collects all metrics from what `look` sees; in whatever thread the library does so."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        seen = self._look()
        yield duration(seen)
        for row in ROWS:
            yield row.metric(seen)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: names are not held against other collectors'."""
        return iter(())
