"""`list`: the disks of this machine, and the namespaces that are served."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verb import (
    EXIT_STATUS,
    Verb,
    add_json,
    add_state_dir,
    controller_specs,
    state_dir,
)

_LIST = """\
List the NVMe disks of this machine, who drives and who uses them, and the namespaces that
the running daemon serves, with the state of their controllers, which of several is in use, the
targets, LUNs and sessions of our portal, and the rings of the kernel's target: how many commands
had their data moved in place, or copied; or, with SPECs, the namespaces of those controllers."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("controller", metavar="SPEC", nargs="*", help="controllers to open")
    add_state_dir(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.verbs.list import disks, namespaces

    if arguments.controller:
        from scsi2nvme.cli.verbs.list.opened import of_specs

        shown = of_specs(arguments.controller)
        print(json.dumps(shown, indent=2) if arguments.json else namespaces.table(shown))
        return 0
    from scsi2nvme.drivers.pci.sysfs import System

    shown = {"Devices": [], **disks.of_machine(System())}
    try:
        told: dict[str, Any] = ask(state_dir(arguments), methods.SHOW)
        shown |= told
        disks.complete(shown)
    except OperationError as error:
        if arguments.state_dir:
            raise
        print(f"scsi2nvme: {error}", file=sys.stderr)  # the disks are shown all the same
    if arguments.json:
        print(json.dumps(shown, indent=2))
    else:
        tables = [disks.table(shown)] + ([namespaces.table(shown)] if shown["Devices"] else [])
        tables += filter(None, (namespaces.reasons(shown), namespaces.borrowed(shown)))
        for key, table in (
            ("Paths", namespaces.paths),
            ("Targets", namespaces.targets),
            ("Sessions", namespaces.sessions),
            ("Rings", namespaces.rings),
        ):
            if shown.get(key):
                tables.append(table(shown))
        print("\n\n".join(tables))
    return 0


VERBS = (
    Verb(
        "list",
        "list disks, controllers and namespaces",
        _LIST,
        (controller_specs, EXIT_STATUS),
        _arguments,
        _run,
        rank=20,
    ),
)
