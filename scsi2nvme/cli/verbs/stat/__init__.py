"""`stat` and `top`: what the running daemon's disks and initiators do."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_STAT = """\
Tell what the running daemon does for initiators: operations and megabytes (of 10^6 bytes) a second,
how long they take, and how many are under way. Without INTERVAL since the daemon began, else of the
last INTERVAL seconds, again and again. Of a disk with several controllers it says by which one
commands go now; that one has all of them with --by controller."""

_COLUMNS = """\
columns:
  r/s w/s d/s o/s  reads, writes, discards and other commands a second
  rMB/s wMB/s      what they move
  r_ms w_ms        from arrival to answer, on average; r_p99 and w_p99: 99 of 100 take no longer
  aqu              how many were under way on average; now: at this moment
  err/s            commands a second that ended otherwise than well, or not at all"""

_TOP = """\
Watch what the running daemon does for initiators, the busiest first: `stat` on the whole screen,
made anew again and again."""

_KEYS = """\
keys:
  d c s i    by disk, controller, session, initiator
  q          end"""

GROUPS = ("disk", "controller", "session", "initiator")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interval", metavar="INTERVAL", nargs="?", type=float, help="seconds between reports"
    )
    parser.add_argument("count", metavar="COUNT", nargs="?", type=int, help="how many reports")
    _by(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, each report in a line")
    add_state_dir(parser)


def _by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        metavar="WHAT",
        choices=GROUPS,
        default=GROUPS[0],
        help=f"{', '.join(GROUPS)} (default: %(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.errors import UsageError
    from scsi2nvme.cli.verbs.stat.reports import run

    if arguments.interval is not None:
        _check(arguments.interval)
    if arguments.count is not None and arguments.count < 1:
        raise UsageError("COUNT: 1 at least")
    run(
        state_dir(arguments),
        arguments.by,
        arguments.interval,
        arguments.count,
        as_json=arguments.json,
    )
    return 0


def _check(interval: float) -> None:
    from scsi2nvme.cli.errors import UsageError

    if not 0.01 <= interval <= 86400:
        raise UsageError("INTERVAL: 0.01 to 86400 seconds")


def _top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interval",
        metavar="INTERVAL",
        nargs="?",
        type=float,
        default=2.0,
        help="seconds until the screen is made anew (default: 2)",
    )
    _by(parser)
    add_state_dir(parser)


def _top(arguments: argparse.Namespace) -> int:
    import sys

    from scsi2nvme.cli.errors import UsageError
    from scsi2nvme.cli.verbs.stat.screen import watch

    _check(arguments.interval)
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise UsageError("top needs a terminal; `scsi2nvme stat` writes lines")
    watch(state_dir(arguments), arguments.by, GROUPS, arguments.interval)
    return 0


VERBS = (
    Verb(
        "stat",
        "tell what disks and initiators do",
        _STAT,
        (_COLUMNS, EXIT_STATUS),
        _arguments,
        _run,
        rank=22,
    ),
    Verb(
        "top",
        "watch what disks and initiators do",
        _TOP,
        (_KEYS, _COLUMNS, EXIT_STATUS),
        _top_arguments,
        _top,
        rank=23,
    ),
)
