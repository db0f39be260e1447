"""Configuration files: TOML, read into a dataclass, and written from one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from scsi2nvme import durable
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.typed import reason, table

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
        raise UsageError(f"configuration {path}: {reason(error)}") from None


def _parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(durable.read(path, MAXIMUM_BYTES).decode("utf-8"))


def written(value: Any) -> str:
    """Return a dataclass as the text of a file that `read` returns it from.

    What has its default is left out. Each table has a heading, so that people can add others.
    """
    return "".join(_chunks(_plain(value), "")).lstrip("\n")


def _chunks(given: dict[str, Any], path: str) -> Iterator[str]:
    """Yield a table's text: what is of no table of its own comes first."""
    import tomli_w

    def is_of_tables(one: Any) -> bool:
        return isinstance(one, dict) or (isinstance(one, list) and any(map(is_of_tables, one)))

    yield tomli_w.dumps({name: one for name, one in given.items() if not is_of_tables(one)})
    for name, one in given.items():
        if not is_of_tables(one):
            continue
        heading = f"[[{path}{name}]]" if isinstance(one, list) else f"[{path}{name}]"
        for each in one if isinstance(one, list) else [one]:
            yield f"\n{heading}\n"
            yield from _chunks(each, f"{path}{name}.")


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        given = {each.name: getattr(value, each.name) for each in fields(value)}
        defaults = {each.name: each.default for each in fields(value)}
        return {
            name: _plain(one)
            for name, one in given.items()
            if one is not None and (defaults[name] is MISSING or one != defaults[name])
        }
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
