"""Every way in which a controller is reached: the `TRANSPORT` of each folder here that has one.

A new transport is such a folder: the record in its `__init__.py`, the work beside it.
Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from scsi2nvme import drivers
from scsi2nvme.drivers.scheme import Option, Scheme
from scsi2nvme.tables import subpackages


def _records() -> Iterator[Scheme]:
    for package in subpackages(drivers.__name__):
        record = getattr(import_module(package), "TRANSPORT", None)
        if record is not None:
            yield record


SCHEMES: dict[str, Scheme] = {
    record.name: record for record in sorted(_records(), key=lambda record: record.name)
}
"""By the word before the colon."""


@cache
def every_option() -> Mapping[str, Option]:
    """Return the options of all schemes by name. What several have is the same to each."""
    offered = [option for record in SCHEMES.values() for option in record.options()]
    by_name = {option.name: option for option in sorted(offered, key=lambda option: option.rank)}
    for option in offered:
        assert by_name[option.name] is option, f"there are two options {option.name}"
    return by_name
