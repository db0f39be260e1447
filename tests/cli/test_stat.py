"""What the daemon counts, held against what initiators did; and `stat`, which shows it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api.statistics import (
    STATISTICS,
    AllCounts,
    Counts,
    FailureCount,
    KindCounts,
    SessionCounts,
    UnitCounts,
)
from scsi2nvme.cli.statistics import NOTHING, since, sum_of
from scsi2nvme.cli.verbs.stat import reports, screen
from scsi2nvme.client import Client
from scsi2nvme.commands.log_pages.statistics import STATISTICS as STATISTICS_PARAMETER
from tests.cli.workers import BLOCK, Worker
from tests.daemon import IQN, PROGRAM, Daemon, target, targets
from tests.support import row
from tests.waiting import until

FIRST, SECOND = "iqn.2026-11.test:first", "iqn.2026-11.test:second"
UNREADABLE = 77
DISKS = (
    f"emulated:memory,size=64M,fault=read:status=2/81:lba={UNREADABLE}-{UNREADABLE}",
    "emulated:memory,size=64M,namespaces=2,serial=B",
)
MEDIUM_ERROR = FailureCount(2, 3, 0x11, 0, 1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), config=targets(*DISKS)) as daemon:
        yield daemon


def look(running: Daemon) -> AllCounts:
    with Client(running.state_dir / "control.sock") as daemon:
        return daemon.call(STATISTICS)


def of_unit(all_: AllCounts, iqn: str, nsid: int) -> UnitCounts:
    (one,) = (each for each in all_.units if (each.target, each.nsid) == (iqn, nsid))
    return one


def of_session(all_: AllCounts, name: str) -> Counts:
    (one,) = (each.counts for each in all_.sessions if each.initiator == name)
    return one


def moved(counts: Counts) -> tuple[int, int, int, int]:
    read, write = counts.read, counts.write
    return read.operations, read.bytes, write.operations, write.bytes


@pytest.fixture
def workers(running: Daemon) -> Iterator[tuple[Worker, Worker]]:
    with ExitStack() as stack:
        both = Worker(running, FIRST, IQN), Worker(running, SECOND, target(1))
        for worker, luns in zip(both, ((0,), (0, 1)), strict=True):
            stack.enter_context(worker.initiator)
            for lun in luns:
                worker.initiator.hear(lun)
        yield both


def test_counts_are_the_initiators_own(running: Daemon, workers: tuple[Worker, Worker]) -> None:
    one, other = workers
    before = look(running)
    for lba in range(100):
        one.read(0, 100 + lba, 1 + lba % 8)
        other.write(lba % 2, lba, 1 + lba % 3)
    one.write(0, 0, 4096)  # in portions
    now = look(running)
    assert moved(of_session(now, FIRST)) == tuple(one.counted)
    assert moved(of_session(now, SECOND)) == tuple(other.counted)
    first = since(of_unit(before, IQN, 1).counts, of_unit(now, IQN, 1).counts)
    assert moved(first) == tuple(one.counted)
    assert (first.under_way, first.failures, first.read.failed) == (0, (), 0)
    assert sum(first.read.latency) == first.read.operations
    second = [
        since(of_unit(before, target(1), nsid).counts, of_unit(now, target(1), nsid).counts)
        for nsid in (1, 2)
    ]
    assert moved(sum_of(second)) == tuple(other.counted)
    assert [each.write.operations for each in second] == [50, 50]


def test_failures_are_counted_by_what_was_told(
    running: Daemon, workers: tuple[Worker, Worker]
) -> None:
    one = workers[0].initiator
    before = of_unit(look(running), IQN, 1)
    cdb = row("READ (10)").build(lba=UNREADABLE, transfer_length=1)
    assert one.command(0, cdb, data_in=BLOCK).sense_triple == (3, 0x11, 0)
    now = look(running)
    new = since(before.counts, of_unit(now, IQN, 1).counts)
    assert new.failures == (MEDIUM_ERROR,)
    assert (new.read.operations, new.read.failed, new.read.bytes) == (1, 1, 0)
    assert MEDIUM_ERROR in of_session(now, FIRST).failures


def test_cold_commands_have_names(running: Daemon, workers: tuple[Worker, Worker]) -> None:
    before = of_unit(look(running), IQN, 1).cold
    workers[0].initiator.command(0, row("REQUEST SENSE").build(allocation_length=18), data_in=18)
    workers[0].initiator.command(0, b"\xff" + bytes(5))
    now = of_unit(look(running), IQN, 1).cold
    new = {name: count - before.get(name, 0) for name, count in now.items()}
    assert {name: count for name, count in new.items() if count} == {
        "REQUEST SENSE": 1,
        "unknown": 1,
    }


def test_a_session_that_ends_takes_its_counts_along(running: Daemon) -> None:
    with Worker(running, "iqn.2026-11.test:guest", IQN).initiator as guest:
        guest.hear()
        assert of_session(look(running), guest.name).begun
        guest.logout()
    until(
        lambda: guest.name not in [one.initiator for one in look(running).sessions],
        "the session ended",
    )


def test_log_sense_tells_the_same(running: Daemon, workers: tuple[Worker, Worker]) -> None:
    """Also of one of several namespaces, whose controller counts for all of them."""
    workers[1].read(1, 0, 3)
    cdb = row("LOG SENSE").build(page_code=0x19, pc=1, allocation_length=512)
    page = workers[1].initiator.command(1, cdb, data_in=512).data
    counts = of_unit(look(running), target(1), 2).counts
    told = STATISTICS_PARAMETER.parse(page[8:])
    assert (told.read_commands, told.write_commands) == (
        counts.read.operations,
        counts.write.operations,
    )
    assert told.blocks_transmitted == counts.read.bytes // BLOCK > 0


# The verb


Stat = Callable[..., str]


@pytest.fixture
def stat(running: Daemon, capsys: pytest.CaptureFixture[str]) -> Stat:
    def run(*arguments: str) -> str:
        assert main(["stat", *arguments, "--state-dir", str(running.state_dir)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return str(out)

    return run


def test_stat_shows_every_disk(running: Daemon, stat: Stat) -> None:
    head, *lines = stat().splitlines()
    assert head.split()[:5] == ["Disk", "r/s", "w/s", "d/s", "o/s"]
    assert [line.split()[0] for line in lines] == [
        f"{one.controller}/{one.nsid}" for one in look(running).units
    ]


@pytest.mark.parametrize("by", ["controller", "session", "initiator"])
def test_stat_tells_by_what_is_asked(
    running: Daemon, workers: tuple[Worker, Worker], stat: Stat, by: str
) -> None:
    names = [each["name"] for each in json.loads(stat("--by", by, "--json"))["lines"]]
    isid = workers[0].initiator.isid.hex()
    expected = {
        "controller": list(dict.fromkeys(one.controller for one in look(running).units)),
        "session": [f"{FIRST} {isid} {IQN}", f"{SECOND} {isid} {target(1)}"],
        "initiator": [FIRST, SECOND],
    }
    assert names == expected[by]


def test_stat_tells_of_each_interval(stat: Stat) -> None:
    reports = [json.loads(line) for line in stat("0.05", "2", "--json").splitlines()]
    assert [[line["reads_per_s"] for line in one["lines"]] for one in reports] == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("arguments", "wrong"), [(("0",), "INTERVAL"), (("1", "0"), "COUNT"), (("nan",), "INTERVAL")]
)
def test_stat_refuses_what_makes_no_sense(
    arguments: tuple[str, ...], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stat", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"scsi2nvme: {wrong}: ")


# On the whole screen


class Terminal:
    """A program on a terminal of the test's."""

    def __init__(self, *arguments: str) -> None:
        self.shown = b""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (30, 200))
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)

    def shows(self, words: bytes) -> None:
        """Return once it has written these words since the last that were waited for."""
        while words not in self.shown:
            ready, _, _ = select.select([self._ours], [], [], 30)
            assert ready, self.shown
            self.shown += os.read(self._ours, 65536)
        self.shown = self.shown.partition(words)[2]

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def end(self) -> int:
        """Return the exit status."""
        status = self.process.wait(30)
        os.close(self._ours)
        return status


