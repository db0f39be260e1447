"""`completion`: what completes command lines of this program in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verb import EXIT_STATUS, Verb

_COMPLETION = """\
Print what has a shell complete the subcommands and options of scsi2nvme. For bash, in ~/.bashrc:

  eval "$(scsi2nvme completion bash)"

or for everybody: scsi2nvme completion bash >/usr/share/bash-completion/completions/scsi2nvme"""

_FILES = ("FILE", "PATH")
_DIRECTORIES = ("DIR",)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")


def _verbs(program: argparse.ArgumentParser) -> Iterable[Any]:
    """Return the parsers of the program's verbs."""
    for action in program._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices.values()
    raise AssertionError("a program without verbs")


def _run(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        from scsi2nvme.cli import advice

        how = advice.install(advice.SHTAB)
        raise OperationError(f"what shells are told is made by shtab; run: {how}") from None
    program = arguments.whole()
    for verb in _verbs(program):
        verb.verb.arguments(verb)
        verb.description = verb.verb.doc  # what fits into a line of a list
        for action in verb._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE
            elif action.metavar in _DIRECTORIES:
                action.complete = shtab.DIRECTORY
    print(shtab.complete(program, arguments.shell))
    return 0


VERBS = (
    Verb(
        "completion",
        "have a shell complete command lines",
        _COMPLETION,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=90,
    ),
)
