"""The `scsi2nvme` program: reads the command line, runs a verb, and tells how that ended."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from scsi2nvme import __version__
from scsi2nvme.cli.errors import FAILED, INTERRUPTED, MISUSED, OperationError, UsageError
from scsi2nvme.cli.verbs import VERBS


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and gives options room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def build_parser() -> argparse.ArgumentParser:
    """Return the program's argument parser."""
    parser = argparse.ArgumentParser(
        prog="scsi2nvme",
        description="Publish an NVMe disk as SCSI logical units over iSCSI.",
        epilog="`scsi2nvme SUBCOMMAND --help` says more about each.",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"scsi2nvme {__version__}")
    subparsers = parser.add_subparsers(
        dest="subcommand", metavar="SUBCOMMAND", title="subcommands", required=True
    )
    for verb in VERBS:
        subparser = subparsers.add_parser(
            verb.name,
            help=verb.doc,
            description=verb.description,
            epilog="\n\n".join(verb.epilog),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        verb.arguments(subparser)
        subparser.set_defaults(run=verb.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    try:
        return _run(argv)
    except UsageError as error:
        print(f"scsi2nvme: {error}", file=sys.stderr)
        return MISUSED
    except OperationError as error:
        print(f"scsi2nvme: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output left; the interpreter must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        return status
    finally:  # a page of help is written too
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
