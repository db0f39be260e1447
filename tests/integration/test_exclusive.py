"""COMPARE AND WRITE and ORWRITE are alone on their blocks, beside everything that others do.

Several initiators count by COMPARE AND WRITE in one block, each in a field of its own, so that
each knows of every count whether it was done; and in blocks beside it. Another one overwrites a
block that is swapped all the time. What one has done must never be undone by another.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path

import pytest

from bench import load
from scsi2nvme.api.statistics import STATISTICS
from scsi2nvme.client import Client
from tests.daemon import IQN, Daemon, scsi2nvme
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row

BLOCK = 512
COUNTERS, COUNTS = 3, 30
DEPTH = 16
SHARED, OWN, SWAPPED = 60000, 60001, 60100  # LBAs; the load stays below
GOOD, ABORTED, MISCOMPARE = (0, 0, 0), (0xB, 0, 0), (0xE, 0x1D, 0)
CONTROLLERS = {
    "fused": (),
    "not fused": ("tell=ctrl.fuses:0",),
    "one command at a time": ("tell=cap.mqes:1",),
    "a pair at a time": ("tell=cap.mqes:2",),
}


@contextmanager
def logged_in(daemon: Daemon, name: str) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", daemon.port), f"iqn.2026-11.test:{name}", timeout=60) as one:
        one.login(IQN)
        one.hear()
        yield one


def outcome(result: ScsiResult) -> tuple[int, int, int]:
    return result.sense_triple if result.status else GOOD


def read(one: Initiator, lba: int) -> bytes:
    result = one.command(0, row("READ (16)").build(lba=lba, transfer_length=1), data_in=BLOCK)
    assert outcome(result) == GOOD
    return result.data


def swap(one: Initiator, lba: int, old: bytes, new: bytes) -> tuple[int, int, int]:
    cdb = row("COMPARE AND WRITE").build(lba=lba, number_of_blocks=1)
    return outcome(one.command(0, cdb, data_out=old + new))


def counted(block: bytes, number: int) -> int:
    return int.from_bytes(block[8 * number : 8 * number + 8], "big")


def count(one: Initiator, lba: int, number: int) -> None:
    """Count one up in a field of a block; nobody else changes the field."""
    while True:
        old = read(one, lba)
        field = slice(8 * number, 8 * number + 8)
        new = bytearray(old)
        new[field] = (counted(old, number) + 1).to_bytes(8, "big")
        told = swap(one, lba, old, bytes(new))
        assert told in (GOOD, ABORTED, MISCOMPARE)
        if told == GOOD:
            return
        if read(one, lba)[field] == new[field]:
            assert told == ABORTED  # done or not; it was
            return


def counting(daemon: Daemon, number: int) -> None:
    with logged_in(daemon, f"counter{number}") as one:
        for each in range(1, COUNTS + 1):
            count(one, SHARED, number)
            assert counted(read(one, SHARED), number) == each
            count(one, OWN + number, number)


def joining(daemon: Daemon) -> None:
    """Set one bit after the other; nobody else does in this block."""
    with logged_in(daemon, "joiner") as one:
        block = bytes(BLOCK)
        for bit in range(COUNTS):
            more = (1 << bit).to_bytes(BLOCK, "big")
            cdb = row("ORWRITE (16)").build(lba=OWN + COUNTERS, transfer_length=1)
            assert outcome(one.command(0, cdb, data_out=more)) == GOOD
            block = bytes(x | y for x, y in zip(block, more, strict=True))
            assert read(one, OWN + COUNTERS) == block


def overwriting(daemon: Daemon) -> None:
    """What WRITE has written is not overwritten by what others had read before it."""
    with logged_in(daemon, "writer") as one:
        for number in range(1, 5 * COUNTS):
            data = number.to_bytes(8, "big").ljust(BLOCK, b"\0")
            cdb = row("WRITE (10)").build(lba=SWAPPED, transfer_length=1)
            assert outcome(one.command(0, cdb, data_out=data)) == GOOD
            assert counted(read(one, SWAPPED), 0) == number


def swapping(daemon: Daemon) -> None:
    """Change the second field only, again and again."""
    with logged_in(daemon, "swapper") as one:
        for number in range(3 * COUNTS):
            old = read(one, SWAPPED)
            told = swap(one, SWAPPED, old, old[:8] + number.to_bytes(8, "big") + old[16:])
            assert told in (GOOD, ABORTED, MISCOMPARE)


def together(daemon: Daemon, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Do all of it at once, and look what has become of it."""
    with ThreadPoolExecutor() as pool:
        work = [pool.submit(counting, daemon, number) for number in range(COUNTERS)]
        work += [pool.submit(each, daemon) for each in (joining, overwriting, swapping)]
        while any(not each.done() for each in work):
            meanwhile()
    for each in work:
        each.result()
    with logged_in(daemon, "judge") as one:
        shared = read(one, SHARED)
        assert [counted(shared, number) for number in range(COUNTERS)] == [COUNTS] * COUNTERS
        for number in range(COUNTERS):
            assert counted(read(one, OWN + number), number) == COUNTS
    assert "Traceback" not in daemon.log.read_text()


