"""What a well-behaved host gets while others are slow, dead or hostile: its share of the
throughput that it has alone, and the longest it waits for a read of 4 KiB, TEST UNIT READY,
COMPARE AND WRITE and a login. `bench.nuisances` has what the others do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import load, page, peers, tables
from bench.nuisances import BLOCK_BYTES, NUISANCES, READ, Address, Nuisance, transfer
from tests.iscsi_client import Initiator

SIZE_BYTES = 256 << 20
FIGURES = "## Isolation in figures\n"
HONEST = "iqn.2026-11.test:honest"
TEST_UNIT_READY = bytes(6)
_LBA = 4096  # of COMPARE AND WRITE, where nobody else writes


@dataclass(slots=True)
class Figures:
    """What one host got; times are the longest, in milliseconds."""

    iops: float = 0.0
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


@contextmanager
def played(nuisance: Nuisance | None, address: Address, name: str) -> Iterator[None]:
    """Have a nuisance going on in a process of its own."""
    if nuisance is None:
        yield
        return
    process = multiprocessing.Process(target=nuisance.play, args=(address, name), daemon=True)
    process.start()
    try:
        time.sleep(1)  # so that it is under way
        if not process.is_alive():
            raise RuntimeError(f"{nuisance.name}: it has ended")
        yield
    finally:
        process.kill()
        process.join()


def compare_and_write(initiator: Initiator) -> None:
    """Write a block as it is."""
    block = initiator.command(0, transfer(READ, BLOCK_BYTES, _LBA), data_in=BLOCK_BYTES).data
    cdb = bytes([0x89, 0, *_LBA.to_bytes(8, "big"), 0, 0, 0, 1, 0, 0])
    assert initiator.command(0, cdb, data_out=block * 2).status == 0


class Probe:
    """Does one thing after the other, and notes how long the longest of each took."""

    def __init__(self, target: peers.Target) -> None:
        self._target = target
        self._address, self._name = place_of(target)
        self.figures = Figures()

    def _timed(self, figure: str, action: Callable[[], object]) -> None:
        begin = time.monotonic()
        action()
        took_ms = (time.monotonic() - begin) * 1000
        setattr(self.figures, figure, max(getattr(self.figures, figure), took_ms))

    def _login(self) -> None:
        with Initiator(self._address, name=HONEST, isid=b"\x80\0\0\0\0\2", timeout=120) as other:
            other.login(self._name)
            other.logout()

    def run(self, seconds: float) -> None:
        """Probe for so long, a hundred rounds a second at most."""
        with Initiator(self._address, name=HONEST, timeout=120) as initiator:
            initiator.login(self._name)
            while initiator.command(0, TEST_UNIT_READY).status:
                pass  # unit attentions
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._round(initiator)
                time.sleep(0.01)

    def _round(self, initiator: Initiator) -> None:
        figures = self.figures
        self._timed("read_ms", lambda: initiator.command(0, transfer(READ, 4096), data_in=4096))
        self._timed("test_unit_ready_ms", lambda: initiator.command(0, TEST_UNIT_READY))
        self._timed("compare_and_write_ms", lambda: compare_and_write(initiator))
        self._timed("login_ms", self._login)
        figures.resident_mib = max(figures.resident_mib, self._target.resident_bytes() / 2**20)


def measure(target: peers.Target, nuisance: Nuisance | None, seconds: int) -> Figures:
    """Return what a host gets while a nuisance goes on, None: alone."""
    address, name = place_of(target)
    probe = Probe(target)
    with played(nuisance, address, name):
        probe.run(seconds)
        result = load.run(target.url, load.Load(depth=32, seconds=seconds))
        probe.figures.iops = float(result["iops"])
    return probe.figures


def run(directory: Path, seconds: int, chosen: str = "") -> dict[str, dict[str, Any]]:
    """Measure with each nuisance whose name has `chosen`, each against a fresh target."""
    report = {}
    for nuisance in (None, *(one for one in NUISANCES if chosen in one.name)):
        with (
            tempfile.TemporaryDirectory(dir=directory) as place,
            peers.scsi2nvme(Path(place), SIZE_BYTES) as target,
        ):
            figures = measure(target, nuisance, seconds)
        report[nuisance.name if nuisance else "nobody else"] = asdict(figures)
    return report


_ABOUT = """\
Throughput as a share of what the host has alone, and the longest times in ms, with one reactor;
whoever plays the others takes a part of the same CPUs.
"""
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
        _ABOUT,
        f"| Meanwhile | 4 KiB reads, QD32 | {' | '.join(_COLUMNS)} |",
        f"| --- | --: |{' --: |' * len(_COLUMNS)}",
    ]
    for name, figures in report.items():
        cells = [f"{figures['iops'] / alone:.2f}"]
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


if __name__ == "__main__":
    main()
