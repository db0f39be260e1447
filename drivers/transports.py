"""Every way in which a controller is reached: the `TRANSPORT` of each folder here that has one.

A new transport is such a folder: the record in its `__init__.py`, the work beside it.
Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from scsi2nvme import drivers
from scsi2nvme.drivers.scheme import Option, Scheme


def _records() -> Iterator[Scheme]:
    for module in iter_modules(drivers.__path__, f"{drivers.__name__}."):
        if module.ispkg:
            record = getattr(import_module(module.name), "TRANSPORT", None)
            if record is not None:
                yield record


SCHEMES: dict[str, Scheme] = {
    record.name: record for record in sorted(_records(), key=lambda record: record.name)
}
"""By the word before the colon."""

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in sorted(
        (option for record in SCHEMES.values() for option in record.options),
        key=lambda option: option.rank,
    )
}
"""Of all schemes. What several have is the same to each."""

for _scheme in SCHEMES.values():
    for _option in _scheme.options:
        assert OPTIONS[_option.name] is _option, f"there are two options {_option.name}"
