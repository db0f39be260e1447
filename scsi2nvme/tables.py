"""Tables whose rows stand in the modules of a package."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TypeVar

Row = TypeVar("Row")


def subpackages(package: str) -> Iterator[str]:
    """Yield the full names of the packages in a package, in order."""
    folder = _folder(package)
    for name in sorted(os.listdir(folder)):
        if os.path.exists(os.path.join(folder, name, "__init__.py")):
            yield f"{package}.{name}"


def submodules(package: str) -> Iterator[str]:
    """Yield the full names of the modules and packages in a package, in order."""
    files = (name for name in os.listdir(_folder(package)) if name != "__init__.py")
    modules = (f"{package}.{name[:-3]}" for name in files if name.endswith(".py"))
    yield from sorted((*modules, *subpackages(package)))


def _folder(package: str) -> str:
    """Return the folder of a package, which it has: beside a native module is no archive.

    (`pkgutil.iter_modules`, which reads those as well, loads more than most verbs need.)
    """
    return os.path.dirname(sys.modules[package].__file__ or "")


def rows(package: str, name: str, kind: type[Row]) -> Iterator[Row]:
    """Yield the rows of every module of a package: what its tuple `name` holds, if it has one.

    `package` is the package's own `__name__`.
    """
    for module in submodules(package):
        for row in getattr(import_module(module), name, ()):
            assert isinstance(row, kind), f"{module}.{name} holds {row!r}"
            yield row
