"""Which metrics there are: a row each, by Prometheus' conventions for names and units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from scsi2nvme import __version__
from scsi2nvme.api.statistics import AllCounts, Counts, FailureCount, KindCounts, UnitPath
from scsi2nvme.cli.daemon.health import WARNINGS, ZERO_CELSIUS_K, Health
from scsi2nvme.cli.statistics import buckets_below
from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status

# Where buckets end, of which the daemon has more: 16 µs to 17 s.
_ENDS_US = tuple(1 << power for power in range(4, 25))


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one moment. `listed` is what `list --json` tells."""

    counts: AllCounts
    listed: Mapping[str, Any]
    health: tuple[Health, ...] = ()


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


def _ways(value: Callable[[UnitPath], bool]) -> _Values:
    """Return what yields whether something is so of each controller of what has several."""

    def values(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
        for one in seen.counts.units:
            for path in one.paths:
                yield (one.controller, str(one.nsid), path.controller), value(path)

    return values


def _states(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for one in seen.listed["Controllers"]:
        yield (one["DevicePath"], one["State"]), 1


_USABLE = ("optimized", "non-optimized")
_DATA_UNIT_BYTES = 512_000


def _smart(value: Callable[[Values], float]) -> _Values:
    """Return what yields a value of each controller's SMART log."""

    def values(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
        for one in seen.health:
            yield (one.controller,), value(one.smart)

    return values


def _temperatures(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    names = {"composite": "temperature"}
    names |= {str(number): f"temperature_sensor_{number}" for number in range(1, 9)}
    for one in seen.health:
        for sensor, name in names.items():
            if one.smart[name]:
                yield (one.controller, sensor), one.smart[name] - ZERO_CELSIUS_K


def _warnings(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for one in seen.health:
        for bit, name in enumerate(WARNINGS):
            yield (one.controller, name), one.smart.critical_warning >> bit & 1


def _ages(seen: Seen) -> Iterator[tuple[Sequence[str], float]]:
    for one in seen.health:
        yield (one.controller,), one.age_s


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
        GaugeMetricFamily,
        "scsi2nvme_path_in_use",
        "Whether commands go by this one of several controllers of a disk: 1.",
        (*_UNIT, "path"),
        _ways(lambda path: path.in_use),
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_path_usable",
        "Whether this one of several controllers of a disk leads there: 1.",
        (*_UNIT, "path"),
        _ways(lambda path: path.way in _USABLE),
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
    Row(
        GaugeMetricFamily,
        "scsi2nvme_smart_age_seconds",
        "How old the SMART log is that is told; absent where a controller does not answer.",
        ("controller",),
        _ages,
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_temperature_celsius",
        "Temperature of a controller, by sensor.",
        ("controller", "sensor"),
        _temperatures,
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_critical_warning",
        "Whether a controller warns of something: 1.",
        ("controller", "warning"),
        _warnings,
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_available_spare_ratio",
        "Spare capacity that is left.",
        ("controller",),
        _smart(lambda smart: smart.avail_spare / 100),
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_available_spare_threshold_ratio",
        "Spare capacity below which a controller warns.",
        ("controller",),
        _smart(lambda smart: smart.spare_thresh / 100),
    ),
    Row(
        GaugeMetricFamily,
        "scsi2nvme_percentage_used_ratio",
        "Life that is used up, as the vendor estimates it; may exceed 1.",
        ("controller",),
        _smart(lambda smart: smart.percent_used / 100),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_media_errors_total",
        "Times that a controller found data that it could not recover.",
        ("controller",),
        _smart(lambda smart: smart.media_errors),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_error_log_entries_total",
        "Entries that a controller has made in its error log.",
        ("controller",),
        _smart(lambda smart: smart.num_err_log_entries),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_unsafe_shutdowns_total",
        "Times that a controller lost its power unprepared.",
        ("controller",),
        _smart(lambda smart: smart.unsafe_shutdowns),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_power_cycles_total",
        "Times that a controller was switched on.",
        ("controller",),
        _smart(lambda smart: smart.power_cycles),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_power_on_seconds_total",
        "How long a controller was on, by the hour.",
        ("controller",),
        _smart(lambda smart: smart.power_on_hours * 3600),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_controller_busy_seconds_total",
        "How long a controller was busy, by the minute.",
        ("controller",),
        _smart(lambda smart: smart.controller_busy_time * 60),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_data_units_read_bytes_total",
        "Bytes that a controller has read for its hosts, in thousands of 512.",
        ("controller",),
        _smart(lambda smart: smart.data_units_read * _DATA_UNIT_BYTES),
    ),
    Row(
        CounterMetricFamily,
        "scsi2nvme_data_units_written_bytes_total",
        "Bytes that a controller has written for its hosts, in thousands of 512.",
        ("controller",),
        _smart(lambda smart: smart.data_units_written * _DATA_UNIT_BYTES),
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
