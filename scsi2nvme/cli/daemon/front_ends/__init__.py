"""The front ends of the daemon: every record of this package's modules.

A new front end is one module with its `FRONT_END`; the daemon starts what is configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scsi2nvme.cli.daemon.front_ends.front_end import FrontEndRecord


def _records() -> Iterator[FrontEndRecord]:
    for module in iter_modules(__path__, f"{__name__}."):
        record = getattr(import_module(module.name), "FRONT_END", None)
        if record is not None:
            yield record


FRONT_ENDS: tuple[FrontEndRecord, ...] = tuple(sorted(_records(), key=lambda record: record.rank))
