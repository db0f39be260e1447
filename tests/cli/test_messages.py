"""What the daemon writes of its messages, where it goes, and how much at most."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.daemon.messages import LINES, LINES_ON_ONE, SECONDS, BoundedHandler

SAY = """
import logging
from scsi2nvme.cli.daemon import messages
messages.configure({level!r})
log = logging.getLogger("scsi2nvme.test")
log.debug("d"); log.info("i"); log.warning("w"); log.error("e\\nf"); log.critical("c")
"""


@pytest.mark.parametrize(
    ("typed", "level"),
    [
        ("", "warning"),
        ("-q", "error"),
        ("-v", "info"),
        ("-vv", "debug"),
        ("--verbose --verbose", "debug"),
        ("--log-level error", "error"),
    ],
)
@pytest.mark.parametrize("verb", ["serve", "daemon"])
def test_how_much_is_written_is_asked_for_in_short(
    verb: str, typed: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []

    def run(settings: Settings, source: object) -> int:
        levels.append(settings.log_level)
        return 0

    monkeypatch.setattr("scsi2nvme.cli.daemon.serve.run", run)
    assert main([verb, "--controller", "emulated:memory", *typed.split()]) == 0
    assert levels == [level]


class Bench:
    """A handler with a clock of its own, and what it has written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.stream = io.StringIO()
        self.handler = BoundedHandler(self.stream, lambda: self.now, self.after)
        self.log = logging.Logger("bench")
        self.log.addHandler(self.handler)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, call))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [call for when, call in self.due if when <= self.now]
        self.due = [(when, call) for when, call in self.due if when > self.now]
        for call in due:
            call()

    def refuse(self, *peers: str) -> None:
        for peer in peers:
            self.log.warning("%s: login refused", peer)

    def lines(self) -> list[str]:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text.splitlines()


def test_one_peer_writes_so_many_lines_of_a_kind() -> None:
    bench = Bench()
    bench.refuse(*["a"] * 1000, "b")
    assert bench.lines() == ["a: login refused"] * LINES_ON_ONE + ["b: login refused"]
    bench.advance(SECONDS)
    assert bench.lines() == [f"{1000 - LINES_ON_ONE} more like this: a: login refused"]
    bench.refuse("a")
    assert bench.lines() == ["a: login refused"]


def test_all_peers_together_write_so_many() -> None:
    bench = Bench()
    bench.refuse(*map(str, range(1000)))
    assert len(bench.lines()) == LINES
    bench.log.error("something else")
    assert bench.lines() == ["something else"]
    bench.advance(SECONDS)
    assert bench.lines() == [f"{1000 - LINES} more like this: {LINES}: login refused"]
    bench.advance(SECONDS)
    assert bench.lines() == []


def test_what_was_left_out_is_told_at_the_end() -> None:
    bench = Bench()
    bench.refuse(*["a"] * 1000)
    bench.lines()
    bench.handler.close()
    assert bench.lines() == [f"{1000 - LINES_ON_ONE} more like this: a: login refused"]


def said(level: str, *, journal: bool, directory: Path) -> str:
    """Return what a program writes to a file that is, or is not, the journal's."""
    with (directory / "log").open("w+") as file:
        status = os.fstat(file.fileno())
        inode = status.st_ino if journal else status.st_ino + 1
        subprocess.run(
            [sys.executable, "-c", SAY.format(level=level)],
            check=True,
            stderr=file,
            env=dict(os.environ, JOURNAL_STREAM=f"{status.st_dev}:{inode}"),
        )
        file.seek(0)
        return file.read()


def test_the_journal_is_told_priorities(tmp_path: Path) -> None:
    assert said("debug", journal=True, directory=tmp_path) == "<7>d\n<6>i\n<4>w\n<3>e\n<3>f\n<2>c\n"


@pytest.mark.parametrize(
    ("level", "letters"), [("error", "ec"), ("warning", "wec"), ("info", "iwec")]
)
def test_others_are_told_the_time(level: str, letters: str, tmp_path: Path) -> None:
    text = said(level, journal=False, directory=tmp_path)
    when = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "
    assert "".join(re.findall(when + r"scsi2nvme: [A-Z]+: (\w)", text, re.MULTILINE)) == letters


def test_programs_get_an_object_for_each_message() -> None:
    say = (
        SAY.replace("{level!r}", '"info", "json"')
        + """
try:
    raise ValueError("a bug")
except ValueError:
    log.exception("it went wrong")
"""
    )
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(each["level"], each["message"]) for each in told] == [
        ("info", "i"),
        ("warning", "w"),
        ("error", "e\nf"),
        ("critical", "c"),
        ("error", "it went wrong"),
    ]
    assert "ValueError: a bug" in told[-1]["exception"]
    assert all(datetime.fromisoformat(each["time"]).tzinfo for each in told)
