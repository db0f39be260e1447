"""The program's output, for whatever reads it: a terminal obeys much that it is sent."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from scsi2nvme.printable import printable


class Printed:
    """A text stream to which nothing goes but what is printable, new lines and tabs.

    The rest, which may be in names that initiators and disks have given themselves, is written as
    escapes, and so is what the encoding lacks, or a path is not encoded by.
    """

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        self.plain = stream

    def write(self, text: str) -> int:
        """Write text; returns how many characters of it there were."""
        self.plain.write(printable(text, but="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


@contextmanager
def printed(output: TextIO, errors: TextIO) -> Iterator[None]:
    """Have standard output and standard error written so."""
    out: Any = Printed(output)
    err: Any = Printed(errors)
    with redirect_stdout(out), redirect_stderr(err):
        yield


def drop_output() -> None:
    """Have nobody read standard output any more, who has left: each flush would fail anew."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, sys.stdout.fileno())
    os.close(nobody)
