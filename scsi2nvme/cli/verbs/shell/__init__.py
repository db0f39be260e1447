"""`shell`: the running daemon as a tree, as those know it who use targetcli."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_SHELL = """\
Look at the running daemon as a tree of controllers, disks and targets, and change it, as targetcli
does with the kernel's target. With COMMAND that is all that is done; without, commands are read
from standard input: from a terminal with a prompt, completion and `help`, else one a line, until
one fails."""

_EXAMPLES = """\
examples:
  scsi2nvme shell ls
  scsi2nvme shell /controllers add emulated:/srv/disk.img,size=1G
  scsi2nvme shell --yes /controllers/S1 remove"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "command", metavar="COMMAND", nargs="*", help="a path, a command and what it takes"
    )
    parser.add_argument(
        "--yes", action="store_true", help="do what cannot be undone, without asking"
    )
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    try:
        from scsi2nvme.cli.verbs.shell.session import run
    except ModuleNotFoundError as error:
        from scsi2nvme.cli import advice
        from scsi2nvme.cli.errors import OperationError

        how = advice.install(advice.CONFIGSHELL)
        raise OperationError(f"the shell needs configshell-fb ({error}); run: {how}") from None
    run(state_dir(arguments), " ".join(arguments.command), yes=arguments.yes)
    return 0


VERBS = (
    Verb(
        "shell",
        "look at the running daemon, and change it, as a tree",
        _SHELL,
        (_EXAMPLES, EXIT_STATUS),
        _arguments,
        _run,
        rank=58,
    ),
)
