"""Configuration files: TOML, read into a dataclass."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.typed import table

MAXIMUM_BYTES = 1 << 20

_Table = TypeVar("_Table")


def read(path: Path, kind: type[_Table]) -> _Table:
    """Return what a file holds as a `kind`; UsageError says in one line what is wrong with it."""
    try:
        return table(_parsed(path), kind)
    except OSError as error:
        raise UsageError(f"configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"configuration {path}: is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"configuration {path}: is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError among them
        raise UsageError(f"configuration {path}: {error}") from None


def _parsed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        raw = file.read(MAXIMUM_BYTES + 1)
    if len(raw) > MAXIMUM_BYTES:
        raise ValueError(f"is longer than {MAXIMUM_BYTES} bytes")
    return tomllib.loads(raw.decode("utf-8"))
