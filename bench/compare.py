"""scsi2nvme beside Debian's tgt and the least that a target costs, in one run.

Every workload runs on every target in turn, several rounds of it; the tables have
medians, and the ratio within each round. CPU is the target's own, per I/O.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import load, machine, peers, tables

SIZE_BYTES = 512 << 20
OURS, PEER, NULL = "scsi2nvme", "tgt", "tgt null"
FLOOR, SPINNING, ALONE, MEMORY = "floor", "spinning floor", "portal alone", "disk in memory"
COLUMNS = (FLOOR, SPINNING, PEER, NULL, ALONE, MEMORY, OURS)
_FLOORS = ("ours", "memory", "alone", "p50")
LATENCIES = ("p50_us", "p95_us", "p99_us", "p999_us")
# The goal at 4 KiB and queue depth 32; elsewhere it is not to be behind.
CPU_GOAL = 0.5
_SOCKET_CALLS = ("read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg")
_FILE_CALLS = ("pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "fdatasync")
_WAITING_CALLS = ("epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "ppoll", "futex")


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure, and what besides."""

    rounds: int
    seconds: int
    null: bool = False
    calls: bool = False
    pinned: bool = True

    def cpus(self) -> tuple[Collection[int], Collection[int]]:
        """Return the CPUs of the target, and those of the load generator."""
        usable = sorted(os.sched_getaffinity(0))
        if not self.pinned or len(usable) < 2:
            return usable, usable
        return usable[:1], usable[1:2]


def workloads(seconds: int) -> list[load.Load]:
    """Return the workloads of the tables."""
    small = [
        load.Load(operation, "random", depth, sessions, 4096, seconds, SIZE_BYTES)
        for sessions in (1, 4)
        for depth in (1, 32)
        for operation in ("read", "write")
    ]
    large = [
        load.Load(operation, "sequential", depth, 1, size, seconds, SIZE_BYTES)
        for size, depth in ((128 << 10, 8), (1 << 20, 4))
        for operation in ("read", "write")
    ]
    return small + large


def measure(
    target: peers.Target,
    work: load.Load,
    cpus: Collection[int],
    histogram: Counter[str] | None = None,
) -> dict[str, float]:
    """Run one workload on one target, the load generator on `cpus`.

    The latencies, in µs, are added to `histogram`.
    """
    meter = peers.CpuMeter(target)
    result = load.run(target.url, work, cpus, meter)
    if histogram is not None:
        histogram.update(result["histogram"])
    figures = {name: float(result[name]) for name in ("iops", "mb_s", *LATENCIES, "busy")}
    # CPU is of the warm-up too: so are the operations that it is divided by.
    return figures | {"cpu_us": meter.seconds * 1e6 / max(result["all_operations"], 1)}


