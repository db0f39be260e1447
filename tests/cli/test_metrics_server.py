"""The metrics' HTTP server against whoever asks too much, too slowly, or when nothing is left."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any

import pytest

from scsi2nvme.api.statistics import AllCounts
from scsi2nvme.cli.daemon import metrics
from scsi2nvme.cli.daemon.health import Health
from scsi2nvme.cli.daemon.metrics import server
from scsi2nvme.cli.daemon.metrics.page import site
from scsi2nvme.cli.daemon.metrics.server import (
    MOST_HEAD,
    Application,
    MetricsServer,
    StartResponse,
)
from scsi2nvme.target.portal_address import PortalAddress
from tests.waiting import until

ASKED = b"GET /metrics HTTP/1.0\r\n\r\n"


def says(body: bytes) -> Application:
    """Return an application that says this."""

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return serve


def serving(application: Application, ask: Callable[[PortalAddress], None]) -> None:
    """Serve while `ask` runs in a thread."""

    async def both() -> None:
        served = MetricsServer(PortalAddress("127.0.0.1", 0), application)
        try:
            await asyncio.to_thread(ask, served.address)
        finally:
            served.stop()

    asyncio.run(both())


def answering() -> set[threading.Thread]:
    """Return the threads that have a connection each."""
    return {each for each in threading.enumerate() if "process_request" in each.name}


def connected(address: PortalAddress, receives: int | None = None) -> socket.socket:
    one = socket.socket()
    one.settimeout(10)
    if receives is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    one.connect(address.socket_name)
    return one


def heard(one: socket.socket) -> bytes:
    """Return what comes until the end."""
    told = b""
    try:
        while more := one.recv(65536):
            told += more
    except ConnectionResetError:
        pass
    return told


def test_a_head_without_end_is_not_kept() -> None:
    def ask(address: PortalAddress) -> None:
        with closing(connected(address)) as one:
            try:
                one.sendall(b"GET / HTTP/1.1\r\n")
                for number in range(2 * MOST_HEAD // 1000):
                    one.sendall(b"X%d: " % number + b"x" * 1000 + b"\r\n")
                one.sendall(b"\r\n")
            except (BrokenPipeError, ConnectionResetError):
                return
            assert heard(one) == b""

    serving(says(b"told"), ask)


def test_one_at_a_time_makes_an_answer() -> None:
    inside, most = 0, 0
    lock = threading.Lock()
    waits = threading.Event()

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        waits.wait(0.05)  # for others that come in, too
        with lock:
            inside -= 1
        return says(b"told")(environ, start)

    def ask(address: PortalAddress) -> None:
        several = [connected(address) for _ in range(3)]
        for one in several:
            one.sendall(ASKED)
        for one in several:
            with closing(one):
                assert heard(one).endswith(b"told")

    serving(serve, ask)
    assert most == 1


def test_who_never_reads_is_no_news(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 0.05)

    def ask(address: PortalAddress) -> None:
        before = answering()
        with closing(connected(address, receives=2048)) as one:
            one.sendall(ASKED)
            until(lambda: answering() - before, "it was being answered")
            until(lambda: not answering() - before, "it was given up")

    serving(says(bytes(32 << 20)), ask)
    assert capfd.readouterr().err == ""


def test_without_a_descriptor_it_waits_for_one() -> None:
    async def both() -> float:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        served = MetricsServer(PortalAddress("127.0.0.1", 0), says(b"told"))
        with closing(socket.socket()) as one:
            one.settimeout(10)
            least = os.dup(one.fileno())
            os.close(least)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (least, hard))
                one.connect(served.address.socket_name)
                one.sendall(ASKED)
                began = time.process_time()
                await asyncio.sleep(0.3)
                spent = time.process_time() - began
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await asyncio.to_thread(heard, one)).endswith(b"told")
        served.stop()
        return spent

    assert asyncio.run(both()) < 0.02


@pytest.mark.parametrize("wanting", ["process_request", "Timer"])
def test_without_a_thread_nobody_s_place_is_lost(
    wanting: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As where a process may have no more of them, which root's in a test always may."""
    start = threading.Thread.start
    refused = 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal refused
        if refused < 2 * server.MOST and wanting in f"{type(thread).__name__} {thread.name}":
            refused += 1
            raise RuntimeError("can't start new thread")
        start(thread)

    def ask(address: PortalAddress) -> None:
        for _ in range(2 * server.MOST):
            with closing(connected(address)) as one:
                assert heard(one) == b""
        with closing(connected(address)) as one:
            one.sendall(ASKED)
            assert heard(one).endswith(b"told")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    serving(says(b"told"), ask)
    assert refused == 2 * server.MOST
    assert capfd.readouterr().err == ""


def test_who_asks_while_the_daemon_ends_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    def counts() -> AllCounts:
        raise KeyError("what was there")

    async def healthy() -> tuple[Health, ...]:
        return ()

    async def both() -> bytes:
        before = answering()
        async with AsyncExitStack() as stack:
            address = metrics.start(PortalAddress("127.0.0.1", 0), counts, dict, healthy, stack)
            one = connected(address)
            one.sendall(ASKED[:-2])
            taken = partial(until, lambda: answering() - before, "it was taken")
            await asyncio.to_thread(taken)
        one.sendall(ASKED[-2:])
        with closing(one):
            return await asyncio.to_thread(heard, one)

    assert asyncio.run(both()).startswith(b"HTTP/1.0 503")
    assert caplog.text == ""


@pytest.mark.parametrize(("error", "status"), [(TimeoutError(), "503"), (KeyError("unit"), "500")])
def test_what_cannot_be_told_is_said_in_a_line(
    error: Exception, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        raise error

    told = []
    serve = site(broken, dict)
    body = serve({"PATH_INFO": "/metrics"}, lambda line, headers: told.append(line))
    assert told[0].startswith(status)
    assert b"".join(body).count(b"\n") == 1
    assert len(caplog.text.splitlines()) == (status == "500")
