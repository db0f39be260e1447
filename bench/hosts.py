"""Hosts that trouble a target: what `bench.nuisances` and its kin are made of.

A nuisance is *played* by a generator, which yields whenever it has gone one step on: what has
stopped yielding troubles nobody any more.
"""

from __future__ import annotations

import os
import selectors
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from tests.iscsi_client import DisconnectedError, Initiator, LoginError

ORDERED = 2
BLOCK_BYTES = 512
FLOODS, DEPTH = 4, 128

Address = tuple[str, int]
Play = Callable[[Address, str], Iterator[None]]
"""Troubles the target at an address, by its name, step by step and for ever."""

FAILURES = (OSError, DisconnectedError, LoginError)


def transfer(opcode: int, size_bytes: int, lba: int = 0) -> bytes:
    """Return the CDB of a READ or WRITE (10)."""
    return struct.pack(">BxIxHx", opcode, lba, size_bytes // BLOCK_BYTES)


READ, WRITE = 0x28, 0x2A
INQUIRY = bytes([0x12, 0, 0, 0, 96, 0])


def name_of(number: int) -> str:
    """Return the name of an initiator, which no other process has."""
    return f"iqn.2026-11.test:nuisance-{os.getpid()}-{number}"


def source(number: int) -> str:
    """Return an address of this machine, another one for each number below 2^16."""
    return f"127.1.{number >> 8}.{number & 0xFF}"


class Host(Initiator):
    """A host of its own name, logged in: the sessions are of as many initiators."""

    def __init__(self, address: Address, number: int, target: str, source: str = "") -> None:
        super().__init__(address, name=name_of(number), timeout=60, source=source)
        self.login(target)

    def submit(
        self,
        cdb: bytes,
        *,
        data_in: int = 0,
        data_out: int = 0,
        attribute: int = 1,
        data: bytes = b"",
    ) -> None:
        """Send a command, and of its data `data`."""
        bhs = self.command_bhs(
            0,
            cdb,
            itt=self.next_itt(),
            edtl=data_in or data_out or len(data),
            read=data_in > 0,
            write=data_out > 0 or bool(data),
            attribute=attribute,
        )
        self.send(bhs, data)


def keep_going(begin: Callable[[], Host], count: int) -> Iterator[None]:
    """Begin as many sessions, and each anew when the target ends it; take nothing."""
    hosts = [begin() for _ in range(count)]
    while True:
        time.sleep(0.25)
        for index, host in enumerate(hosts):
            if not is_over(host):
                yield
                continue
            with suppress(*FAILURES):
                hosts[index] = begin()
                yield


def is_over(host: Host) -> bool:
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


def flood(hosts: Iterable[Host], request: Callable[[Host], object], depth: int) -> Iterator[None]:
    """Have so many requests under way in each session, for ever; a step is an answer."""
    with selectors.DefaultSelector() as selector:
        for host in hosts:
            for _ in range(depth):
                request(host)
            selector.register(host.sock, selectors.EVENT_READ, host)
        while True:
            for key, _ in selector.select():
                key.data.receive()
                request(key.data)
                yield


def hosts(address: Address, target: str, count: int = FLOODS) -> Iterator[Host]:
    """Log so many hosts in."""
    for number in range(count):
        yield Host(address, number, target)
