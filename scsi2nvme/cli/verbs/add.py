"""`add` and `remove`: controllers that come and go while others are served."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, controller_specs, state_dir

_ADD = """\
Have the running daemon serve one more controller: its namespaces become LUNs of a target of our
portal, and `export` may publish them through the kernel's. It is served until the daemon ends; to
have it there the next time as well, run `saveconfig`."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="the controller")
    parser.add_argument("--iqn", metavar="NAME", help="its target's name, else the disk's")
    parser.add_argument("--alias", metavar="TEXT", default="", help="what initiators may show")
    parser.add_argument(
        "--no-target", action="store_true", help="have it be LUNs of other targets only"
    )
    add_state_dir(parser)


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.config import iscsi_name
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.spec import parse

    parse(arguments.spec)
    if arguments.iqn is not None:
        iscsi_name(arguments.iqn, "target name")
    new = methods.NewController(
        arguments.spec, arguments.iqn, arguments.alias, not arguments.no_target
    )
    added = ask(state_dir(arguments), methods.ADD, new)
    where = f", target {added.target}" if added.target else ""
    count = len(added.namespaces)
    why = "" if count else "; `scsi2nvme events` and the daemon's messages say why"
    print(f"controller {added.controller}{where}: {count} namespace{'s' * (count != 1)}{why}")
    return 0


_REMOVE = """\
Have the running daemon serve a controller no more, and let go of it. Sessions with its target end;
what was acknowledged is written back. Refused while the kernel's target has its namespaces:
`unexport` first. Its names stay its own until `forget`."""


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("controller", metavar="CONTROLLER", help="its name or number")
    add_state_dir(parser)


def _remove(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import methods
    from scsi2nvme.cli.control import ask

    which = methods.WhichController(arguments.controller)
    ask(state_dir(arguments), methods.REMOVE, which)
    return 0


VERBS = (
    Verb(
        "add",
        "serve one more controller",
        _ADD,
        (controller_specs, EXIT_STATUS),
        _arguments,
        _run,
        rank=50,
    ),
    Verb(
        "remove",
        "serve a controller no more",
        _REMOVE,
        (EXIT_STATUS,),
        _remove_arguments,
        _remove,
        rank=51,
    ),
)
