"""The front ends of the daemon: the `FRONT_END` of each folder here.

A new front end is such a folder: the record in its `__init__.py`, the work beside it, which
is imported where the front end is configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scsi2nvme.cli.daemon.front_ends.front_end import FrontEndRecord


def _records() -> Iterator[FrontEndRecord]:
    for module in iter_modules(__path__, f"{__name__}."):
        if module.ispkg:
            yield import_module(module.name).FRONT_END


FRONT_ENDS: tuple[FrontEndRecord, ...] = tuple(sorted(_records(), key=lambda record: record.rank))
