"""The `scsi2nvme` program: reads the command line, runs a verb, and tells how that ended."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from scsi2nvme import __version__
from scsi2nvme.cli.errors import FAILED, INTERRUPTED, MISUSED, OperationError, UsageError
from scsi2nvme.cli.verbs import VERBS


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and gives options room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class _VerbParser(argparse.ArgumentParser):
    """The parser of a verb, which puts its help together when somebody wants it."""

    paragraphs: tuple[str | Callable[[], str], ...] = ()

    def format_help(self) -> str:
        """Return the help, with what stands below the options."""
        self.epilog = "\n\n".join(
            text if isinstance(text, str) else text() for text in self.paragraphs
        )
        return super().format_help()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is unknown is the verb's affair, whose usage is shown then."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


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
        dest="subcommand",
        metavar="SUBCOMMAND",
        title="subcommands",
        required=True,
        parser_class=_VerbParser,
    )
    for verb in VERBS:
        subparser = subparsers.add_parser(
            verb.name,
            help=verb.doc,
            description=verb.description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        subparser.paragraphs = verb.epilog
        verb.arguments(subparser)
        subparser.set_defaults(run=verb.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    _let_nothing_be_unprintable()
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


def _let_nothing_be_unprintable() -> None:
    """Have what a terminal's encoding lacks, or a path is not encoded by, written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        return status
    finally:  # a page of help is written too
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