def disk(*options: str) -> str:
    return ",".join([f"emulated:memory,size=32M,block={BLOCK}", *options])


@pytest.mark.parametrize("options", CONTROLLERS.values(), ids=CONTROLLERS.keys())
def test_no_update_is_lost(tmp_path: Path, options: tuple[str, ...]) -> None:
    with Daemon(tmp_path, disk(*options)) as daemon:
        together(daemon)


@pytest.mark.parametrize("kind", ["fused", "not fused"])
def test_of_those_that_expect_the_same_one_wins(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        words = disk(*CONTROLLERS[kind])
        daemon = stack.enter_context(Daemon(tmp_path, words, arguments=("--reactors", "2")))
        hosts = [stack.enter_context(logged_in(daemon, f"host{number}")) for number in range(4)]
        pool = stack.enter_context(ThreadPoolExecutor(len(hosts)))
        old = read(hosts[0], SHARED)
        for number in range(1, 100):
            new = number.to_bytes(BLOCK, "big")
            told = list(pool.map(swap, hosts, repeat(SHARED), repeat(old), repeat(new)))
            assert sorted(told) == [GOOD] + [MISCOMPARE] * 3
            old = new


@pytest.mark.parametrize("kind", ["fused", "not fused"])
def test_no_update_is_lost_by_resets(tmp_path: Path, kind: str) -> None:
    with Daemon(tmp_path, disk(*CONTROLLERS[kind])) as daemon:

        def reset() -> None:
            assert scsi2nvme("reset", IQN, "--state-dir", str(tmp_path)).returncode == 0

        together(daemon, reset)


@pytest.mark.parametrize("name", ["ORWRITE (16)", "COMPARE AND WRITE"])
def test_what_is_under_way_on_its_blocks_is_waited_for(tmp_path: Path, name: str) -> None:
    """A WRITE that the disk does late, and which is there before it, is not undone by it."""
    late = f"fault=write:delay=500:count=1:lba={SHARED}-{SHARED}"
    with (
        Daemon(tmp_path, disk("tell=ctrl.fuses:0", late)) as daemon,
        logged_in(daemon, "writer") as writer,
        logged_in(daemon, "other") as other,
    ):
        cdb = row("WRITE (10)").build(lba=SHARED, transfer_length=1)
        writer.begin(0, cdb, data_out=b"\x0f" * BLOCK)
        writer.begin(0, row("INQUIRY").build(allocation_length=36), data_in=36)
        answers = [writer.receive()]  # to INQUIRY: the disk has the WRITE by now
        data = b"\xf0" * BLOCK
        if name == "COMPARE AND WRITE":
            assert swap(other, SHARED, b"\x0f" * BLOCK, data) == GOOD
        else:
            cdb = row(name).build(lba=SHARED, transfer_length=1)
            assert outcome(other.command(0, cdb, data_out=data)) == GOOD
        assert read(other, SHARED) == (data if name == "COMPARE AND WRITE" else b"\xff" * BLOCK)
        answers.append(writer.receive())
    assert [outcome(Initiator.result(each, b"")) for each in answers] == [GOOD] * 2


def test_a_verified_load_goes_on_beside_it(tmp_path: Path) -> None:
    words = ["--verify", "--operation", "mixed", "--sessions", "2", "--depth", "8"]
    words += ["--cells", "64", "--bytes", "4096", "--seconds", "1", "--flush-every", "100"]
    words += ["--span", str(SHARED * BLOCK // 2)]
    with Daemon(tmp_path, disk()) as daemon:
        busy = subprocess.Popen(
            [load.program(), "--url", daemon.url(), *words], stdout=subprocess.PIPE, text=True
        )
        together(daemon)
        output, _ = busy.communicate(timeout=60)
    result = json.loads(output)
    assert (busy.returncode, result["errors"], result["data_errors"]) == (0, 0, 0), output
    assert result["all_operations"] > 100


def test_what_waits_for_who_is_alone_is_hot_afterwards(tmp_path: Path) -> None:
    """The engine would take many times as long for all that comes in the meantime."""
    words = ["--depth", str(DEPTH), "--bytes", "4096", "--seconds", "3600"]
    start = row("START STOP UNIT").build(start=1)
    with Daemon(tmp_path, disk()) as daemon, logged_in(daemon, "starter") as starter:
        busy = subprocess.Popen([load.program(), "--url", daemon.url(), *words])
        with Client(daemon.state_dir / "control.sock") as client:
            reads = 0
            while reads <= 100 * DEPTH:
                for _ in range(DEPTH + 1):
                    assert outcome(starter.command(0, start)) == GOOD
                assert busy.poll() is None
                (unit,) = client.call(STATISTICS).units
                reads = unit.counts.read.operations
        busy.kill()
        busy.wait()
    cold = {name: count for name, count in unit.cold.items() if name.startswith("READ (")}
    assert sum(cold.values()) <= DEPTH  # when it was told of its nexus