def count_calls(target: peers.Target, work: load.Load, cpus: Collection[int]) -> dict[str, float]:
    """Return the target's system calls per I/O, by perf's tracepoints."""
    names = (*_SOCKET_CALLS, *_FILE_CALLS, *_WAITING_CALLS)
    events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in names)]
    perf = subprocess.Popen(
        ["perf", "stat", "-x;", "-p", str(target.pid), "-e", ",".join(events)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with perf:
        try:
            result = load.run(target.url, work, cpus)
        finally:
            perf.send_signal(signal.SIGINT)
            _, output = perf.communicate(timeout=30)
    return calls_per_operation(output, result["all_operations"])


def calls_per_operation(output: str, operations: int) -> dict[str, float]:
    """Parse what `perf stat -x;` wrote; `all`, and each system call that was made."""
    found = {}
    for line in output.splitlines():
        count, _, event, *_ = [*line.split(";"), "", ""]
        if count.isdigit() and int(count):
            name = event.removeprefix("syscalls:sys_enter_").replace(
                "raw_syscalls:sys_enter", "all"
            )
            found[name] = int(count) / operations
    if "all" not in found:
        raise RuntimeError(f"perf counted no system calls: {output.strip()}")
    return found


def _evaluate(by_target: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    compared = {
        figure: tables.ratios(by_target[OURS], by_target[PEER], figure)
        for figure in ("iops", "cpu_us")
    }
    floors = {
        "ours": tables.ratios(by_target[OURS], by_target[FLOOR], "cpu_us"),
        "memory": tables.ratios(by_target[MEMORY], by_target[FLOOR], "cpu_us"),
        "alone": tables.ratios(by_target[ALONE], by_target[FLOOR], "cpu_us"),
        "p50": tables.ratios(by_target[OURS], by_target[SPINNING], "p50_us"),
    }
    medians = {name: tables.medians(rounds) for name, rounds in by_target.items()}
    return {"medians": medians, "ratios": compared, "floors": floors, "rounds": by_target}


def run(settings: Settings, directory: Path) -> dict[str, Any]:
    """Measure everything; progress goes to standard error."""
    figures: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    histograms: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    calls: dict[str, dict[str, dict[str, float]]] = {}

    def note(target: peers.Target, work: load.Load) -> None:
        histogram = histograms[work.name][target.name]
        figures[work.name][target.name].append(measure(target, work, load_cpus, histogram))

    target_cpus, load_cpus = settings.cpus()
    load_average = machine.load_average()
    with ExitStack() as stack:
        with load.on_cpus(target_cpus):
            stores = ["rdwr", "null"] if settings.null else ["rdwr"]
            targets = stack.enter_context(peers.tgt_stores(directory, SIZE_BYTES, stores))
            for start in (
                peers.scsi2nvme(directory, SIZE_BYTES),
                peers.in_memory(directory, SIZE_BYTES),
                peers.portal_alone(directory, SIZE_BYTES),
                peers.floor(SIZE_BYTES),
            ):
                targets.append(stack.enter_context(start))
        for number in range(settings.rounds):
            for work in workloads(settings.seconds):
                print(f"round {number + 1}/{settings.rounds}: {work.name}", file=sys.stderr)
                # Nobody is always the one that inherits the others' dirty pages.
                for target in targets if number % 2 else reversed(targets):
                    note(target, work)
                # Nobody else gets its CPU while it spins.
                with load.on_cpus(target_cpus), peers.floor(SIZE_BYTES, spins=True) as target:
                    note(target, work)
        for work in workloads(1) if settings.calls else []:
            print(f"system calls: {work.name}", file=sys.stderr)
            brief = replace(work, seconds=1)
            calls[work.name] = {each.name: count_calls(each, brief, load_cpus) for each in targets}
    return {
        "machine": machine.describe(directory),
        "load_average": load_average,
        "settings": {"rounds": settings.rounds, "seconds": settings.seconds},
        "cpus": {"target": list(target_cpus), "load": list(load_cpus)},
        "workloads": {
            name: _evaluate(by_target) | {"histograms": histograms[name]}
            for name, by_target in figures.items()
        },
        "calls": calls,
    }


def shortfalls(report: dict[str, Any]) -> list[str]:
    """Return where scsi2nvme is behind tgt, or short of the goal, by the medians."""
    found = []
    for name, row in report["workloads"].items():
        speed, cpu = (row["ratios"][figure]["median"] for figure in ("iops", "cpu_us"))
        limit = CPU_GOAL if "4k QD32" in name else 1.0
        if speed < 1:
            found.append(f"{name}: {speed:.2f} of tgt's IOPS")
        if cpu > limit:
            found.append(f"{name}: {cpu:.2f} of tgt's CPU per I/O, {limit} is the limit")
    return found


def _section(report: dict[str, Any], figure: str, ratio: str | None) -> str:
    rows = []
    measured = next(iter(report["workloads"].values()))["medians"]
    names = [name for name in COLUMNS if name in measured and name != SPINNING]
    for workload, row in report["workloads"].items():
        cells = [tables.number(row["medians"][name][figure]) for name in names]
        last = [tables.spread(row["ratios"][ratio])] if ratio else []
        rows.append([workload, *cells, *last])
    return tables.table(["Workload", *names, *(["ours ÷ tgt's"] if ratio else [])], rows)


def _floors(report: dict[str, Any]) -> str:
    rows = [
        [workload, *(tables.spread(row["floors"][each]) for each in _FLOORS)]
        for workload, row in report["workloads"].items()
    ]
    return tables.table(
        [
            "Workload",
            "CPU, ours ÷ floor",
            "CPU, disk in memory ÷ floor",
            "CPU, portal alone ÷ floor",
            "p50, ours ÷ spinning floor",
        ],
        rows,
    )


def _latency(report: dict[str, Any]) -> str:
    rows = []
    for workload, row in report["workloads"].items():
        cells = [
            " / ".join(f"{row['medians'][name][figure]:.0f}" for figure in LATENCIES)
            for name in (SPINNING, PEER, OURS)
        ]
        rows.append([workload, *cells])
    return tables.table(["Workload", SPINNING, PEER, OURS], rows)


def _calls(report: dict[str, Any]) -> str:
    def render(found: dict[str, float]) -> str:
        total, *rest = sorted(found.items(), key=lambda item: -item[1])
        shown = [f"{name} {each:.2f}" for name, each in rest if each >= 0.01]
        return f"{total[1]:.2f} ({', '.join(shown)})"

    rows = [
        [workload, render(by_target[PEER]), render(by_target[OURS])]
        for workload, by_target in report["calls"].items()
    ]
    return tables.table(["Workload", PEER, OURS], rows)


def markdown(report: dict[str, Any]) -> str:
    """Return the report's tables as Markdown, and where scsi2nvme is behind."""
    parts = [
        "### CPU time of the target per I/O, µs\n",
        _section(report, "cpu_us", "cpu_us"),
        "### Against the least that a target costs\n",
        _floors(report),
        "### I/O per second\n",
        _section(report, "iops", "iops"),
        "### MB per second\n",
        _section(report, "mb_s", None),
        "### Latency, µs: 50 / 95 / 99 / 99.9 %\n",
        _latency(report),
    ]
    if report["calls"]:
        parts += ["### System calls of the target per I/O\n", _calls(report)]
    behind = shortfalls(report)
    parts.append("Behind: " + "; ".join(behind) + ".\n" if behind else "Behind in nothing.\n")
    return "\n".join(parts)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2, help="per measurement")
    options.add_argument("--quick", action="store_true", help="two rounds of one second")
    options.add_argument("--peer-null", action="store_true", help="add tgt's null backing store")
    options.add_argument(
        "--calls", action="store_true", help="count system calls too (needs perf and root)"
    )
    options.add_argument(
        "--unpinned",
        action="store_true",
        help="let target and load generator run on any CPU, instead of one each",
    )
    options.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),
        help="where the disk images are for the time being (default /var/tmp)",
    )
    options.add_argument("--json", type=Path, help="write all figures here")
    return options


def settings(arguments: argparse.Namespace) -> Settings:
    """Return what the command line's arguments ask for."""
    return Settings(
        2 if arguments.quick else arguments.rounds,
        1 if arguments.quick else arguments.seconds,
        arguments.peer_null,
        arguments.calls,
        not arguments.unpinned,
    )


def carry_out(
    measure: Callable[[Settings, Path], dict[str, Any]], show: Callable[[dict[str, Any]], str]
) -> None:
    """Measure as the command line says, and print what `show` makes of it."""
    arguments = parser().parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        report = measure(settings(arguments), Path(directory))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(machine.heading(report))
    print(show(report))


def main() -> None:
    """Run from the command line."""
    carry_out(run, markdown)


if __name__ == "__main__":
    main()
