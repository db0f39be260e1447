"""`id-ctrl`, `id-ns`, `smart-log` and `error-log`: what nvme-cli's verbs of those names show."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.row import OUTPUT_FORMAT, RAW_BINARY
from scsi2nvme.cli.printed import write_raw
from scsi2nvme.cli.verb import (
    EXIT_STATUS,
    Verb,
    add_json,
    add_state_dir,
    controller_specs,
    state_dir,
)

if TYPE_CHECKING:
    from scsi2nvme.cli.inspection import Inspection

_INSPECTED = """\
controllers:
  Without CONTROLLER, the first controller of the running daemon is meant. It may be
  a number (0 is the daemon's first), the target's name, or a SPEC, which is then opened
  by this command itself: only when no daemon uses it."""


def _controller_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", nargs="?", default="0", help="see below"
    )
    add_state_dir(parser)
    add_json(parser)
    OUTPUT_FORMAT.declare(parser)
    RAW_BINARY.declare(parser)


def _namespace_arguments(parser: argparse.ArgumentParser) -> None:
    _controller_arguments(parser)
    parser.add_argument(
        "-n", "--namespace-id", metavar="NSID", type=int, default=1, help="default 1"
    )


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import inspection

    wanted = inspection.INSPECTIONS[arguments.subcommand]
    nsid = arguments.namespace_id if wanted.per_namespace else 0
    raw = _read(arguments.controller, wanted, nsid, state_dir(arguments))
    if arguments.raw_binary or arguments.output_format == "binary":
        write_raw(raw)
        return 0
    shown = wanted.decode(raw)
    as_json = arguments.json or arguments.output_format == "json"
    print(json.dumps(shown, indent=2) if as_json else inspection.text(wanted.told(shown)))
    return 0


def _read(controller: str, wanted: Inspection, nsid: int, directory: Path) -> bytes:
    """Return raw data of the daemon's controller of that number, or of a SPEC's."""
    if not re.match("[a-z]{3,}:", controller):
        from scsi2nvme.api import methods
        from scsi2nvme.cli.control import NoDaemonError, ask

        which = methods.WhichStructure(wanted.name, controller, nsid)
        try:
            return bytes.fromhex(ask(directory, methods.READ, which))
        except NoDaemonError as error:
            raise OperationError(f"{error}, or name a controller by its SPEC") from None
    import asyncio

    data = asyncio.run(_unless_asked(_read_spec(controller, wanted, nsid)))
    if data is None:
        raise KeyboardInterrupt
    return data


async def _unless_asked(reading: Coroutine[Any, Any, bytes]) -> bytes | None:
    """Read, or let go of the controller when a signal asks for the end."""
    from scsi2nvme.cli.ending import Ending

    return await Ending().unless_asked(reading)


async def _read_spec(text: str, wanted: Inspection, nsid: int) -> bytes:
    from scsi2nvme.cli import controllers
    from scsi2nvme.cli.spec import parse

    opened = await controllers.inspect_controller(parse(text))
    try:
        return await controllers.read(opened, wanted, nsid)
    finally:
        await opened.close()


def _inspection(name: str, doc: str, description: str, *, per_namespace: bool = False) -> Verb:
    arguments = _namespace_arguments if per_namespace else _controller_arguments
    epilog = (_INSPECTED, controller_specs, EXIT_STATUS)
    return Verb(name, doc, description, epilog, arguments, _run, rank=40)


VERBS = (
    _inspection("id-ctrl", "show Identify Controller", "Show a controller's Identify data."),
    _inspection(
        "id-ns",
        "show Identify Namespace",
        "Show a namespace's Identify data.",
        per_namespace=True,
    ),
    _inspection("smart-log", "show the SMART log", "Show a controller's SMART / Health log."),
    _inspection("error-log", "show the error log", "Show a controller's error log, newest first."),
)
