"""What counting costs: 4 KiB reads, with statistics and without.

`hot_path.c`, which is translation, task and queue pair alone, is built both ways: its instructions
under callgrind are exact, and its time is taken by turns. That is held against all the CPU time
that the target takes of a read, were it of a disk that moves nothing.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import compare, load, machine, peers, tables

_ROOT = Path(__file__).parent.parent
_BUILDS = {"with": [], "without": ["-Dc_args=-DS2N_UNCOUNTED"]}
_READS = 32  # a round of the program's
_ROUNDS = 20_000  # to take the time of
_TURNS = 15


def programs() -> dict[str, Path]:
    """Return the program as it counts, and as it does not, built where it is stale."""
    built = {}
    for name, options in _BUILDS.items():
        directory = _ROOT / "build" / f"{name}-statistics"
        if not (directory / "build.ninja").exists():
            setup = ["meson", "setup", str(directory), *options]
            subprocess.run(setup, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "--quiet", "-C", str(directory), "tests/c/hot_path"], check=True)
        built[name] = directory / "tests/c/hot_path"
    return built


def collected(told: str) -> int:
    """Return how many instructions callgrind says that it has counted."""
    return int(re.findall(r"Collected : (\d+)", told)[0])


def instructions(program: Path, directory: Path) -> float:
    """Return the instructions of a read: what twice as many rounds take more."""
    counts = []
    for rounds in (500, 1000):
        output = f"--callgrind-out-file={directory}/callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", "--toggle-collect=measure", output]
        command = [*valgrind, str(program), str(rounds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        counts.append(collected(done.stderr))
    return (counts[1] - counts[0]) / 500 / _READS


def nanoseconds(built: dict[str, Path]) -> dict[str, float]:
    """Return the time of a read, the median of several turns."""
    turns: dict[str, list[float]] = {name: [] for name in built}
    for number in range(_TURNS):
        order = list(built) if number % 2 else list(reversed(built))
        for name in order:
            command = [str(built[name]), str(_ROUNDS)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            turns[name].append(float(done.stdout.split()[0]))
    return {name: statistics.median(each) for name, each in turns.items()}


def run(settings: compare.Settings, directory: Path) -> dict[str, Any]:
    """Measure everything; progress goes to standard error."""
    built = programs()
    target_cpus, load_cpus = settings.cpus()
    load_average = machine.load_average()
    print("reads alone, with statistics and without", file=sys.stderr)
    counts = {name: instructions(program, directory) for name, program in built.items()}
    with load.on_cpus(target_cpus):
        times = nanoseconds(built)
    work = load.Load("read", "random", 32, 1, 4096, settings.seconds, compare.SIZE_BYTES)
    rounds = []
    with load.on_cpus(target_cpus):
        serving = peers.portal_alone(directory, compare.SIZE_BYTES)
    with serving as target:
        for number in range(settings.rounds):
            print(f"round {number + 1}/{settings.rounds}: the target", file=sys.stderr)
            rounds.append(compare.measure(target, work, load_cpus))
    return {
        "machine": machine.describe(directory),
        "load_average": load_average,
        "instructions": counts,
        "nanoseconds": times,
        "cpu_us": tables.medians(rounds)["cpu_us"],
    }


def share(report: dict[str, Any]) -> float:
    """Return which part of the target's CPU time counting is."""
    times = report["nanoseconds"]
    return float((times["with"] - times["without"]) / 1000 / report["cpu_us"])


def markdown(report: dict[str, Any]) -> str:
    """Return the report's table as Markdown, with the share of all below it."""
    rows = []
    for label, figures in (("instructions", "instructions"), ("time, ns", "nanoseconds")):
        both = report[figures]
        more = both["with"] - both["without"]
        rows.append([label, *map(tables.number, (both["without"], both["with"], more))])
    table = tables.table(["A 4 KiB read", "without", "with", "counting"], rows)
    cpu = tables.number(report["cpu_us"])
    return f"{table}\nThe target takes {cpu} µs of CPU time for it: {share(report):.2%}.\n"


def main() -> None:
    """Run from the command line; the options are those of `bench.compare`."""
    compare.carry_out(run, markdown)


if __name__ == "__main__":
    main()
