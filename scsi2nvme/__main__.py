"""The `scsi2nvme` program: reads the command line, runs a verb, and tells how that ended."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from scsi2nvme import __version__
from scsi2nvme.cli.errors import FAILED, INTERRUPTED, MISUSED, OperationError, UsageError
from scsi2nvme.cli.printed import OutputError, complete_streams, drop_output, printed, tell
from scsi2nvme.cli.spelling import meant
from scsi2nvme.cli.verb import Verb
from scsi2nvme.cli.verbs import every_verb, find

_COLUMNS = 98  # of help
_FEW = 6  # choices, all of which fit into a line


def _terminal_columns() -> int:
    """Return what `shutil.get_terminal_size` says, which argparse would load with its compressors.

    It wants that of each option, whether there is to be help or not.
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return (sys.__stdout__ and os.get_terminal_size(sys.__stdout__.fileno()).columns) or 80
    except (OSError, ValueError):
        return 80


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and gives options room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_terminal_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Leave lines as they are, but for a paragraph that is written as one."""
        from textwrap import fill

        lines = (
            fill(line, _COLUMNS) if len(line) > _COLUMNS else line for line in text.split("\n")
        )
        return super()._fill_text("\n".join(lines), width, indent)


class _Parser(argparse.ArgumentParser):
    """A parser that tells what is wrong in one line, with what may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see: {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if value == "" and action.default != "":  # a script's variable that is not set, as a rule
            raise argparse.ArgumentError(action, "is empty")
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            hint = meant(str(value), known)
            if not hint and len(known) <= _FEW:
                hint = f"; known: {', '.join(known)}"
            raise argparse.ArgumentError(action, f"{value!r} is unknown{hint}")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raise UsageError for what is no argument of the parser's."""
        name = unknown[0].partition("=")[0]
        hint = meant(name, self._option_string_actions)
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


class _VerbParser(_Parser):
    """The parser of a verb, which is put together when the verb is meant, and its help likewise."""

    verb: Verb

    def format_help(self) -> str:
        """Return the help, with what stands below the options."""
        self.epilog = "\n\n".join(
            text if isinstance(text, str) else text() for text in self.verb.epilog
        )
        return super().format_help()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; what is unknown is the verb's affair, whose usage is shown then."""
        self.verb.arguments(self)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown)
        return parsed, unknown


def build_parser(verbs: Sequence[Verb] | None = None) -> _Parser:
    """Return the program's argument parser, which knows these verbs, or all."""
    parser = _Parser(
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
    for verb in every_verb() if verbs is None else verbs:
        subparser = subparsers.add_parser(
            verb.name,
            help=verb.doc,
            description=verb.description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        subparser.verb = verb
        subparser.set_defaults(run=verb.run, whole=build_parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    complete_streams()
    with printed(sys.stdout, sys.stderr):
        return _status(argv)


def _status(argv: Sequence[str] | None) -> int:
    try:
        return _run(argv)
    except UsageError as error:
        tell(f"scsi2nvme: {error}")
        return MISUSED
    except OperationError as error:
        if isinstance(error, OutputError):
            drop_output()
        tell(f"scsi2nvme: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return FAILED
    except FileNotFoundError:
        if _somewhere():
            raise
        tell("scsi2nvme: the current directory is gone; go to another")
        return FAILED


def _somewhere() -> bool:
    """Whether there is a current directory, which relative paths go from."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _needed(word: str) -> Sequence[Verb] | None:
    """Return the verbs that a command line needs, None if all, by its first word.

    To read all takes longer than most verbs: only to help, or to say what may have been meant,
    needs more than one.
    """
    if word == "--version":
        return ()
    verb = None if word.startswith("-") else find(word)
    return (verb,) if verb else None


def _run(argv: Sequence[str] | None) -> int:
    try:
        words = sys.argv[1:] if argv is None else argv
        parser = build_parser(_needed(words[0] if words else ""))
        arguments, unknown = parser.parse_known_args(words)
        if unknown:
            parser.refuse(unknown)
        status: int = arguments.run(arguments)
        return status
    finally:  # a page of help is written too
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
