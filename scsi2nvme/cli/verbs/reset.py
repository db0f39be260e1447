"""`reset`: a controller of the running daemon, made anew."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_RESET = """\
Reset a controller of the running daemon. What is under way there is repeated: initiators see
a pause. Its other controllers go on."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", help="its number in the daemon, or its PCI address"
    )
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.control import ask

    ask(state_dir(arguments), methods.RESET, methods.WhichController(arguments.controller))
    return 0


VERBS = (
    Verb(
        "reset",
        "reset a controller",
        _RESET,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=50,
    ),
)
