"""A verb of the program: its record, and what several of them say and take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from scsi2nvme.records import dataclass

EXIT_STATUS = """\
exit status:
  0    done; for `serve`: ended by SIGTERM or Ctrl-C, everything flushed
  1    could not be done; the reason is on standard error
  2    the command line or the configuration makes no sense"""

DAEMON_CONFIG = "/etc/scsi2nvme.toml"


def controller_specs() -> str:
    """Return what help says of SPECs, which asks every transport."""
    from scsi2nvme.cli.spec import describe

    return describe()


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: `arguments` declares what it takes, `run` does it and returns the exit status.

    `run` imports what only it needs, so that `--help` is instant. `doc` is its line in the
    program's help, where a lower `rank` stands further up; `epilog` is the paragraphs below
    its options, or what returns one.
    """

    name: str
    doc: str
    description: str
    epilog: tuple[str | Callable[[], str], ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    rank: int


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Declare --state-dir."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where the daemon keeps its state and control socket "
        "(default: /var/lib/scsi2nvme for root, else ~/.local/state/scsi2nvme)",
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare --config."""
    parser.add_argument("--config", metavar="FILE", help="a configuration file, scsi2nvme.toml(5)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare --json."""
    parser.add_argument("--json", action="store_true", help="print JSON with nvme-cli's keys")


def state_dir(arguments: argparse.Namespace) -> Path:
    """Return the state directory that is meant."""
    from scsi2nvme.cli.control import default_state_dir

    return Path(arguments.state_dir) if arguments.state_dir else default_state_dir()