def test_a_session_that_ends_takes_nothing_from_those_that_stay() -> None:
    def session(isid: str, reads: int) -> SessionCounts:
        read = KindCounts(reads, 0, 0, reads, (reads,))
        return SessionCounts("a", isid, "t", "", replace(NOTHING, read=read, begun=reads))

    before = AllCounts(1_000_000, (), (session("01", 100), session("02", 900)))
    now = AllCounts(2_000_000, (), (session("01", 105),))
    (line,) = reports.lines(before, now, "initiator")
    assert line.reads_per_s == 5


def test_the_busiest_are_those_with_most_under_way() -> None:
    def line(name: str, reads: int, latency_us: int) -> reports.Line:
        read = KindCounts(reads, 0, 0, latency_us, (reads,))
        return reports.line_of(name, replace(NOTHING, read=read), 1)

    found = reports.busiest_first([line("idle", 0, 0), line("many", 9, 5), line("slow", 1, 9)])
    assert [one.name for one in found] == ["slow", "many", "idle"]


def test_top_shows_what_is_asked_for(running: Daemon, workers: tuple[Worker, Worker]) -> None:
    terminal = Terminal("top", "0.2", "--state-dir", str(running.state_dir))
    terminal.shows(b"2 sessions")
    terminal.shows(b"Disk")
    terminal.press(b"i")
    terminal.shows(b"Initiator")
    for _ in range(50):
        workers[1].read(0, 0, 8)
    terminal.shows(SECOND.encode())
    terminal.press(b"q")
    assert terminal.end() == 0


def test_top_shows_names_that_move_no_cursor() -> None:
    assert screen.fitting("\x1b[2Jé", 20) == r"\x1b[2J\xe9"
    assert screen.fitting("a\x1b", 3) == r"a\x"


def test_top_needs_a_terminal(running: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--state-dir", str(running.state_dir)]) == 2
    assert "top needs a terminal" in capsys.readouterr().err
