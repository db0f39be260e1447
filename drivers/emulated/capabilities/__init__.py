"""The capabilities of the emulated controller: the record of each module here.

A new capability is one module with its `CAPABILITY`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scsi2nvme.drivers.emulated.capability import Capability, Tables


def _records() -> Iterator[Capability]:
    for module in iter_modules(__path__, f"{__name__}."):
        record = import_module(module.name).CAPABILITY
        assert isinstance(record, Capability), module.name
        yield record


TABLES = Tables(_records())
