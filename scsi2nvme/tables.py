"""Tables whose rows stand in the modules of a package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

Row = TypeVar("Row")


def rows(package: str, path: Iterable[str], name: str, kind: type[Row]) -> Iterator[Row]:
    """Yield the rows of every module of a package: what its tuple `name` holds, if it has one.

    `package` and `path` are the package's own `__name__` and `__path__`.
    """
    for module in iter_modules(path, f"{package}."):
        for row in getattr(import_module(module.name), name, ()):
            assert isinstance(row, kind), f"{module.name}.{name} holds {row!r}"
            yield row
