"""`sessions`, `end-session` and `log-level`: the running daemon, watched and changed."""

from __future__ import annotations

import argparse
import json
import re

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_SESSIONS = """\
List who is logged in at the running daemon's portal. Those of the kernel's target are the
kernel's: `targetcli sessions`."""

_END = """\
End sessions with the running daemon's portal at once. What they have under way is lost, as when
the network fails, and initiators may log in again: to keep one out, take it out of the
configuration."""


def _sessions_arguments(parser: argparse.ArgumentParser) -> None:
    add_state_dir(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _list(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods, rpc
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.verbs.list.columns import aligned

    found = ask(state_dir(arguments), methods.SESSIONS)
    if arguments.json:
        print(json.dumps(rpc.plain(found), indent=2))
        return 0
    rows = [("Initiator", "ISID", "Target", "Connections")] + [
        (one.initiator, one.isid, one.target or "discovery", str(one.connections)) for one in found
    ]
    print("\n".join(aligned(rows)))
    return 0


def _end_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("initiator", metavar="INITIATOR", help="its iSCSI name")
    parser.add_argument("--isid", metavar="HEX", help="of this ISID only")
    parser.add_argument("--target", metavar="IQN", help="with this target only")
    add_state_dir(parser)


def _end(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.errors import UsageError

    isid = None if arguments.isid is None else arguments.isid.lower()
    if isid is not None and not re.fullmatch("[0-9a-f]{12}", isid):
        raise UsageError(f"--isid: {arguments.isid!r} is not six bytes in hexadecimal")
    which = methods.WhichSession(arguments.initiator, isid, arguments.target)
    ended = ask(state_dir(arguments), methods.END_SESSION, which)
    print(f"{ended.sessions} ended")
    return 0


def _level_arguments(parser: argparse.ArgumentParser) -> None:
    from typing import get_args

    from scsi2nvme.api.configuration import LogLevel

    parser.add_argument(
        "level",
        metavar="LEVEL",
        nargs="?",
        choices=get_args(LogLevel),
        help=f"{', '.join(get_args(LogLevel))}; without it, only ask",
    )
    add_state_dir(parser)


def _level(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import log_level
    from scsi2nvme.cli.control import ask

    print(ask(state_dir(arguments), log_level.LOG_LEVEL, log_level.NewLevel(arguments.level)).level)
    return 0


VERBS = (
    Verb(
        "sessions",
        "list who is logged in",
        _SESSIONS,
        (EXIT_STATUS,),
        _sessions_arguments,
        _list,
        rank=21,
    ),
    Verb(
        "end-session",
        "end sessions of an initiator",
        _END,
        (EXIT_STATUS,),
        _end_arguments,
        _end,
        rank=56,
    ),
    Verb(
        "log-level",
        "ask for, or set, what the running daemon tells",
        "Ask the running daemon for the least important messages that it writes, or set that.",
        (EXIT_STATUS,),
        _level_arguments,
        _level,
        rank=57,
    ),
)
