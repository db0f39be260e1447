"""The verbs of the program: every record of this package's modules.

A new verb is one module with its `VERBS`, or a folder where what it does is much: the
record in `__init__.py`, the work beside it. Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module

from scsi2nvme.cli.verb import Verb
from scsi2nvme.tables import submodules

_COSTLY = f"{__name__}.passing"  # its verbs come with the structures of NVMe


def _modules(name: str) -> Sequence[str]:
    """Return the modules in the order in which a verb is sought: first that of its name."""
    own = f"{__name__}.{name.replace('-', '_')}"
    return sorted(submodules(__name__), key=lambda module: (module != own, module == _COSTLY))


def find(name: str) -> Verb | None:
    """Return the verb of a name, None if there is none; modules behind its own stay unread."""
    records = (verb for module in _modules(name) for verb in import_module(module).VERBS)
    return next((verb for verb in records if verb.name == name), None)


@cache
def every_verb() -> tuple[Verb, ...]:
    """Return all verbs, as help lists them."""
    return tuple(sorted(_records(), key=lambda verb: verb.rank))


def _records() -> Iterator[Verb]:
    for module in submodules(__name__):
        yield from import_module(module).VERBS
