"""`commands`: the SCSI commands that logical units know."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hot", action="store_true", help="only those translated in C")


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.commands import COMMANDS

    for row in COMMANDS:
        if row.hot or not arguments.hot:
            print(f"{row.opcode:02X}h  {row.name}")
    return 0


VERBS = (
    Verb(
        "commands",
        "list the SCSI commands that logical units know",
        "List the SCSI commands that logical units know, by operation code.",
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=75,
    ),
)
