"""`make system-bench`: targets of the kernel side by side, in one boot of a whole machine.

The kernel's own disk, LIO's block backstore, tcmu-runner, a ring with nothing behind it, and ours
with and without copying; over the kernel's loopback fabric and over iSCSI. Every workload runs on
every target in turn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from bench import machine, page, peers, tables
from bench.guest import (
    BOUNCED,
    CACHED,
    DISKS_BYTES,
    FABRICS,
    FLOOR,
    LIO,
    MODES,
    NVME,
    RUNNER,
    ZERO_COPY,
    Target,
    Work,
    guest,
)
from tests.system.image import KERNEL, images

HEADING = "## Figures of the kernel's targets\n"
COLUMNS = (NVME, LIO, RUNNER, CACHED, FLOOR, BOUNCED, ZERO_COPY)
PEERS = (RUNNER, CACHED, LIO, FLOOR)
# Of which the IOPS are to be so many times as many, or at least those of the empty ring by NEAR:
# more than that the kernel's ring does not allow.
GOALED = (RUNNER, CACHED, LIO)
RUNNER_GOAL = 1.5
NEAR = 1.1

WORKS = (
    *(Work(way, "random", depth, 4096) for depth in (1, 32) for way in ("read", "write")),
    *(Work(way, "sequential", 4, 128 << 10) for way in ("read", "write")),
)


class Measured(Protocol):
    """What is used of Guest."""

    def serve(self, column: str) -> list[Target]:
        """See Guest."""

    def measure(self, target: Target, work: Work, seconds: int) -> tables.Figures:
        """See Guest."""

    def in_place(self) -> float:
        """See Guest."""


ByTarget = dict[Target, list[tables.Figures]]


def measure(
    guest: Measured, rounds: int, seconds: int
) -> tuple[dict[Work, ByTarget], dict[str, list[float]]]:
    """Measure everything; progress goes to standard error.

    Returns the figures, and for each column of ours which share of the commands was not copied.
    """
    shares: dict[str, list[float]] = {column: [] for column in MODES}
    found: dict[Work, ByTarget] = {work: defaultdict(list) for work in WORKS}
    for number in range(rounds):
        # Nobody is always the one that inherits what others have left to be written.
        way = slice(None, None, -1 if number % 2 else 1)
        for column in list(MODES)[way]:
            targets = guest.serve(column)[way]
            for work, by_target in found.items():
                print(f"round {number + 1}/{rounds}: {column}, {work.name}", file=sys.stderr)
                for target in targets:
                    by_target[target].append(guest.measure(target, work, seconds))
            shares[column].append(guest.in_place())
    return found, shares


def evaluate(found: dict[Work, ByTarget]) -> dict[str, dict[str, Any]]:
    """Return for each fabric and workload the columns' medians, ours to each peer's, and all."""
    return {
        fabric: {work.name: _row(by_target, fabric) for work, by_target in found.items()}
        for fabric in FABRICS
    }


def _row(by_target: ByTarget, fabric: str) -> dict[str, Any]:
    rounds = {
        target.name: each for target, each in by_target.items() if target.fabric in ("", fabric)
    }
    return {
        "medians": {name: tables.medians(each) for name, each in rounds.items()},
        "ratios": {peer: tables.ratios(rounds[ZERO_COPY], rounds[peer], "iops") for peer in PEERS},
        "rounds": rounds,
    }


def run(settings: argparse.Namespace) -> dict[str, Any]:
    """Boot the machine, and measure."""
    load_average = machine.load_average()
    with guest(images(settings.kernel), settings.directory) as booted:
        described = machine.host() | booted.describe()
        found, shares = measure(booted, settings.rounds, settings.seconds)
    return {
        "machine": described,
        "load_average": load_average,
        "settings": {"rounds": settings.rounds, "seconds": settings.seconds},
        "fabrics": evaluate(found),
        "in_place": shares,
    }


def goal(peer: str, work: Work) -> float:
    """Return how many times a peer's IOPS ours are to be."""
    if peer != LIO:
        return RUNNER_GOAL
    if work.block_bytes > 4096:
        return 0.7
    return 1.0 if work.depth > 1 else 0.9


def shortfalls(report: dict[str, Any]) -> list[str]:
    """Return where ours is short of a goal, by the medians."""
    short = []
    for peer, (fabric, rows), work in product(GOALED, report["fabrics"].items(), WORKS):
        ratios = rows[work.name]["ratios"]
        ratio, of_floor, wanted = ratios[peer]["median"], ratios[FLOOR]["median"], goal(peer, work)
        if ratio < wanted and of_floor * NEAR < 1:
            short.append(
                f"{work.name} over {fabric}: {ratio:.2f} of the IOPS of {peer}, {wanted} is the "
                f"goal; {of_floor:.2f} of the {FLOOR}'s"
            )
    return short


def _table(rows: dict[str, Any], figure: str, peers: Sequence[str]) -> str:
    head = ["Workload", *COLUMNS, *(f"{ZERO_COPY} ÷ {peer}" for peer in peers)]
    lines = [
        [
            workload,
            *(tables.number(row["medians"][name][figure]) for name in COLUMNS),
            *(tables.spread(row["ratios"][peer]) for peer in peers),
        ]
        for workload, row in rows.items()
    ]
    return tables.table(head, lines)


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown: the machine, the tables, and where ours falls short."""
    parts = [machine.heading(report)]
    for fabric, rows in report["fabrics"].items():
        parts += [
            f"### I/O per second over {fabric}\n",
            _table(rows, "iops", PEERS),
            f"### CPU time of the machine per I/O over {fabric}, fio's included, µs\n",
            _table(rows, "cpu_us", ()),
        ]
    shares = ", ".join(
        f"{100 * min(each):.1f} % {name}" for name, each in report["in_place"].items()
    )
    parts.append(f"Commands whose data ours did not copy, in the worst round: {shares}.\n")
    behind = shortfalls(report)
    parts.append("Short: " + "; ".join(behind) + ".\n" if behind else "Short in nothing.\n")
    return "\n".join(parts)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    options = argparse.ArgumentParser(
        prog="python -m bench.system",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=3, help="per measurement")
    options.add_argument("--quick", action="store_true", help="one round of one second")
    options.add_argument("--kernel", default=os.environ.get("KERNEL", KERNEL), metavar="PACKAGE")
    options.add_argument(
        "--directory",
        type=Path,
        default=Path("/dev/shm"),
        help="where the disks are for the time being: 1.5 GiB (default /dev/shm)",
    )
    options.add_argument("--json", type=Path, help="write all figures here")
    options.add_argument("--page", type=Path, help="put the tables into this page of docs/")
    return options


def main() -> None:
    """Run from the command line."""
    settings = parser().parse_args()
    if settings.quick:
        settings.rounds, settings.seconds = 1, 1
    if shutil.disk_usage(settings.directory).free < DISKS_BYTES:
        sys.exit(f"{settings.directory}: too small; give --directory one with 1.5 GiB free")
    peers.end_cleanly_on_signals()
    report = run(settings)
    page.deliver(report, markdown(report), HEADING, data=settings.json, page=settings.page)


if __name__ == "__main__":
    main()
