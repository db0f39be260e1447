"""`install-units`: the daemon as a service of the system."""

from __future__ import annotations

import argparse
from pathlib import Path

from scsi2nvme.cli.verb import DAEMON_CONFIG, EXIT_STATUS, Verb


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", metavar="DIR", default="/", help="below which directory (default /)"
    )
    parser.add_argument(
        "--program", metavar="PATH", help="what the unit is to start (default: this program)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the files instead")


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.install_units import units

    program = arguments.program or units.program()
    units.check(program, Path(arguments.root))
    if arguments.dry_run:
        for place, content in units.needed(Path(arguments.root), program):
            print(f"# {Path(arguments.root) / place}\n{content}")
        return 0
    written = units.install(Path(arguments.root), program)
    for path in written:
        print(path)
    if not written:
        print("The package that this program is of has brought all of it")
    if arguments.root == "/" and units.reload():
        print(f"Once {DAEMON_CONFIG} is written, run: systemctl enable --now scsi2nvme")
    return 0


VERBS = (
    Verb(
        "install-units",
        "install the systemd unit, the D-Bus policy and the udev rule",
        "Install what the system must know to run `daemon` as a service.",
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=70,
    ),
)
