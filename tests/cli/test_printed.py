"""What the program writes: names that obey nobody, on whatever it is written to."""

from __future__ import annotations

import argparse
import io
import sys

import pytest

from scsi2nvme import __main__ as program
from scsi2nvme.cli.errors import FAILED, OperationError
from scsi2nvme.cli.printed import Printed
from scsi2nvme.printable import printable

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
