"""What the commands of the hot path cost that move no blocks, or few: scsi2nvme alone."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import compare, load, peers, tables

SIZE_BYTES = 512 << 20
DEPTH = 32
FIGURES = {"commands/s": "iops", "CPU µs": "cpu_us", "p50, µs": "p50_us", "p99, µs": "p99_us"}
# The operation of `iscsi_load.c`, and how many bytes it is of.
COMMANDS: dict[str, tuple[str, int]] = {
    "TEST UNIT READY": ("test-unit-ready", 4096),
    "PRE-FETCH (10) of 1 MiB": ("pre-fetch", 1 << 20),
    "SYNCHRONIZE CACHE (10)": ("synchronize-cache", 4096),
    "UNMAP of 256 KiB": ("unmap", 256 << 10),
    "WRITE SAME (10) of 1 MiB, zeroes": ("write-same", 1 << 20),
    "VERIFY (10) of 4 KiB": ("verify", 4096),
    "WRITE AND VERIFY (10) of 4 KiB": ("write-and-verify", 4096),
    "COMPARE AND WRITE of 4 KiB": ("compare-and-write", 4096),
}


def _span(operation: str) -> int:
    """Return how much of the disk is used: so little that all is known before it is measured."""
    return 4 << 20 if operation == "compare-and-write" else SIZE_BYTES


def run(rounds: int, seconds: int, directory: Path) -> dict[str, Any]:
    """Measure each command; by its name the medians of the rounds. Progress: standard error."""
    usable = sorted(os.sched_getaffinity(0))
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    with load.on_cpus(usable[:1]), peers.scsi2nvme(directory, SIZE_BYTES) as target:
        for number in range(rounds):
            for name, (operation, size) in COMMANDS.items():
                print(f"round {number + 1}/{rounds}: {name}", file=sys.stderr)
                work = load.Load(operation, "random", DEPTH, 1, size, seconds, _span(operation))
                figures[name].append(compare.measure(target, work, usable[-1:]))
    return {name: tables.medians(each) for name, each in figures.items()}


def markdown(report: dict[str, Any]) -> str:
    """Return the table."""
    rows = (
        [name, *(tables.number(figures[key]) for key in FIGURES.values())]
        for name, figures in report.items()
    )
    return tables.table(["Command", *FIGURES], rows)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="per measurement")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        print(markdown(run(arguments.rounds, arguments.seconds, Path(directory))))


if __name__ == "__main__":
    main()
