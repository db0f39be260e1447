"""What a well-behaved host gets while others are slow, dead or hostile: its share of the
throughput that it has alone, and the longest it waits for a read of 4 KiB, TEST UNIT READY,
COMPARE AND WRITE and a login. `bench.nuisances` has what the others do.

Who plays the others needs CPU time, too, which the host has not: what it gets while they trouble
another target, beside its own, tells how much of the loss is of sharing a target. Both are
measured in turns while one and the same nuisance goes on, so that what the machine does besides,
and how far the nuisance has got, is alike for both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import load, page, peers, tables
from bench.hosts import BLOCK_BYTES, READ, Address, Play, transfer
from bench.nuisances import NUISANCES, Nuisance
from tests.iscsi_chap import Chap
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult

SIZE_BYTES = 256 << 20
FIGURES = "## Isolation in figures\n"
HONEST = "iqn.2026-11.test:honest"
TEST_UNIT_READY = bytes(6)
_LBA = 4096  # of COMPARE AND WRITE, where nobody else writes
_STALLED_S = 120  # what has gone no step for so long is stuck, not slow


@dataclass(slots=True)
class Figures:
    """What one host got; times are the longest, in milliseconds.

    `beside_iops`: while the same nuisance troubled another target. `share`: the one as a share of
    the other.
    """

    iops: float = 0.0
    beside_iops: float = 0.0
    share: float = 0.0
    read_ms: float = 0.0
    test_unit_ready_ms: float = 0.0
    compare_and_write_ms: float = 0.0
    login_ms: float = 0.0
    resident_mib: float = 0.0


def place_of(target: peers.Target) -> tuple[Address, str]:
    """Return a target's address and its name."""
    url = urlsplit(target.url)
    assert url.hostname is not None
    assert url.port is not None
    return (url.hostname, url.port), url.path.split("/")[1]


class _Player:
    """A process that plays a nuisance, and tells of each step that it goes."""

    def __init__(self, nuisance: Nuisance, address: Address, name: str) -> None:
        self._name = nuisance.name
        self._steps, self._told = os.pipe2(os.O_NONBLOCK)
        self._process = multiprocessing.Process(
            target=self._play, args=(nuisance.play, address, name), daemon=True
        )
        self._process.start()

    def _play(self, play: Play, address: Address, name: str) -> None:
        for _ in play(address, name):
            with suppress(BlockingIOError):  # that it goes on is told already
                os.write(self._told, b".")

    def forget_steps(self) -> None:
        """Take the steps that it has gone for none."""
        with suppress(BlockingIOError):
            while os.read(self._steps, 65536):
                pass

    def see_step(self) -> None:
        """Wait until it has gone a step; RuntimeError if it does not go any more."""
        ready = wait([self._steps, self._process.sentinel], _STALLED_S)
        if self._steps not in ready:
            raise RuntimeError(f"{self._name}: it {'has ended' if ready else 'does not go on'}")

    def end(self) -> None:
        """End it, whatever it is about."""
        self._process.kill()
        self._process.join()
        os.close(self._steps)
        os.close(self._told)


@contextmanager
def played(nuisance: Nuisance | None, address: Address, name: str) -> Iterator[None]:
    """Have a nuisance going on in processes of its own, from the beginning to the end."""
    if nuisance is None:
        yield
        return
    players = [_Player(nuisance, address, name) for _ in range(nuisance.players)]
    try:
        for player in players:
            player.see_step()
        yield
        for player in players:
            player.forget_steps()
            player.see_step()
    finally:
        for player in players:
            player.end()


