"""What hosts do that are slow, dead or hostile: a record each, for `bench.isolation`.

To add one, write a function that plays it until it is killed, and give it a row in `NUISANCES`.
"""

from __future__ import annotations

import itertools
import selectors
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.iscsi_client import DisconnectedError, Initiator, LoginError

ORDERED = 2
BLOCK_BYTES = 512
HOSTS = 8  # that hang
FLOODS, DEPTH = 4, 128
LARGEST_BYTES = 8 << 20

Address = tuple[str, int]
Play = Callable[[Address, str], None]


@dataclass(frozen=True, slots=True)
class Nuisance:
    """`play` troubles the target at an address, by its name, until its process is killed."""

    name: str
    play: Play


def transfer(opcode: int, size_bytes: int, lba: int = 0) -> bytes:
    """Return the CDB of a READ or WRITE (10)."""
    return struct.pack(">BxIxHx", opcode, lba, size_bytes // BLOCK_BYTES)


READ, WRITE = 0x28, 0x2A
INQUIRY = bytes([0x12, 0, 0, 0, 96, 0])


class Host(Initiator):
    """A host of its own name: the sessions are of as many initiators."""

    def __init__(self, address: Address, number: int, target: str) -> None:
        super().__init__(address, name=f"iqn.2026-11.test:nuisance-{number}", timeout=60)
        self.login(target)

    def submit(
        self, cdb: bytes, *, data_in: int = 0, data_out: int = 0, attribute: int = 1
    ) -> None:
        """Send a command, and no data."""
        self.send(
            self.command_bhs(
                0,
                cdb,
                itt=self.next_itt(),
                edtl=data_in or data_out,
                read=data_in > 0,
                write=data_out > 0,
                attribute=attribute,
            )
        )


def _keep_going(begin: Callable[[], Host], count: int) -> None:
    """Begin as many sessions, and each anew when the target ends it; take nothing."""
    hosts = [begin() for _ in range(count)]
    while True:
        time.sleep(0.25)
        for index, host in enumerate(hosts):
            if _is_over(host):
                with suppress(OSError, DisconnectedError, LoginError):
                    hosts[index] = begin()


def _is_over(host: Host) -> bool:
    """Whether the target has ended the connection: writing to it tells."""
    try:
        host.sock.sendall(_nop(host))
    except OSError:
        return True
    return False


def _nop(host: Host) -> bytes:
    """Return a NOP-Out that wants no answer."""
    return struct.pack(
        ">BBxx12xIIII16x", 0x40, 0x80, 0xFFFFFFFF, 0xFFFFFFFF, host.cmd_sn, host.exp_stat_sn
    )


def _numbers() -> Iterator[int]:
    return itertools.count()


def writes_without_data(address: Address, target: str) -> None:
    """Hosts that send 32 writes of 256 KiB, and none of their data."""
    numbers = _numbers()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(32):
            host.submit(transfer(WRITE, 256 << 10), data_out=256 << 10)
        return host

    _keep_going(begin, HOSTS)


def small_writes_without_data(address: Address, target: str) -> None:
    """Hosts that send 128 writes of 4 KiB, and none of their data."""
    numbers = _numbers()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(DEPTH):
            host.submit(transfer(WRITE, 4096), data_out=4096)
        return host

    _keep_going(begin, HOSTS)


def reads_not_taken(address: Address, target: str) -> None:
    """Hosts that send 64 reads of 256 KiB, and take no data."""
    numbers = _numbers()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(64):
            host.submit(transfer(READ, 256 << 10), data_in=256 << 10)
        return host

    _keep_going(begin, HOSTS)


def answers_not_taken(address: Address, target: str) -> None:
    """Three hosts that send 48 ORDERED reads of 8 MiB each, which the engine answers in vain."""
    numbers = _numbers()

    def begin() -> Host:
        host = Host(address, next(numbers), target)
        for _ in range(48):
            cdb = transfer(READ, LARGEST_BYTES)
            host.submit(cdb, data_in=LARGEST_BYTES, attribute=ORDERED)
        return host

    _keep_going(begin, 3)


def trickle(address: Address, target: str) -> None:
    """Two hosts that send the data of their largest writes a byte at a time."""
    numbers = _numbers()
    while True:
        with suppress(OSError, DisconnectedError, LoginError, StopIteration):
            hosts = [Host(address, next(numbers), target) for _ in range(2)]
            for host in hosts:
                host.submit(transfer(WRITE, LARGEST_BYTES), data_out=LARGEST_BYTES)
            host = hosts[0]
            host.sock.settimeout(600)
            asked = host.receive()
            for sent in itertools.count():
                bhs = host.data_out_bhs(0, asked.itt, asked.ttt, sent, sent, final=False)
                host.send(bhs, b"\0")
                time.sleep(0.5)


def _flood(address: Address, target: str, cdb: bytes, data_in: int, attribute: int = 1) -> None:
    """Have 128 commands under way in each of four sessions, for ever."""
    selector = selectors.DefaultSelector()
    for number in range(FLOODS):
        host = Host(address, number, target)
        for _ in range(DEPTH):
            host.submit(cdb, data_in=data_in, attribute=attribute)
        selector.register(host.sock, selectors.EVENT_READ, host)
    while True:
        for key, _ in selector.select():
            key.data.receive()
            key.data.submit(cdb, data_in=data_in, attribute=attribute)


def inquiries(address: Address, target: str) -> None:
    """Four sessions with 128 INQUIRY commands each."""
    _flood(address, target, INQUIRY, 96)


def ordered_reads(address: Address, target: str) -> None:
    """Four sessions with 128 ORDERED reads of 4 KiB each."""
    _flood(address, target, transfer(READ, 4096), 4096, ORDERED)


NUISANCES = (
    Nuisance("8 hosts, 32 × WRITE 256 KiB each, no data", writes_without_data),
    Nuisance("8 hosts, 128 × WRITE 4 KiB each, no data", small_writes_without_data),
    Nuisance("8 hosts, 64 × READ 256 KiB each, not taken", reads_not_taken),
    Nuisance("2 hosts, WRITE 8 MiB, 2 bytes a second", trickle),
    Nuisance("3 hosts, 48 × ORDERED READ 8 MiB each, not taken", answers_not_taken),
    Nuisance("4 hosts, 128 × INQUIRY each, for ever", inquiries),
    Nuisance("4 hosts, 128 × ORDERED READ 4 KiB each, for ever", ordered_reads),
)
