"""The program's output, for whatever reads it: a terminal obeys much that it is sent."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.printable import printable

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by their descriptors


class OutputError(OperationError, OSError):
    """Output cannot be written, as where a file system is full; nobody's leaving is meant."""


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"output cannot be written: {error.strerror}") from None


class Printed:
    """A text stream to which nothing goes but what is printable, new lines and tabs.

    The rest, which may be in names that initiators and disks have given themselves, is written as
    escapes, and so is what the encoding lacks, or a path is not encoded by.
    """

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        self.plain = stream
        self.failure: OutputError | None = None  # which argparse makes nothing of

    def write(self, text: str) -> int:
        """Write text; returns how many characters of it there were."""
        try:
            with _told():
                self.plain.write(self._shown(text))
        except OutputError as error:
            self.failure = error
            raise
        return len(text)

    def _shown(self, text: str) -> str:
        return printable(text, but="\n\t")

    def flush(self) -> None:
        """Flush; OutputError also where a write has failed."""
        if self.failure is not None:
            raise self.failure
        with _told():
            self.plain.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


class Obeyed(Printed):
    """The same, but that a terminal obeys what it is sent."""

    def _shown(self, text: str) -> str:
        return text


def write_raw(data: bytes) -> None:
    """Write bytes to standard output, behind what was printed."""
    sys.stdout.flush()
    with _told():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def complete_streams() -> None:
    """Have three streams, whoever has started us without: else a socket would be one of them.

    Nothing can be read from those that were missing, nor written.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # as the lowest that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


@contextmanager
def printed(output: TextIO, errors: TextIO) -> Iterator[None]:
    """Have standard output and standard error written so."""
    out: Any = Printed(output)
    err: Any = Printed(errors)
    with redirect_stdout(out), redirect_stderr(err):
        yield


def drop_output(stream: TextIO | None = None) -> None:
    """Have nobody read standard output, or a stream, any more: each flush would fail anew."""
    dropped: Any = sys.stdout if stream is None else stream
    dropped.failure = None
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, dropped.fileno())
    os.close(nobody)


def tell(line: str) -> None:
    """Write a line to standard error, if that is possible."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        with suppress(OSError, ValueError):
            drop_output(sys.stderr)
