"""How scsi2nvme's costs grow, beside tgt's: CPU per I/O from 1 to 64 sessions and from
1 to 256 namespaces at constant load, and over its reactors; memory per session, idle CPU, start-up
time.

The more sessions share the load, the fewer commands come with each call of the kernel: what that
costs any target, the floor tells.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from bench import load, machine, peers, tables

SIZE_BYTES = 512 << 20
OUTSTANDING = 64
SESSIONS = (1, 4, 16, 64)
NAMESPACES = (1, 4, 16, 64, 256)
REACTORS = (1, 2, 4)
# Its LUN 0 is no disk, and LUN 256 needs an addressing method that libiscsi does not use.
TGT_UNITS = 255

# Serves `units` logical units in a directory.
Start = Callable[[Path, int], AbstractContextManager[peers.Target]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Rounds and seconds of a load, seconds to be idle, how often to start."""

    rounds: int
    seconds: int
    idle_seconds: int
    starts: int


FULL = Settings(rounds=3, seconds=2, idle_seconds=10, starts=5)
QUICK = Settings(rounds=1, seconds=1, idle_seconds=5, starts=3)


def _ours(directory: Path, units: int, reactors: int = 1) -> AbstractContextManager[peers.Target]:
    return peers.scsi2nvme(directory, SIZE_BYTES, namespaces=units, reactors=reactors)


def _tgt(directory: Path, units: int) -> AbstractContextManager[peers.Target]:
    return peers.tgt(directory, SIZE_BYTES, units=units)


def _floor(_: Path, __: int) -> AbstractContextManager[peers.Target]:
    return peers.floor(SIZE_BYTES)


FLOOR, OURS = "floor", "scsi2nvme"
STARTS: dict[str, Start] = {"tgt": _tgt, OURS: _ours}
AMONG_SESSIONS = {FLOOR: _floor, **STARTS}