def until_good(initiator: Initiator, cdb: bytes, **data: Any) -> ScsiResult:
    """Repeat a command, as hosts do after unit attentions and aborts, until it is done."""
    deadline = time.monotonic() + _STALLED_S
    while (result := initiator.command(0, cdb, **data)).status:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{cdb.hex()} ends in status {result.status:#04x} for ever")
    return result


def compare_and_write(initiator: Initiator) -> None:
    """Write a block as it is."""
    block = until_good(initiator, transfer(READ, BLOCK_BYTES, _LBA), data_in=BLOCK_BYTES).data
    cdb = bytes([0x89, 0, *_LBA.to_bytes(8, "big"), 0, 0, 0, 1, 0, 0])
    until_good(initiator, cdb, data_out=block * 2)


class Probe:
    """Does one thing after the other, and notes how long the longest of each took."""

    def __init__(self, target: peers.Target) -> None:
        self._target = target
        self._address, self._name = place_of(target)
        user = urlsplit(target.url).username
        self._chap = Chap(*peers.CREDENTIALS, "7") if user else None
        self.figures = Figures()

    def _timed(self, figure: str, action: Callable[[], object]) -> None:
        begin = time.monotonic()
        action()
        took_ms = (time.monotonic() - begin) * 1000
        setattr(self.figures, figure, max(getattr(self.figures, figure), took_ms))

    def _login(self) -> None:
        with Initiator(self._address, name=HONEST, isid=b"\x80\0\0\0\0\2", timeout=120) as other:
            other.login(self._name, chap=self._chap)
            other.logout()

    def run(self, seconds: float) -> None:
        """Probe for so long, a hundred rounds a second at most."""
        with Initiator(self._address, name=HONEST, timeout=120) as initiator:
            initiator.login(self._name, chap=self._chap)
            until_good(initiator, TEST_UNIT_READY)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._round(initiator)
                time.sleep(0.01)

    def _round(self, initiator: Initiator) -> None:
        figures = self.figures
        self._timed("read_ms", lambda: until_good(initiator, transfer(READ, 4096), data_in=4096))
        self._timed("test_unit_ready_ms", lambda: until_good(initiator, TEST_UNIT_READY))
        self._timed("compare_and_write_ms", lambda: compare_and_write(initiator))
        self._timed("login_ms", self._login)
        figures.resident_mib = max(figures.resident_mib, self._target.resident_bytes() / 2**20)


def times(target: peers.Target, nuisance: Nuisance | None, seconds: int) -> Figures:
    """Return how long a host waits while a nuisance goes on, None: alone."""
    probe = Probe(target)
    with played(nuisance, *place_of(target)):
        probe.run(seconds)
    return probe.figures


def throughputs(
    troubled: peers.Target, other: peers.Target, nuisance: Nuisance | None, seconds: int
) -> tuple[float, float, float]:
    """Return how many blocks of 4 KiB a host reads in a second, 32 at a time, at either target,
    and the first as a share of the second.

    A nuisance troubles the first one meanwhile. Each is measured `seconds` times for a second, in
    turns, of all of which the medians count; who was first is last in the next turn.
    """
    found: dict[str, list[float]] = {troubled.url: [], other.url: []}
    order = [troubled.url, other.url]
    with played(nuisance, *place_of(troubled)):
        for _ in range(seconds):
            for url in order:
                found[url].append(float(load.run(url, load.Load(depth=32, seconds=1))["iops"]))
            order.reverse()
    pairs = zip(*found.values(), strict=True)
    share = statistics.median(here / there for here, there in pairs)
    return statistics.median(found[troubled.url]), statistics.median(found[other.url]), share


@contextmanager
def _served(directory: Path, nuisance: Nuisance | None) -> Iterator[peers.Target]:
    """Serve what a nuisance is to trouble."""
    chap, faults = (nuisance.chap, nuisance.faults) if nuisance else (False, ())
    with (
        tempfile.TemporaryDirectory(dir=directory) as place,
        peers.scsi2nvme(Path(place), SIZE_BYTES, faults=faults, chap=chap) as target,
    ):
        yield target


def run(directory: Path, seconds: int, chosen: str = "") -> dict[str, dict[str, Any]]:
    """Measure with each nuisance whose name has `chosen`, each against fresh targets."""
    report = {}
    for nuisance in (None, *(one for one in NUISANCES if chosen in one.name)):
        with _served(directory, nuisance) as target:
            figures = times(target, nuisance, seconds)
        with ExitStack() as stack:
            target, other = (stack.enter_context(_served(directory, nuisance)) for _ in range(2))
            found = throughputs(target, other, nuisance, seconds)
        figures.iops, figures.beside_iops, figures.share = found
        report[nuisance.name if nuisance else "nobody else"] = asdict(figures)
    return report


_ABOUT = """\
Throughput as a share of what the host has alone, and the longest times in ms, with one reactor.
Whoever plays the others takes a part of the same CPUs: "beside" is the share that the host has
while they trouble another target on the same machine. What sharing a target costs is what the
first of the two, divided by the second, is below one: "÷ beside". Both are measured in turns of a
second while the others go on; the figures are medians. `python -m bench.isolation --page
docs/reliability.md` writes this table anew, on a machine with nothing else to do: what it is busy
with counts as loss.
"""
_SHARES = {"4 KiB reads, QD32": "iops", "beside": "beside_iops"}
_COLUMNS = {
    "read 4 KiB": "read_ms",
    "TEST UNIT READY": "test_unit_ready_ms",
    "COMPARE AND WRITE": "compare_and_write_ms",
    "login": "login_ms",
    "resident, MiB": "resident_mib",
}


def markdown(report: dict[str, dict[str, Any]]) -> str:
    """Return a table: throughput as a share of what the host has alone, longest times in ms."""
    alone = next(iter(report.values()))["iops"]
    lines = [
        "![What a host gets while others misbehave](plots/isolation.svg)\n",
        _ABOUT,
        f"| Meanwhile | {' | '.join(_SHARES)} | ÷ beside | {' | '.join(_COLUMNS)} |",
        f"| --- |{' --: |' * (len(_SHARES) + 1 + len(_COLUMNS))}",
    ]
    for name, figures in report.items():
        cells = [f"{figures[each] / alone:.2f}" for each in _SHARES.values()]
        cells.append(f"{figures['share']:.2f}")
        cells += [tables.number(figures[column]) for column in _COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--only", default="", help="what the names of nuisances have in common")
    parser.add_argument("--directory", type=Path, help="where disk images go")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--page", type=Path, help="put the table into this page of docs/")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as name:
        report = run(Path(name), arguments.seconds, arguments.only)
    page.deliver(report, markdown(report), FIGURES, data=arguments.json, page=arguments.page)
    if arguments.page:
        from bench import plots  # what draws is not where users only measure

        plots.draw(report, arguments.page.parent / "plots")


if __name__ == "__main__":
    main()
