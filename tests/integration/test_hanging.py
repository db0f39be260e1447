"""Commands of the engine that hang in the disk keep no other host's waiting."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.daemon import IQN, Daemon
from tests.integration.test_portions import reserve
from tests.iscsi_client import Initiator
from tests.support import row

SECONDS = 20  # less than what an I/O command has by itself
DISK = "emulated:memory,size=64M,fault=read:hang:lba=0-9,fault=get-log-page:hang:after=1"
BLOCK = 512
LARGEST = 8 << 20
AT_ONCE = 100  # of each host
INQUIRY = row("INQUIRY").build(allocation_length=36)


@contextmanager
def host(daemon: Daemon, name: str) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", daemon.port), f"iqn.2026-11.test:{name}") as one:
        one.sock.settimeout(SECONDS)
        one.login(IQN)
        one.hear()
        yield one


def read(lba: int, length: int) -> tuple[bytes, int]:
    return row("READ (16)").build(lba=lba, transfer_length=length // BLOCK), length


def log_sense(length: int) -> tuple[bytes, int]:
    """Return one of which no two with other lengths are alike."""
    return row("LOG SENSE").build(pc=1, page_code=0x0D, allocation_length=length), length


HANGING = {
    "entries": [read(0, BLOCK)] * AT_ONCE,
    "memory": [read(0, LARGEST)] * 2,
    "admin": [log_sense(16 + more) for more in range(AT_ONCE)],
}


def flood(one: Initiator, commands: list[tuple[bytes, int]]) -> None:
    for cdb, length in commands:
        one.begin(0, cdb, data_in=length)


def test_the_engine_goes_on_for_others(tmp_path: Path) -> None:
    """A reservation has all reads of those that have not registered go to the engine."""
    with Daemon(tmp_path, DISK, arguments=("--reactors", "1")) as daemon, ExitStack() as stack:
        holder, other = (stack.enter_context(host(daemon, name)) for name in ("holder", "other"))
        reserve(holder, "REGISTER", new=1)
        reserve(holder, "RESERVE", key=1)
        for kind, commands in HANGING.items():
            for number in range(3):
                one = stack.enter_context(host(daemon, f"{kind}{number}"))
                flood(one, commands)
                one.begin(0, INQUIRY, data_in=36)
                one.receive()  # the engine has what came before
        for cdb, length in (read(99, BLOCK), read(99, 64 << 10)):
            assert other.command(0, cdb, data_in=length).status == 0
        sense = row("MODE SENSE (10)").build(page_code=0x08, allocation_length=255)
        assert other.command(0, sense, data_in=255).status == 0
        daemon.stop(signal.SIGKILL)  # it gives what hangs time
