"""A verb's row: its options, as nvme-cli has them, and its conversation."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scsi2nvme.records import dataclass

if TYPE_CHECKING:
    from scsi2nvme.cli.passing.conversation import Conversation, Shown

ALL_NAMESPACES = 0xFFFFFFFF


def number(bits: int = 32) -> Callable[[str], int]:
    """Return what reads a number of so many bits, in decimal or, after 0x, in hexadecimal."""

    def read(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number such as 10 or 0xA"
            ) from None
        if not 0 <= value < 1 << bits:
            raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and {(1 << bits) - 1:#x}")
        return value

    return read


def numbers(bits: int) -> Callable[[str], tuple[int, ...]]:
    """Return what reads numbers between commas."""
    one = number(bits)
    return lambda text: tuple(one(each) for each in text.split(","))


def only_zero(reason: str) -> Callable[[str], int]:
    """Return what takes zero only, for nvme-cli's options that cannot be served."""

    def read(text: str) -> int:
        if number()(text):
            raise argparse.ArgumentTypeError(f"must be 0: {reason}")
        return 0

    return read


_DWORD = number()


@dataclass(frozen=True, slots=True)
class Option:
    """An option, by its names. Without a `kind` it is a flag."""

    long: str
    short: str
    doc: str
    kind: Callable[[str], Any] | None = _DWORD
    default: Any = 0
    metavar: str = "NUM"
    required: bool = False

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Declare it."""
        names = [*([f"-{self.short}"] if self.short else []), f"--{self.long}"]
        if self.kind is None:
            parser.add_argument(*names, action="store_true", help=self.doc)
            return
        parser.add_argument(
            *names,
            type=self.kind,
            default=self.default,
            required=self.required,
            metavar=self.metavar,
            help=self.doc,
        )


def flag(long: str, short: str, doc: str) -> Option:
    """Return an option that is given or not."""
    return Option(long, short, doc, kind=None)


def namespace_id(default: int = 1, doc: str = "") -> Option:
    """Return the option that names a namespace."""
    told = "all" if default == ALL_NAMESPACES else default
    return Option(
        "namespace-id", "n", doc or f"namespace (default: {told})", default=default, metavar="NSID"
    )


def _format(text: str) -> str:
    if text not in ("normal", "json", "binary"):
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; known: normal, json, binary")
    return text


OUTPUT_FORMAT = Option(
    "output-format", "o", "normal, json or binary (default: normal)", _format, "normal", "FMT"
)
RAW_BINARY = flag("raw-binary", "b", "print what was read as it is: --output-format=binary")
HUMAN_READABLE = flag("human-readable", "H", "say what the fields mean")
RETAIN = flag("rae", "r", "retain the log's asynchronous event")
DATA_FILE = Option(
    "data", "d", "file of the data (default: standard input or output)", str, "-", "FILE"
)
TIMEOUT = Option("timeout", "t", "milliseconds that the command may take (default: its usual time)")
FORCE = flag("force", "", "also where initiators lose what they use")


@dataclass(frozen=True, slots=True)
class Row:
    """A verb by nvme-cli's name. `changes`: the controller, or what is on it, may be another after.
    `destroys` says what cannot be had back, "" for nothing.

    `converse` makes the conversation from what was given on the command line.
    """

    name: str
    doc: str
    description: str
    options: tuple[Option, ...]
    converse: Callable[[argparse.Namespace], Conversation[Shown]]
    changes: Callable[[argparse.Namespace], bool] = lambda arguments: False
    alias: str = ""
    destroys: Callable[[argparse.Namespace], str] = lambda arguments: ""


def namespaces_data(arguments: argparse.Namespace) -> str:
    """Return which data are gone where those of namespaces are."""
    every = arguments.namespace_id == ALL_NAMESPACES
    return f"all data in {'all namespaces' if every else f'namespace {arguments.namespace_id}'}"


def always(arguments: argparse.Namespace) -> bool:
    """A verb changes something, whatever is given."""
    return True
