"""The records of the verbs: one place each, cheap to read, and documented."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest

from scsi2nvme import __main__
from scsi2nvme.cli import verbs
from scsi2nvme.cli.errors import FAILED
from scsi2nvme.cli.verb import Verb
from scsi2nvme.cli.verbs import every_verb, find

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
MODULES = [import_module(one.name) for one in iter_modules(verbs.__path__, f"{verbs.__name__}.")]
# What takes long to import, and no record needs.
HEAVY = ("asyncio", "tomllib", "scsi2nvme.engine", "scsi2nvme.drivers.nvme.controller")
# What takes long to import, and who asks a daemon, or only looks at this machine, does without.
SERVING = (
    *HEAVY,
    *("ssl", "logging", "pkgutil", "ctypes"),
    *("scsi2nvme._dataplane", "scsi2nvme.api.table", "scsi2nvme.unit.logical_unit"),
)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_module_has_its_records_in_one_place(module: ModuleType) -> None:
    assert module.VERBS
    assert all(isinstance(verb, Verb) for verb in module.VERBS)
    assert not [name for name, value in vars(module).items() if isinstance(value, Verb)]
    assert not {verb.name for verb in module.VERBS} - {verb.name for verb in every_verb()}


def test_every_verb_is_declared_once() -> None:
    names = Counter(verb.name for module in MODULES for verb in module.VERBS)
    assert names == Counter(verb.name for verb in every_verb())
    assert set(names.values()) == {1}


@pytest.mark.parametrize("name", [verb.name for verb in every_verb()])
def test_operations_list_the_verb(name: str) -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    _, _, section = text.partition("\n## Verbs\n")
    rows = [line.split("|")[1] for line in section.split("\n## ")[0].splitlines() if "|" in line]
    assert any(f"`{name}`" in row for row in rows)


def test_a_verb_is_put_together_when_it_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    meant: list[str] = []

    def noting(verb: Verb) -> Verb:
        return replace(verb, arguments=lambda parser: meant.append(parser.prog.split()[-1]))

    noted = [noting(verb) for verb in every_verb()]
    monkeypatch.setattr(__main__, "every_verb", lambda: noted)
    parser = __main__.build_parser()
    for verb in every_verb():
        assert meant == []
        assert parser.parse_args([verb.name]).run is verb.run
        assert meant == [verb.name]
        meant.clear()


@pytest.fixture(scope="module")
def choices() -> dict[str, argparse.ArgumentParser]:
    """What the whole program's parser has of each verb."""
    (verbs,) = __main__.build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    return dict(verbs.choices)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", every_verb(), ids=lambda verb: verb.name)
def test_what_the_program_notes_of_a_verb_is_no_argument_of_its(
    verb: Verb, choices: dict[str, argparse.ArgumentParser]
) -> None:
    """`install-units` without --program was given the parser."""
    own = argparse.ArgumentParser(add_help=False)
    verb.arguments(own)
    noted = choices[verb.name]._defaults
    assert noted
    assert not noted.keys() & {action.dest for action in own._actions}


def test_help_loads_nothing_that_only_a_verb_needs() -> None:
    script = (
        "import sys; from scsi2nvme.__main__ import build_parser; build_parser().format_help(); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("verb", every_verb(), ids=lambda verb: verb.name)
def test_a_verb_is_found_by_its_name(verb: Verb) -> None:
    found = find(verb.name)
    assert found is not None
    assert (found.name, found.doc) == (verb.name, verb.doc)


def test_of_what_is_no_verb_nothing_is_found() -> None:
    assert [find(word) for word in ("", "stats", "passing", "../list", "verb.list")] == [None] * 5


def test_a_client_loads_nothing_that_only_a_daemon_needs(tmp_path: Path) -> None:
    lines = [
        *("stat --json", "list", "sessions", "events", "fw-log", "smart-log", "get-feature -f 1"),
        *("export 0", "add pci:0000:00:04.0", "remove 0", "reset 0", "forget 0"),
    ]
    script = (
        "import sys; from scsi2nvme.__main__ import main; "
        f"print([main([*line.split(), '--state-dir', {str(tmp_path)!r}]) for line in {lines}]); "
        f"print([name for name in {SERVING} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == [str([FAILED] * len(lines)), "[]"]
    assert all("no scsi2nvme is running" in line for line in done.stderr.splitlines())
