"""The front ends of the daemon: the `FRONT_END` of each folder here.

A new front end is such a folder: the record in its `__init__.py`, the work beside it, which
is imported where the front end is configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from scsi2nvme.cli.daemon.front_ends.front_end import FrontEndRecord
from scsi2nvme.tables import subpackages


def _records() -> Iterator[FrontEndRecord]:
    for package in subpackages(__name__):
        yield import_module(package).FRONT_END


FRONT_ENDS: tuple[FrontEndRecord, ...] = tuple(sorted(_records(), key=lambda record: record.rank))
