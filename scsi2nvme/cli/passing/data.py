"""Data of commands, from files."""

from __future__ import annotations

import sys
from pathlib import Path

from scsi2nvme.cli.errors import OperationError


def whole_file(name: str, most: int) -> bytes:
    """Return what a file has, 1 to `most` bytes; OperationError if it has others, or is none."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise OperationError(f"{name}: {error.strerror}") from None
    if not 0 < len(data) <= most:
        raise OperationError(f"{name}: {len(data)} bytes are not 1 to {most}")
    return data


def given_data(name: str, length: int, prefill: int | None = None) -> bytes:
    """Return so many bytes of a file, of standard input for `-`.

    What it lacks is `prefill`; OperationError if that is None.
    """
    if not length:
        return b""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(length)
        else:
            with Path(name).open("rb") as file:
                data = file.read(length)
    except OSError as error:
        raise OperationError(f"{name}: {error.strerror}") from None
    if prefill is not None:
        data = data.ljust(length, bytes([prefill]))
    if len(data) < length:
        where = "standard input" if name == "-" else name
        raise OperationError(f"{where} has {len(data)} bytes, {length} are to be sent")
    return data


def keep_data(name: str, data: bytes) -> None:
    """Write a file, which nobody else may read if it is new; OperationError if that fails."""
    import os

    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise OperationError(f"{name}: {error.strerror}") from None
