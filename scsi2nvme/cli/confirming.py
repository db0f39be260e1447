"""Asking a person before what destroys, where one is there."""

from __future__ import annotations

import sys

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.printable import printable


def somebody_is_there() -> bool:
    """Whether a person types what we read, and reads what we write."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(what: str) -> None:
    """Return if a person says yes; OperationError if not."""
    try:
        answer = input(f"{printable(what)}. Go on? [y/N] ")  # readline writes it, not we
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise OperationError("nothing was done")
