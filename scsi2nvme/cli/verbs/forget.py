"""`forget`: names of a disk that is gone, for others to take."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_FORGET = """\
Tell the running daemon that a disk is gone for good. Its names are kept from all others until
then: a copy of it that initiators took for it would be given its writes, and they its data. Now
the first that tells the same names takes them, if there is one."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", help="its SPEC, as the daemon's log has it"
    )
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.control import ask

    ask(state_dir(arguments), methods.FORGET, methods.WhichController(arguments.controller))
    return 0


VERBS = (
    Verb(
        "forget",
        "let others take the names of a disk that is gone",
        _FORGET,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=55,
    ),
)
