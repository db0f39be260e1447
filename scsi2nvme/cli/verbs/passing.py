"""nvme-cli's verbs that send commands, from `admin-passthru` to `write-zeroes`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from scsi2nvme.cli.passing.row import Row
from scsi2nvme.cli.printed import write_raw
from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, controller_specs, state_dir

if TYPE_CHECKING:
    from scsi2nvme.cli.passing.conversation import Questions, Shown

# In the order of help.
_MODULES = (
    *("identify", "properties", "features", "logs", "boot", "firmware", "media", "namespaces"),
    *("virtualization", "support", "sets", "media_units", "access", "reservations", "directives"),
    *("security", "rpmb", "blocks", "copying", "zones", "zone_data", "placement", "raw"),
)

_CONTROLLERS = """\
controllers:
  Without CONTROLLER, the first controller of the running daemon is meant. It may be
  a number (0 is the daemon's first), the target's name, or a SPEC, which is then opened
  by this command itself: only when no daemon uses it. A person at a terminal is asked
  before all data there are lost, unless there is --force.
  Of a daemon, who may only look (control_group) may send what only looks, at what is
  not private."""


def _arguments(row: Row, parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", nargs="?", default="0", help="see below"
    )
    for option in row.options:
        option.declare(parser)
    add_state_dir(parser)


def _run(row: Row, given: argparse.Namespace) -> int:
    if (data := row.destroys(given)) and _opens(given) and not given.force:
        from scsi2nvme.cli import confirming

        # A daemon that serves it wants --force, and is not asked to begin with.
        if confirming.somebody_is_there():
            confirming.ask(f"{row.name}: {data} of {given.controller} are lost")
    _print(given, _shown(row, given))
    return 0


def _shown(row: Row, given: argparse.Namespace) -> Shown:
    from scsi2nvme.cli.passing.conversation import heard
    from scsi2nvme.cli.progress import Progress

    with Progress(row.name) as progress:
        return _asked(heard(row.converse(given), progress.at), row, given)


def _opens(given: argparse.Namespace) -> bool:
    """Whether a SPEC is given, by which this process opens the controller itself."""
    return re.match("[a-z]{3,}:", given.controller) is not None


def _asked(conversation: Questions[Shown], row: Row, given: argparse.Namespace) -> Shown:
    if not _opens(given):
        from scsi2nvme.cli.passing.asking import of_daemon

        force = getattr(given, "force", False)
        return of_daemon(conversation, state_dir(given), given.controller, force=force)
    import asyncio

    from scsi2nvme.cli.ending import Ending
    from scsi2nvme.cli.passing.opened import of_spec
    from scsi2nvme.cli.spec import parse

    async def play() -> Shown | None:
        spec = parse(given.controller)
        return await Ending().unless_asked(of_spec(conversation, spec, changes=row.changes(given)))

    shown = asyncio.run(play())
    if shown is None:
        raise KeyboardInterrupt
    return shown


def _print(given: argparse.Namespace, shown: Shown) -> None:
    """Print what is shown in the form that was asked for."""
    if shown.file:
        from scsi2nvme.cli.passing.data import keep_data

        keep_data(shown.file, shown.raw)
    if shown.metadata_file:
        from scsi2nvme.cli.passing.data import keep_data

        keep_data(shown.metadata_file, shown.metadata)
    form = getattr(given, "output_format", "normal")
    binary = getattr(given, "raw_binary", False) or form == "binary"
    beside = b"" if shown.metadata_file else shown.metadata
    if binary and (beside or not shown.file):
        write_raw((b"" if shown.file else shown.raw) + beside)
    elif form == "json":
        print(json.dumps(shown.json, indent=2))
    else:
        print("\n".join(shown.lines), end="\n" if shown.lines else "")


def _verb(row: Row, name: str) -> Verb:
    epilog = (_CONTROLLERS, controller_specs, EXIT_STATUS)
    return Verb(
        name,
        row.doc,
        row.description,
        epilog,
        partial(_arguments, row),
        partial(_run, row),
        rank=41,
    )


def rows() -> Iterator[Row]:
    """Yield the rows of all verbs, from module to module."""
    for module in _MODULES:
        yield from import_module(f"scsi2nvme.cli.passing.{module}").ROWS


class _Verbs:
    """The verbs, module after module: who has found one need not read the others."""

    def __iter__(self) -> Iterator[Verb]:
        for row in rows():
            yield from (_verb(row, name) for name in (row.name, row.alias) if name)


VERBS = _Verbs()
