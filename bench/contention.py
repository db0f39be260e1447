"""What COMPARE AND WRITE of one block costs: others, and those who contend for it.

A stream of it goes on beside a load of random reads, as fast as a stream of plain writes of the
same block did; and so do several hosts, each of which sends its next one when the last is answered.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import compare, load, page, peers, tables
from bench.hosts import BLOCK_BYTES, WRITE, Address, Host, transfer
from bench.isolation import place_of

SIZE_BYTES = 512 << 20
HOSTS, RATE = 4, 1000
_ABOUT = f"""\
{RATE:,} a second beside random reads at queue depth 32; and hosts that contend, with one at a time
each, while another one reads. The best of the rounds.
"""
STREAMS = {"nobody": "", "writes": "write", "COMPARE AND WRITE": "compare-and-write"}
_COMPARE_AND_WRITE = struct.pack(">BxQxxxBxx", 0x89, 0, 1)


def _stream(address: Address, name: str, operation: str, rate: int) -> None:
    """Send commands of the first block, so many in a second, until the process is ended."""
    host = Host(address, 0, name)
    due = time.monotonic()
    while True:
        if operation == "write":
            host.submit(transfer(WRITE, BLOCK_BYTES), data=bytes(BLOCK_BYTES))
        else:
            host.submit(_COMPARE_AND_WRITE, data=bytes(2 * BLOCK_BYTES))
        host.receive()
        due = max(due + 1 / rate, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def _streaming(target: peers.Target, operation: str, rate: int) -> Iterator[None]:
    """Have a stream going on in a process of its own."""
    if not operation:
        yield
        return
    process = multiprocessing.Process(
        target=_stream, args=(*place_of(target), operation, rate), daemon=True
    )
    process.start()
    try:
        time.sleep(0.5)  # the login
        yield
        if not process.is_alive():
            raise RuntimeError(f"the stream of {operation} has ended")
    finally:
        process.kill()
        process.join()


def _reads(seconds: int) -> load.Load:
    return load.Load("read", "random", 32, 1, 4096, seconds, SIZE_BYTES)


def beside(target: peers.Target, operation: str, seconds: int) -> dict[str, float]:
    """Return what a load of reads gets beside a stream."""
    with _streaming(target, operation, RATE):
        return compare.measure(target, _reads(seconds), os.sched_getaffinity(0))


def contend(target: peers.Target, hosts: int, seconds: int) -> dict[str, float]:
    """Return what hosts do that want one block, and what a load of reads gets beside them."""
    wanted = load.Load("compare-and-write", "random", 1, 1, 4096, seconds + 1, 4096)
    with ThreadPoolExecutor(hosts) as pool:
        runs = [pool.submit(load.run, target.url, wanted) for _ in range(hosts)]
        reads = load.run(target.url, _reads(seconds))
        done = [run.result() for run in runs]
    return {
        "iops": sum(each["iops"] for each in done),
        "slowest_iops": min(each["iops"] for each in done),
        "p99_us": max(each["p99_us"] for each in done),
        "reads_iops": reads["iops"],
        "reads_p99_us": reads["p99_us"],
    }


def run(rounds: int, seconds: int, directory: Path) -> dict[str, Any]:
    """Measure all in turn; by their names the best of the rounds.

    What else the machine is busy with troubles three processes more than a machine's idle hour.
    """
    figures: dict[str, list[dict[str, float]]] = {}
    with peers.scsi2nvme(directory, SIZE_BYTES) as target:
        for _ in range(rounds):
            for name, operation in STREAMS.items():
                figures.setdefault(name, []).append(beside(target, operation, seconds))
            for hosts in (1, HOSTS):
                name = f"{hosts} host{'s'[: hosts - 1]}"
                figures.setdefault(name, []).append(contend(target, hosts, seconds))
    return {name: max(each, key=lambda one: one["iops"]) for name, each in figures.items()}


def markdown(report: dict[str, Any]) -> str:
    """Return the two tables."""
    number = tables.number
    plain = report["writes"]["iops"]
    streams = (
        [name, number(report[name]["iops"]), f"{report[name]['iops'] / plain:.2f}",
         number(report[name]["p99_us"])]
        for name in STREAMS
    )  # fmt: skip
    keys = ("iops", "slowest_iops", "p99_us", "reads_iops", "reads_p99_us")
    contended = (
        [name, *(number(figures[key]) for key in keys)]
        for name, figures in report.items()
        if name not in STREAMS
    )
    beside_header = [
        "Meanwhile, of one block",
        "4 KiB reads/s",
        "of those beside writes",
        "p99, µs",
    ]
    header = ["COMPARE AND WRITE by", "commands/s", "the least of a host", "p99, µs",
              "reads/s beside", "their p99, µs"]  # fmt: skip
    return f"{_ABOUT}\n{tables.table(beside_header, streams)}\n{tables.table(header, contended)}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="per measurement")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--json", type=Path, help="write every figure there")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        report = run(arguments.rounds, arguments.seconds, Path(directory))
    page.deliver(report, markdown(report), "", data=arguments.json, page=None)


if __name__ == "__main__":
    main()
