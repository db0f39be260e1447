"""`make bench`: scsi2nvme beside tgt, in one run.

Every workload runs on every target in turn, several rounds of it; the table has
medians, and the ratio within each round. CPU is the target's own, per I/O.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import load, peers

SIZE_BYTES = 512 << 20


def workloads(seconds: int) -> list[load.Load]:
    """Return the workloads of the table."""
    small = [
        load.Load(operation, "random", depth, sessions, 4096, seconds)
        for sessions in (1, 4)
        for depth in (1, 32)
        for operation in ("read", "write")
    ]
    large = [
        load.Load(operation, "sequential", depth, 1, size, seconds)
        for size, depth in ((128 << 10, 8), (1 << 20, 4))
        for operation in ("read", "write")
    ]
    return small + large


def measure(target: peers.Target, work: load.Load) -> dict[str, float]:
    """Run one workload on one target."""
    before = target.cpu_seconds()
    result = load.run(target.url, work)
    # CPU is of the warm-up too: so are the operations that it is divided by.
    cpu = target.cpu_seconds() - before
    return {
        "iops": result["iops"],
        "mb_s": result["mb_s"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "cpu_us": cpu * 1e6 / max(result["all_operations"], 1),
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return each figure's median."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        "| Workload | tgt IOPS | scsi2nvme IOPS | × | tgt CPU µs/IO | scsi2nvme CPU µs/IO | × |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["workloads"].items():
        peer, ours = row["tgt"], row["scsi2nvme"]
        lines.append(
            f"| {name} | {peer['iops']:.0f} | {ours['iops']:.0f} | {row['iops_ratio']:.2f}"
            f" | {peer['cpu_us']:.1f} | {ours['cpu_us']:.1f} | {row['cpu_ratio']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def run(rounds: int, seconds: int, directory: Path) -> dict[str, Any]:
    """Measure everything; progress goes to standard error."""
    figures: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        targets = [
            stack.enter_context(peers.tgt(directory, SIZE_BYTES)),
            stack.enter_context(peers.scsi2nvme(directory, SIZE_BYTES)),
        ]
        for target in targets:  # no figure is of a sparse file
            load.run(target.url, load.Load("write", "sequential", 8, 1, 1 << 20, 2))
        for number in range(rounds):
            for work in workloads(seconds):
                for target in targets:
                    figures[work.name][target.name].append(measure(target, work))
                print(f"round {number + 1}/{rounds}: {work.name}", file=sys.stderr)
    report: dict[str, Any] = {"machine": platform.platform(), "rounds": rounds, "workloads": {}}
    for name, by_target in figures.items():
        pairs = list(zip(by_target["scsi2nvme"], by_target["tgt"], strict=True))
        report["workloads"][name] = {
            target: medians(each) for target, each in by_target.items()
        } | {
            f"{figure}_ratio": statistics.median(ours[key] / peer[key] for ours, peer in pairs)
            for figure, key in (("iops", "iops"), ("cpu", "cpu_us"))
        }
    return report


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report = run(arguments.rounds, arguments.seconds, Path(directory))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(markdown(report))


if __name__ == "__main__":
    main()
