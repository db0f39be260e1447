"""The daemon among peers that want too much of it, and what its log says of them."""

from __future__ import annotations

import itertools
import json
import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scsi2nvme.cli.daemon.descriptors import RESERVE
from tests.daemon import IQN, Daemon, FreshDaemon, scsi2nvme
from tests.iscsi_chap import Chap
from tests.iscsi_client import Initiator, LoginError
from tests.support import row

MEMORY = "emulated:memory,size=64M"
MANY = "iqn.2026-11.test:many"
DESCRIPTORS = RESERVE + 100
CHAP = """
[chap]
name = "host"
secret = "a long enough secret"
"""


class Constrained(FreshDaemon):
    """A daemon that may open few files."""

    def command(self) -> list[str]:
        return ["prlimit", f"--nofile={DESCRIPTORS}", "--", *super().command()]


def limits(daemon: Daemon) -> tuple[int, int]:
    return resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)


def initiators(daemon: Daemon, name: str, source: str = "") -> Iterator[Initiator]:
    """Yield one after the other, each with an ISID of its own; `#` in the name is its number."""
    for number in itertools.count():
        isid = b"\x80" + number.to_bytes(5, "big")
        own = name.replace("#", str(number))
        yield Initiator(("127.0.0.1", daemon.port), name=own, isid=isid, source=source)


def crowd(stack: ExitStack, coming: Iterator[Initiator]) -> tuple[int, int]:
    """Log in until one is refused; returns how many were not, and the status."""
    for count, one in enumerate(coming):
        try:
            stack.enter_context(one).login(IQN)
        except LoginError as error:
            return count, error.status
    raise AssertionError


def test_as_many_files_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with FreshDaemon(tmp_path, MEMORY) as running:
            assert limits(running)[0] == min(65536, hard)
            assert running.log.read_text() == ""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_initiator_leaves_room_for_others(tmp_path: Path) -> None:
    with Constrained(tmp_path, MEMORY) as running, ExitStack() as stack:
        assert "leaves" in running.log.read_text()
        sessions, status = crowd(stack, initiators(running, MANY))
        assert status == 0x0302
        assert 4 <= sessions < 50
        assert (
            f"login of {MANY} to {IQN} refused (0302): this initiator has"
            in running.log.read_text()
        )
        with next(initiators(running, "iqn.2026-11.test:other")) as other:
            other.login(IQN)
            assert other.command(0, bytes(6)).sense_triple == (6, 0x29, 0)
        listed = scsi2nvme("list", "--state-dir", str(tmp_path), "--json")
        assert json.loads(listed.stdout)["Devices"], listed.stderr


def test_initiators_of_one_address_leave_room_for_others(tmp_path: Path) -> None:
    with Constrained(tmp_path, MEMORY) as running, ExitStack() as stack:
        assert crowd(stack, initiators(running, f"{MANY}#"))[1] == 0x0302
        with next(initiators(running, MANY, source="127.0.0.2")) as other:
            other.login(IQN)


def test_silent_connections_leave_room_for_logins(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running, ExitStack() as stack:
        for number in range(160):
            source = (f"127.0.0.{2 + number % 5}", 0)
            address = ("127.0.0.1", running.port)
            stack.enter_context(socket.create_connection(address, 10, source))
        for one in itertools.islice(initiators(running, MANY), 10):
            with one:
                one.login(IQN)
        assert 0 < len(running.log.read_text().splitlines()) < 100


def guess(daemon: Daemon, chap: Chap | None = None, target: str = IQN) -> int:
    """Return how a login with this proof ended."""
    with next(initiators(daemon, MANY)) as one, pytest.raises(LoginError) as caught:
        one.login(target, chap=chap)
    return caught.value.status


def test_refused_logins_are_logged_and_guesses_slowed(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY, config=CHAP) as running:
        assert guess(running) == 0x0201
        assert guess(running, target=f"{IQN}x") == 0x0203
        wrong = Chap("host", b"not the secret")
        assert [guess(running, wrong) for _ in range(3)] == [0x0201] * 3
        lines = running.log.read_text().splitlines()
        begins = r"\S+ \S+ scsi2nvme: WARNING: 127\.0\.0\.1: login of " + re.escape(MANY)
        assert all(re.match(begins, line) for line in lines)
        assert [re.findall(r"\(0\w+\): (.*)", line)[0] for line in lines] == [
            "the security stage is left out",
            f"no target '{IQN}x'",
            *["CHAP name or response is wrong"] * 3,
        ]
        seconds = [re.findall(r"\d\d:(\d\d)\.(\d{3}) ", line)[0] for line in lines]
        at = [int(s) * 1000 + int(ms) for s, ms in seconds]
        assert all((after - before) % 60_000 >= 900 for before, after in itertools.pairwise(at[2:]))
        with next(initiators(running, MANY)) as one:
            one.login(IQN, chap=Chap("host", b"a long enough secret"))


def test_a_flood_of_refused_logins_writes_little(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running:
        assert [guess(running, target=f"{IQN}x") for _ in range(100)] == [0x0203] * 100
        assert len(running.log.read_text().splitlines()) < 60
    assert "more like this: 127.0.0.1: login of" in running.log.read_text()


def test_logins_are_told_of_to_who_asks(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY, arguments=("--log-level", "info")) as running:
        with next(initiators(running, MANY)) as one:
            one.login(IQN)
            assert running.logs(f"INFO: 127.0.0.1: login of {MANY} to {IQN}: session 1")
        assert running.logs(f"INFO: {MANY} at 127.0.0.1: session 1 ended")


def test_a_connection_that_is_broken_is_told_of(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running, next(initiators(running, MANY)) as one:
        one.login(IQN, {"HeaderDigest": "CRC32C"})
        one.send_raw(bytes(52))
        assert one.closed_by_target()
        assert running.logs(f"WARNING: {MANY} at 127.0.0.1: connection lost: Bad message")


def test_a_disk_that_fails_is_told_of(tmp_path: Path) -> None:
    spec = f"{MEMORY},serial=SN7,fault=read:status=2/81:lba=5-5"
    with Daemon(tmp_path, spec) as running, next(initiators(running, MANY)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        read = row("READ (10)").build(lba=5, transfer_length=1)
        assert one.command(0, read, data_in=512).sense_triple == (3, 0x11, 0)
        (line,) = running.log.read_text().splitlines()
    assert line.endswith(
        "WARNING: disk SN7, namespace 1: READ (10) of iqn.2026-11.test:many at 127.0.0.1: "
        "3/11/00 UNRECOVERED READ ERROR, block 5"
    )
