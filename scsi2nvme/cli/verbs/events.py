"""`events`: what happens in the running daemon."""

from __future__ import annotations

import argparse
import json

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_EVENTS = """\
Tell what has happened in the running daemon, and what happens, until Ctrl-C: logins, refusals,
ends of sessions, what disks have failed, resets, controllers that come and go."""

_WAIT_S = 20.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last",
        metavar="N",
        type=int,
        default=10,
        help="how many of those that have happened to begin with (default: 10)",
    )
    parser.add_argument("--no-follow", action="store_true", help="tell of these only")
    parser.add_argument("--json", action="store_true", help="print JSON, each event in a line")
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api.events import EVENTS, Event, WhichEvents
    from scsi2nvme.api.rpc import plain
    from scsi2nvme.cli.control import ask

    def show(event: Event) -> None:
        print(json.dumps(plain(event)) if arguments.json else _line(event.at_s, event.text))

    told = ask(state_dir(arguments), EVENTS)
    for event in told.events[len(told.events) - min(max(arguments.last, 0), len(told.events)) :]:
        show(event)
    while not arguments.no_follow:
        print(end="", flush=True)
        told = ask(state_dir(arguments), EVENTS, WhichEvents(told.last, _WAIT_S))
        if told.lost:
            lost = {"lost": told.lost}
            print(json.dumps(lost) if arguments.json else f"{told.lost} events were missed")
        for event in told.events:
            show(event)
    return 0


def _line(at_s: float, text: str) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(at_s).isoformat(' ', 'seconds')}  {text}"


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
