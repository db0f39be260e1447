"""What the program writes: names that obey nobody, on whatever it is written to."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scsi2nvme import __main__ as program
from scsi2nvme.api import methods
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.errors import FAILED, MISUSED, OperationError
from scsi2nvme.cli.printed import Printed
from scsi2nvme.printable import printable
from tests.daemon import free_port

CLEAR = "\x1b[2J\x9b2J\u202e"  # a terminal's screen goes, and what follows is written backwards
PLAIN = r"\x1b[2J\x9b2J\x202e"


def test_what_is_printable_is_left() -> None:
    assert printable("ä b?") == "ä b?"
    assert printable(f"{CLEAR}\n") == rf"{PLAIN}\x0a"


def test_every_verb_writes_nothing_that_a_terminal_obeys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: argparse.Namespace) -> int:
        print(f"{CLEAR}\tä\nb")
        raise OperationError(CLEAR)

    class Parser:
        def parse_known_args(self, argv: object) -> tuple[argparse.Namespace, list[str]]:
            return argparse.Namespace(run=run), []

    monkeypatch.setattr(program, "build_parser", lambda verbs: Parser())
    assert program.main([]) == FAILED
    told = capsys.readouterr()
    assert told.out == f"{PLAIN}\tä\nb\n"
    assert told.err == f"scsi2nvme: {PLAIN}\n"


def test_what_a_terminal_s_encoding_lacks_is_an_escape() -> None:
    raw = io.BytesIO()
    stream = Printed(io.TextIOWrapper(raw, encoding="ascii"))
    print("ä\udc80", file=stream, flush=True)
    stream.writelines([CLEAR])
    stream.flush()
    assert raw.getvalue() == b"\\xe4\\xdc80\n" + PLAIN.encode()
    assert not isinstance(sys.stdout, Printed)


# What a shell is told, the status, and what must be said on standard error.
BEGUN_SO = (
    ("scsi2nvme --version >&-", FAILED, "scsi2nvme: output cannot be written: Bad file descriptor"),
    ("scsi2nvme --help >/dev/full", FAILED, "cannot be written: No space left on device"),
    ("scsi2nvme id-ctrl emulated:memory -b >/dev/full", FAILED, "No space left on device"),
    ("scsi2nvme id-ctrl emulated:memory -b >&-", FAILED, "Bad file descriptor"),
    ("scsi2nvme nope 2>/dev/full", MISUSED, ""),
    ("scsi2nvme nope >&- 2>&- <&-", MISUSED, ""),
    ("scsi2nvme write emulated:memory <&-", FAILED, "standard input has 0 bytes"),
    ("mkdir x; cd x; rmdir ../x; scsi2nvme serve --config y", FAILED, "current directory is gone"),
)


@pytest.mark.parametrize(("typed", "status", "words"), BEGUN_SO, ids=[row[0] for row in BEGUN_SO])
def test_whatever_output_there_is_one_line_tells(
    typed: str, status: int, words: str, tmp_path: Path
) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["sh", "-c", typed], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == status
    assert words in ended.stderr
    assert ended.stderr.count("\n") == bool(words)


def test_who_cannot_write_serves_all_the_same(tmp_path: Path) -> None:
    """And no socket takes the place of a stream that is missing."""
    typed = f"exec {sys.executable} -m scsi2nvme serve --controller emulated:memory,size=1M"
    place = f"--portal 127.0.0.1:{free_port()} --state-dir {tmp_path}/s"
    with subprocess.Popen(["sh", "-c", f"{typed} {place} >&- <&-"], stderr=subprocess.PIPE) as one:
        try:
            while not (tmp_path / "s" / "control.sock").exists():
                assert one.poll() is None
            streams = [os.readlink(f"/proc/{one.pid}/fd/{number}") for number in (0, 1)]
            ask(tmp_path / "s", methods.VERSION)
        finally:
            one.terminate()
        assert one.wait() == 0
        assert streams == [os.devnull] * 2
        assert one.stderr is not None
        assert one.stderr.read() == b""
