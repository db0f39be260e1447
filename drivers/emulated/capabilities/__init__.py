"""The capabilities of the emulated controller: the record of each module here.

A new capability is one module with its `CAPABILITY`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from scsi2nvme.drivers.emulated.capability import Capability, Tables
from scsi2nvme.tables import submodules


def _records() -> Iterator[Capability]:
    for module in submodules(__name__):
        record = import_module(module).CAPABILITY
        assert isinstance(record, Capability), module
        yield record


TABLES = Tables(_records())
