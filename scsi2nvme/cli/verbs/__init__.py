"""The verbs of the program: every record of this package's modules.

A new verb is one module with its `VERBS`, or a folder where what it does is much: the
record in `__init__.py`, the work beside it. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scsi2nvme.cli.verb import Verb


def _records() -> Iterator[Verb]:
    for module in iter_modules(__path__, f"{__name__}."):
        yield from import_module(module.name).VERBS


VERBS: tuple[Verb, ...] = tuple(sorted(_records(), key=lambda verb: verb.rank))
