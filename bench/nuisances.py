"""What hosts do that are slow, dead or hostile: a record each, for `bench.isolation`.

To add one, write a generator that plays it (`bench.hosts`), and give it a row in `NUISANCES`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bench import crowds, storms
from bench.hosts import (
    DEPTH,
    FAILURES,
    INQUIRY,
    ORDERED,
    READ,
    WRITE,
    Address,
    Host,
    Play,
    flood,
    hosts,
    keep_going,
    transfer,
)

HOSTS = 8  # that hang
LARGEST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Nuisance:
    """`play` troubles a target until its process is killed; so many `players` do at once.

    `faults` are those of the disk, as of `emulated:`; `chap`: the target wants a proof.
    """

    name: str
    play: Play
    players: int = 1
    faults: tuple[str, ...] = ()
    chap: bool = False


def writes_without_data(address: Address, target: str) -> Iterator[None]:
    """Hosts that send 32 writes of 256 KiB, and none of their data."""
    numbers = itertools.count()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(32):
            host.submit(transfer(WRITE, 256 << 10), data_out=256 << 10)
        return host

    yield from keep_going(begin, HOSTS)


def small_writes_without_data(address: Address, target: str) -> Iterator[None]:
    """Hosts that send 128 writes of 4 KiB, and none of their data."""
    numbers = itertools.count()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(DEPTH):
            host.submit(transfer(WRITE, 4096), data_out=4096)
        return host

    yield from keep_going(begin, HOSTS)


def reads_not_taken(address: Address, target: str) -> Iterator[None]:
    """Hosts that send 64 reads of 256 KiB, and take no data."""
    numbers = itertools.count()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(64):
            host.submit(transfer(READ, 256 << 10), data_in=256 << 10)
        return host

    yield from keep_going(begin, HOSTS)


def answers_not_taken(address: Address, target: str) -> Iterator[None]:
    """Three hosts that send 48 ORDERED reads of 8 MiB each, and take no data."""
    numbers = itertools.count()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(48):
            cdb = transfer(READ, LARGEST_BYTES)
            host.submit(cdb, data_in=LARGEST_BYTES, attribute=ORDERED)
        return host

    yield from keep_going(begin, 3)


def trickle(address: Address, target: str) -> Iterator[None]:
    """Two hosts that send the data of their largest writes a byte at a time."""
    numbers = itertools.count()
    while True:
        with suppress(*FAILURES):
            pair = [Host(address, next(numbers), target) for _ in range(2)]
            for host in pair:
                host.submit(transfer(WRITE, LARGEST_BYTES), data_out=LARGEST_BYTES)
            host = pair[0]
            host.sock.settimeout(600)
            asked = host.receive()
            for sent in itertools.count():
                bhs = host.data_out_bhs(0, asked.itt, asked.ttt, sent, sent, final=False)
                host.send(bhs, b"\0")
                yield
                time.sleep(0.5)


def unmaps_that_hang(address: Address, target: str) -> Iterator[None]:
    """Hosts that send 64 UNMAP commands each, which the disk never ends: more than it takes."""
    numbers = itertools.count()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(64):
            host.submit(storms.UNMAP, data=storms.UNMAPPED)
        return host

    yield from keep_going(begin, HOSTS)


def inquiries(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 128 INQUIRY commands each."""
    yield from flood(hosts(address, target), lambda host: host.submit(INQUIRY, data_in=96), DEPTH)


def reads(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 128 reads of 4 KiB each."""

    def read(host: Host) -> None:
        host.submit(transfer(READ, 4096), data_in=4096)

    yield from flood(hosts(address, target), read, DEPTH)


def large_reads(address: Address, target: str) -> Iterator[None]:
    """A session with 32 reads of 256 KiB, all of which it takes."""

    def read(host: Host) -> None:
        host.submit(transfer(READ, 256 << 10), data_in=256 << 10)

    yield from flood(hosts(address, target, 1), read, 32)


def middling_reads(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 32 reads of 64 KiB each, all of which they take."""

    def read(host: Host) -> None:
        host.submit(transfer(READ, 65536), data_in=65536)

    yield from flood(hosts(address, target), read, 32)


def ordered_reads(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 128 ORDERED reads of 4 KiB each."""

    def read(host: Host) -> None:
        host.submit(transfer(READ, 4096), data_in=4096, attribute=ORDERED)

    yield from flood(hosts(address, target), read, DEPTH)


NUISANCES = (
    Nuisance("8 hosts, 32 × WRITE 256 KiB each, no data", writes_without_data),
    Nuisance("8 hosts, 128 × WRITE 4 KiB each, no data", small_writes_without_data),
    Nuisance("8 hosts, 64 × READ 256 KiB each, not taken", reads_not_taken),
    Nuisance("2 hosts, WRITE 8 MiB, 2 bytes a second", trickle),
    Nuisance("3 hosts, 48 × ORDERED READ 8 MiB each, not taken", answers_not_taken),
    Nuisance("4 hosts, 128 × INQUIRY each, for ever", inquiries),
    Nuisance("4 hosts, 128 × READ 4 KiB each, for ever", reads),
    Nuisance("4 hosts, 128 × ORDERED READ 4 KiB each, for ever", ordered_reads),
    Nuisance("a host, 32 × READ 256 KiB, for ever", large_reads),
    Nuisance(
        "8 hosts, 64 × UNMAP each, which hang",
        unmaps_that_hang,
        faults=("dataset-management:hang",),
    ),
    Nuisance(
        "a host, UNMAP which hangs, and ABORT TASK, for ever",
        storms.unmaps_that_are_aborted,
        faults=("dataset-management:hang", "abort:status=0/06"),
    ),
    Nuisance("4 hosts, 32 × MODE SELECT each, for ever", storms.mode_selects),
    Nuisance("4 hosts, 32 × START STOP UNIT each, for ever", storms.starts),
    Nuisance("4 hosts, 32 × COMPARE AND WRITE each, for ever", storms.compares),
    Nuisance("4 hosts, 16 × ABORT TASK of nothing each, for ever", storms.aborts_of_nothing),
    Nuisance("4 hosts, 16 × QUERY TASK SET each, for ever", storms.queries),
    Nuisance("4 hosts, 32 × READ 64 KiB each, for ever", middling_reads),
    Nuisance("4 hosts, ABORT TASK SET of 32 reads each, for ever", storms.aborts_of_reads),
    Nuisance("a host, LOGICAL UNIT RESET for ever", storms.unit_resets),
    Nuisance("4 hosts, 16 × TARGET COLD RESET each, refused", storms.cold_resets),
    Nuisance("4 hosts, 16 × NOP-Out of 4 KiB each, for ever", storms.pings),
    Nuisance("4 hosts, 4 × Text Request each, for ever", storms.texts),
    Nuisance("1,000 half-open connections of 1,000 addresses", crowds.half_open),
    Nuisance("2 × 32 connections at a time, opened and closed", crowds.opens, players=2),
    Nuisance("1,000 idle sessions", crowds.idle_sessions),
    Nuisance("2 hosts, login and logout, for ever", crowds.logins, players=2),
    Nuisance("2 hosts, discovery, for ever", crowds.discoveries, players=2),
    Nuisance("8 hosts of one address, CHAP guessing", crowds.guesses, players=2, chap=True),
)
