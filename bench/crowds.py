"""Connections without end: half open, idle, and those that log in or fail to."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from bench.hosts import FAILURES, Address, Host, is_over, name_of, source
from tests.iscsi_chap import Chap
from tests.iscsi_client import Initiator

CROWD = 1000
_PER_ADDRESS = 250
AT_ONCE = 32
_GUESSES = 4


def _connected(address: Address, own: str) -> socket.socket:
    """Begin a connection from one of this machine's addresses."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((own, 0))
    with suppress(BlockingIOError):
        sock.connect(address)
    return sock


def half_open(address: Address, _target: str) -> Iterator[None]:
    """Connections of as many addresses that say nothing, each opened anew when it is ended."""
    with selectors.DefaultSelector() as selector:
        for number in range(CROWD):
            selector.register(_connected(address, source(number)), selectors.EVENT_READ, number)
        while True:
            for key, _ in selector.select(0.25):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                selector.unregister(sock)
                sock.close()
                again = _connected(address, source(key.data))
                selector.register(again, selectors.EVENT_READ, key.data)
            yield


def opens(address: Address, _target: str) -> Iterator[None]:
    """Connections that are closed as soon as they are there.

    They are reset: of those that are closed otherwise the kernel keeps the port for a minute. An
    address has used up its ports after seconds then, and looking for a free one takes a CPU, from
    whoever wants it, while nobody is troubled any more.
    """
    at_once = struct.pack("ii", 1, 0)
    own = source(os.getpid() & 0xFFFF)
    while True:
        crowd = []
        for _ in range(AT_ONCE):
            with suppress(OSError):
                crowd.append(socket.create_connection(address, 60, (own, 0)))
        for sock in crowd:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            sock.close()
            yield


def idle_sessions(address: Address, target: str) -> Iterator[None]:
    """Sessions in which nothing happens but pings."""
    crowd = [Host(address, n, target, source(n // _PER_ADDRESS)) for n in range(CROWD)]
    with selectors.DefaultSelector() as selector:
        for host in crowd:
            selector.register(host.sock, selectors.EVENT_READ, host)
        while True:
            for key, _ in selector.select(0.25):
                key.data.receive()
                is_over(key.data)  # answers a ping as well as any NOP-Out
            yield


def logins(address: Address, target: str) -> Iterator[None]:
    """A host that logs in and out for ever."""
    for number in itertools.count():
        with Host(address, number % 16, target) as host:
            host.logout()
        yield


def discoveries(address: Address, _target: str) -> Iterator[None]:
    """A host that asks for all targets, in a discovery session each time."""
    while True:
        with suppress(*FAILURES), Initiator(address, name=name_of(0), timeout=60) as host:
            host.login()
            host.text({"SendTargets": "All"})
            host.logout()
            yield


def guesses(address: Address, target: str) -> Iterator[None]:
    """Four hosts of an address that guess secrets, side by side."""
    with selectors.DefaultSelector() as selector:
        while True:
            while len(selector.get_map()) < _GUESSES:
                with suppress(*FAILURES):
                    host = _guess(address, target, len(selector.get_map()))
                    selector.register(host.sock, selectors.EVENT_READ, host)
            for key, _ in selector.select(60):
                with suppress(*FAILURES):
                    key.data.receive()
                selector.unregister(key.fileobj)
                key.data.close()
                yield


def _guess(address: Address, target: str, number: int) -> Initiator:
    """Send a wrong proof, and wait for no answer."""
    host = Initiator(address, name=name_of(number), timeout=60)
    keys = {"InitiatorName": host.name, "TargetName": target, "AuthMethod": "CHAP"}
    host.login_step(keys, 0)
    pdu = host.login_step({"CHAP_A": "7"}, 0)
    proof = Chap("user", os.urandom(16), "7").answer(dict(pdu.pairs))
    data = b"".join(f"{key}={value}\0".encode() for key, value in proof.items())
    host.send(host.login_bhs(0, 1, transit=True), data)
    return host
