"""Reports of what is done a second, from the daemon's counts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from scsi2nvme.api.statistics import STATISTICS, AllCounts, Counts, KindCounts
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.statistics import percentile_us, since, sum_of
from scsi2nvme.records import dataclass

_P99 = 0.99


@dataclass(frozen=True, slots=True)
class Line:
    """What one disk, or whatever else is asked for, did in some time. None: there was nothing.

    `in_use` is the controller that a disk's commands go by now, where it has several, else "".
    """

    name: str
    in_use: str
    reads_per_s: float
    writes_per_s: float
    discards_per_s: float
    others_per_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    read_ms: float | None
    read_p99_ms: float | None
    write_ms: float | None
    write_p99_ms: float | None
    queue: float
    under_way: int
    errors_per_s: float


_Key = tuple[str, ...]


def _each(all_: AllCounts, by: str) -> Iterator[tuple[str, _Key, Counts]]:
    """Yield each count with the name of what is asked for, and what tells it from others."""
    if by in ("disk", "controller"):
        for unit in all_.units:
            disk = f"{unit.controller}/{unit.nsid}"
            controller = unit.in_use or unit.controller
            yield disk if by == "disk" else controller, (disk,), unit.counts
        return
    for one in all_.sessions:
        session = (one.initiator, one.isid, one.target)
        yield _session(*session) if by == "session" else one.initiator, session, one.counts


def _session(initiator: str, isid: str, target: str) -> str:
    return " ".join(filter(None, (initiator, isid, target)))


def lines(before: AllCounts | None, now: AllCounts, by: str) -> list[Line]:
    """Return what was done between two looks, or until the only one.

    What is new is reckoned before it is summed: of several sessions some may have ended.
    """
    seconds = (now.uptime_us - (before.uptime_us if before is not None else 0)) / 1e6
    earlier = _each(before, by) if before is not None else ()
    known = {key: counts for _, key, counts in earlier}
    found: dict[str, list[Counts]] = {}
    for name, key, counts in _each(now, by):
        new = since(known[key], counts) if key in known else counts
        found.setdefault(name, []).append(new)
    by_disk = {f"{unit.controller}/{unit.nsid}": unit.in_use for unit in now.units}
    in_use = by_disk if by == "disk" else {}
    return [
        line_of(name, sum_of(each), seconds, in_use.get(name, "")) for name, each in found.items()
    ]


def line_of(name: str, new: Counts, seconds: float, in_use: str = "") -> Line:
    """Return what was done in so many seconds."""
    seconds = max(seconds, 1e-6)
    kinds = (new.read, new.write, new.discard, new.other)
    return Line(
        name,
        in_use,
        new.read.operations / seconds,
        new.write.operations / seconds,
        new.discard.operations / seconds,
        new.other.operations / seconds,
        new.read.bytes / seconds,
        new.write.bytes / seconds,
        *_latency_ms(new.read),
        *_latency_ms(new.write),
        sum(kind.latency_us for kind in kinds) / 1e6 / seconds,
        new.under_way,
        (sum(kind.failed for kind in kinds) + new.aborted) / seconds,
    )


def _latency_ms(kind: KindCounts) -> tuple[float | None, float | None]:
    p99_us = percentile_us(kind, _P99)
    if p99_us is None:
        return None, None
    return kind.latency_us / kind.operations / 1000, p99_us / 1000


def busiest_first(reported: Iterable[Line]) -> list[Line]:
    """Return lines by how much is under way on average, then by how much is done."""
    return sorted(reported, key=lambda one: (one.queue, sum(_rates(one))), reverse=True)


_HEADS = (
    *("r/s", "w/s", "d/s", "o/s", "rMB/s", "wMB/s"),
    *("r_ms", "r_p99", "w_ms", "w_p99", "aqu", "now", "err/s"),
)


def table(by: str, reported: Iterable[Line]) -> str:
    """Return lines as columns, below their heads."""
    rows = [(by.capitalize(), *_HEADS)] + [_row(one) for one in reported]
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        row[0].ljust(width) + "".join(cell.rjust(10) for cell in row[1:]) for row in rows
    )


def _row(one: Line) -> tuple[str, ...]:
    return (
        f"{one.name} by {one.in_use}" if one.in_use else one.name,
        *(f"{rate:.1f}" for rate in _rates(one)),
        *(f"{rate / 1e6:.2f}" for rate in (one.read_bytes_per_s, one.write_bytes_per_s)),
        *("-" if ms is None else f"{ms:.3f}" for ms in _latencies(one)),
        f"{one.queue:.2f}",
        str(one.under_way),
        f"{one.errors_per_s:.1f}",
    )


def _rates(one: Line) -> tuple[float, ...]:
    return one.reads_per_s, one.writes_per_s, one.discards_per_s, one.others_per_s


def _latencies(one: Line) -> tuple[float | None, ...]:
    return one.read_ms, one.read_p99_ms, one.write_ms, one.write_p99_ms


def _looks(
    state_dir: Path, interval: float | None, count: int | None
) -> Iterator[tuple[AllCounts | None, AllCounts]]:
    """Yield what was counted before and what is now, for each report."""
    now = ask(state_dir, STATISTICS)
    if interval is None:
        yield None, now
        return
    due = time.monotonic()
    while count is None or count > 0:
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        before, now = now, ask(state_dir, STATISTICS)
        yield before, now
        count = None if count is None else count - 1


def run(
    state_dir: Path, by: str, interval: float | None, count: int | None, *, as_json: bool
) -> None:
    """Print the reports; KeyboardInterrupt ends them."""
    for number, (before, now) in enumerate(_looks(state_dir, interval, count)):
        reported = lines(before, now, by)
        if as_json:
            print(json.dumps({"by": by, "lines": [asdict(one) for one in reported]}), flush=True)
        else:
            print("\n" * (number > 0) + table(by, reported), flush=True)
