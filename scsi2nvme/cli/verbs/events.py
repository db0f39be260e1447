"""`events`: what happens in the running daemon."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

if TYPE_CHECKING:
    from scsi2nvme.api.events import Event, Lost

_EVENTS = """\
Tell what has happened in the running daemon, and what happens, until Ctrl-C: logins, refusals,
ends of sessions, what disks have failed, resets, controllers that come and go."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last",
        metavar="N",
        type=int,
        default=10,
        help="how many of those that have happened to begin with (default: 10)",
    )
    parser.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with what happens (default), or tell of these only",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, each event in a line")
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api.rpc import plain
    from scsi2nvme.cli.errors import UsageError

    if arguments.last < 0:
        raise UsageError("--last: 0 at least")
    for one in told(state_dir(arguments), arguments.last, follow=arguments.follow):
        print(json.dumps(plain(one)) if arguments.json else line(one), flush=True)
    return 0


def told(state_dir: Path, last: int, *, follow: bool) -> Iterator[Event | Lost]:
    """Yield the `last` events, and those to come if they are to be followed."""
    from scsi2nvme.api.events import EVENTS, SUBSCRIBE, Since
    from scsi2nvme.cli import control

    before = control.ask(state_dir, EVENTS)
    yield from before.events[max(len(before.events) - max(last, 0), 0) :]
    if follow:
        yield from control.follow(state_dir, SUBSCRIBE, Since(before.last))


def line(one: Event | Lost) -> str:
    """Return an event for people."""
    from datetime import datetime

    from scsi2nvme.api.events import Lost

    if isinstance(one, Lost):
        return f"{one.lost} events were missed"
    return f"{datetime.fromtimestamp(one.at_s).isoformat(' ', 'seconds')}  {one.text}"


VERBS = (
    Verb(
        "events",
        "tell what happens",
        _EVENTS,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=24,
    ),
)
