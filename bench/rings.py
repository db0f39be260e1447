"""What io_uring would save, at the most: the floor on it beside the floor on epoll, in one run."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from bench import compare, load, machine, peers, tables

EPOLL, RING, ZERO_COPY = "floor", "io_uring", "io_uring, zero copy"
# Bytes, and how many commands are under way in one session, and in each of 64.
SIZES = ((4 << 10, 1, 1), (4 << 10, 32, 8), (128 << 10, 8, 1), (1 << 20, 4, 1))


def workloads(seconds: int) -> list[load.Load]:
    """Return the workloads of the table."""
    return [
        load.Load(operation, "sequential", depth, sessions, size, seconds, compare.SIZE_BYTES)
        for size, alone, among in SIZES
        for sessions, depth in ((1, alone), (64, among))
        for operation in ("read", "write")
    ]


def _floors() -> list[AbstractContextManager[peers.Target]]:
    return [
        peers.floor(compare.SIZE_BYTES),
        peers.floor_on_ring(compare.SIZE_BYTES),
        peers.floor_on_ring(compare.SIZE_BYTES, zero_copy=True),
    ]


def run(rounds: int, seconds: int) -> dict[str, Any]:
    """Measure every workload on each floor in turn. Progress goes to standard error.

    Where the kernel lets nobody use io_uring there are no workloads, and `missing` says why.
    """
    usable = sorted(os.sched_getaffinity(0))
    figures: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    load_average = machine.load_average()
    with ExitStack() as stack:
        stack.enter_context(load.on_cpus(usable[:1]))
        try:
            targets = [stack.enter_context(start) for start in _floors()]
        except peers.NoRing as error:
            return {"load_average": load_average, "workloads": {}, "missing": str(error)}
        for number in range(rounds):
            for work in workloads(seconds):
                print(f"round {number + 1}/{rounds}: {work.name} on rings", file=sys.stderr)
                for target in targets if number % 2 else reversed(targets):
                    found = compare.measure(target, work, usable[-1:])
                    figures[work.name][target.name].append(found)
    return {
        "load_average": load_average,
        "workloads": {name: _evaluate(by_target) for name, by_target in figures.items()},
    }


def _evaluate(by_target: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    return {
        "medians": {name: tables.medians(rounds) for name, rounds in by_target.items()},
        "cpu": {
            name: tables.ratios(by_target[name], by_target[EPOLL], "cpu_us")
            for name in (RING, ZERO_COPY)
        },
        "p50": tables.ratios(by_target[RING], by_target[EPOLL], "p50_us"),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the table: CPU µs per I/O, and what io_uring makes of it and of the median latency."""
    if "missing" in report:
        return f"Not measured: {report['missing']}.\n"
    rows = [
        [
            workload,
            tables.number(row["medians"][EPOLL]["cpu_us"]),
            *(tables.spread(row["cpu"][name]) for name in (RING, ZERO_COPY)),
            tables.spread(row["p50"]),
        ]
        for workload, row in report["workloads"].items()
    ]
    head = ["Workload", "CPU, epoll, µs", "CPU, io_uring ÷ epoll", "CPU, zero copy ÷ epoll"]
    table = tables.table([*head, "p50, io_uring ÷ epoll"], rows)
    return "\n".join(filter(None, [machine.busy(report), table]))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=1, help="per measurement")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    print(markdown(run(arguments.rounds, arguments.seconds)))


if __name__ == "__main__":
    main()