def session_loads(seconds: int) -> list[load.Load]:
    """Return loads over more and more sessions, always as many commands under way."""
    return [
        load.Load(depth=OUTSTANDING // count, sessions=count, seconds=seconds) for count in SESSIONS
    ]


def namespace_load(count: int, seconds: int) -> load.Load:
    """Return the load over so many logical units, always as many commands under way."""
    return load.Load(depth=OUTSTANDING // 4, sessions=4, luns=count, seconds=seconds)


def reactor_load(seconds: int) -> load.Load:
    """Return the load over several reactors: each has as many sessions as any other."""
    return load.Load(depth=OUTSTANDING // 16, sessions=16, seconds=seconds)


@contextmanager
def _with_bytecode() -> Iterator[None]:
    """Let a daemon find what it is compiled to, as one does that is installed.

    To compile it takes as long as all else of a start. What tests keep of a checkout is held
    against the sources' contents at each start, which nobody's is.
    """
    with tempfile.TemporaryDirectory() as kept, mock.patch.dict(os.environ):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = kept
        yield


class Growth:
    """The measurements, each of every target; disk images go to `directory`."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        usable = sorted(os.sched_getaffinity(0))
        self._usable: Collection[int] = usable
        self._target_cpus: Collection[int] = usable[:1]
        self._load_cpus: Collection[int] = usable[-1:]

    @contextmanager
    def _target(self, name: str, units: int = 1) -> Iterator[peers.Target]:
        with ExitStack() as stack:
            temporary = tempfile.TemporaryDirectory(dir=self._directory)
            directory = Path(stack.enter_context(temporary))
            with load.on_cpus(self._target_cpus):
                target = stack.enter_context(AMONG_SESSIONS[name](directory, units))
            yield target

    def _cpu_us(self, target: peers.Target, work: load.Load) -> float:
        meter = peers.CpuMeter(target)
        operations = int(load.run(target.url, work, self._load_cpus, meter)["all_operations"])
        return meter.seconds * 1e6 / max(operations, 1)

    def sessions(self, name: str) -> dict[int, float]:
        """CPU µs per I/O, by the number of sessions."""
        loads = session_loads(self._settings.seconds)
        with self._target(name) as target:
            rounds = [
                [self._cpu_us(target, work) for work in loads] for _ in range(self._settings.rounds)
            ]
        columns = zip(SESSIONS, zip(*rounds, strict=True), strict=True)
        return {count: statistics.median(each) for count, each in columns}

    def namespaces(self, name: str) -> dict[int, float]:
        """CPU µs per I/O, by the number of namespaces."""
        found = {}
        for count in NAMESPACES:
            units = min(count, TGT_UNITS) if name == "tgt" else count
            work = namespace_load(units, self._settings.seconds)
            with self._target(name, units) as target:
                each = [self._cpu_us(target, work) for _ in range(self._settings.rounds)]
            found[count] = statistics.median(each)
        return found

    def reactors(self, _: str) -> dict[int, float]:
        """CPU µs per I/O, by the number of reactors, which have all CPUs between them."""
        found = {}
        work = reactor_load(self._settings.seconds)
        for count in REACTORS:
            with ExitStack() as stack:
                temporary = tempfile.TemporaryDirectory(dir=self._directory)
                directory = Path(stack.enter_context(temporary))
                with load.on_cpus(self._usable):
                    target = stack.enter_context(_ours(directory, 1, count))
                each = [self._cpu_us(target, work) for _ in range(self._settings.rounds)]
            found[count] = statistics.median(each)
        return found

    def idle(self, name: str) -> dict[str, float]:
        """`kib_per_session` of resident memory, and `idle_ms_per_s` of CPU while all idle."""
        count = SESSIONS[-1]
        with self._target(name) as target:
            # What the first session and the first I/O make it allocate is no session's.
            load.run(target.url, load.Load(depth=32, seconds=1), self._load_cpus)
            before = target.resident_bytes()
            with load.idle_sessions(target.url, count):
                grown = target.resident_bytes() - before
                time.sleep(1)  # the logins' aftermath
                with peers.CpuMeter(target) as meter:
                    time.sleep(self._settings.idle_seconds)
        return {
            "kib_per_session": grown / 1024 / count,
            "idle_ms_per_s": meter.seconds * 1e3 / self._settings.idle_seconds,
        }

    def start_up(self, name: str) -> dict[str, float]:
        """Milliseconds from the process's start to `ready_ms`, and to `login_ms`; and `kib`."""
        ready, login, memory = [], [], []
        with _with_bytecode():
            with self._target(name):
                pass  # it keeps what others find
            for _ in range(self._settings.starts):
                with self._target(name) as target:
                    ready.append((time.monotonic() - target.started_s) * 1e3)
                    with load.idle_sessions(target.url, 1):
                        login.append((time.monotonic() - target.started_s) * 1e3)
                        memory.append(target.resident_bytes() / 1024)
        return {
            "ready_ms": statistics.median(ready),
            "login_ms": statistics.median(login),
            "kib": statistics.median(memory),
        }


def run(settings: Settings, directory: Path) -> dict[str, Any]:
    """Measure everything; progress goes to standard error."""
    report: dict[str, Any] = {
        "machine": machine.describe(directory),
        "load_average": machine.load_average(),
    }
    growth = Growth(directory, settings)
    measurements: tuple[tuple[Callable[[str], object], Collection[str]], ...] = (
        (growth.start_up, STARTS),
        (growth.idle, STARTS),
        (growth.sessions, AMONG_SESSIONS),
        (growth.namespaces, STARTS),
        (growth.reactors, [OURS]),
    )
    for measurement, among in measurements:
        figures: dict[str, Any] = {}
        for name in among:
            print(f"{measurement.__name__}: {name}", file=sys.stderr)
            figures[name] = measurement(name)
        report[measurement.__name__] = figures
    return report


_SINGLE = {
    ("start_up", "ready_ms"): "start to ready, ms",
    ("start_up", "login_ms"): "start to the first login, ms",
    ("start_up", "kib"): "resident memory with one session, KiB",
    ("idle", "kib_per_session"): f"resident memory per session, KiB, of {SESSIONS[-1]}",
    ("idle", "idle_ms_per_s"): f"CPU with {SESSIONS[-1]} idle sessions, ms per second",
}


def _by_count(figures: dict[str, dict[int, float]], unit: str) -> str:
    counts = list(next(iter(figures.values())))
    rows = [
        [name, *(tables.number(each[count]) for count in counts)] for name, each in figures.items()
    ]
    return tables.table([f"CPU µs per I/O at {unit}", *map(str, counts)], rows)


def markdown(report: dict[str, Any]) -> str:
    """Return the report's tables as Markdown."""
    single = [
        [text, *(tables.number(report[part][name][figure]) for name in STARTS)]
        for (part, figure), text in _SINGLE.items()
    ]
    of_floor = {
        count: each / report["sessions"][FLOOR][count]
        for count, each in report["sessions"][OURS].items()
    }
    parts = [
        tables.table(["", *STARTS], single),
        _by_count(report["sessions"] | {"scsi2nvme ÷ floor": of_floor}, "sessions"),
        _by_count(report["namespaces"], "namespaces"),
        _by_count(report["reactors"], "reactors"),
    ]
    return "\n".join(parts)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    settings = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        report = run(settings, Path(directory))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(machine.heading(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
