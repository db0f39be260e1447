"""The records of the verbs: one place each, cheap to read, and documented."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

from scsi2nvme.cli import verbs
from scsi2nvme.cli.verb import Verb
from scsi2nvme.cli.verbs import VERBS

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
MODULES = [import_module(one.name) for one in iter_modules(verbs.__path__, f"{verbs.__name__}.")]
# What takes long to import, and no record needs.
HEAVY = ("asyncio", "tomllib", "scsi2nvme.engine", "scsi2nvme.drivers.nvme.controller")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_module_has_its_records_in_one_place(module: ModuleType) -> None:
    assert module.VERBS
    assert all(isinstance(verb, Verb) for verb in module.VERBS)
    assert not [name for name, value in vars(module).items() if isinstance(value, Verb)]
    assert not {verb.name for verb in module.VERBS} - {verb.name for verb in VERBS}


def test_every_verb_is_declared_once() -> None:
    names = Counter(verb.name for module in MODULES for verb in module.VERBS)
    assert names == Counter(verb.name for verb in VERBS)
    assert set(names.values()) == {1}


@pytest.mark.parametrize("name", [verb.name for verb in VERBS])
def test_operations_list_the_verb(name: str) -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    _, _, section = text.partition("\n## Verbs\n")
    rows = [line.split("|")[1] for line in section.split("\n## ")[0].splitlines() if "|" in line]
    assert any(f"`{name}`" in row for row in rows)


def test_help_loads_nothing_that_only_a_verb_needs() -> None:
    script = (
        "import sys; from scsi2nvme.__main__ import build_parser; build_parser().format_help(); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
