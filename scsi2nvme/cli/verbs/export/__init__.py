"""`export` and `unexport`: namespaces of the running daemon in the kernel's iSCSI target."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_EXPORT = """\
Export namespaces of the running daemon (`serve --tcmu`) by the kernel's iSCSI target: LUN n
is namespace n + 1. What the target has and is not asked for goes; it may be repeated. The
configuration is saved as targetcli saves it."""


def _target_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller",
        metavar="CONTROLLER",
        help="its number in the daemon, or its PCI address",
    )
    parser.add_argument(
        "--iqn",
        metavar="NAME",
        help="the target's iSCSI name (default iqn.2026-11.io.github.scsi2nvme:CONTROLLER)",
    )
    add_state_dir(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    parser.add_argument(
        "-n",
        "--namespace-id",
        metavar="NSID",
        type=int,
        action="append",
        default=[],
        help="a namespace to export; may be repeated (default: all)",
    )
    parser.add_argument(
        "--portal",
        metavar="ADDR:PORT",
        action="append",
        default=[],
        help="where the kernel is to listen; may be repeated (default 127.0.0.1:3260)",
    )
    parser.add_argument(
        "--initiator",
        metavar="NAME",
        action="append",
        default=[],
        help="who may log in; may be repeated (default: everyone)",
    )
    parser.add_argument(
        "--chap",
        metavar="FILE",
        help="a file with the tables [chap] and, perhaps, [mutual_chap] of a configuration",
    )


def _export(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.export import kernel_target

    done = kernel_target.export(
        arguments.controller,
        state_dir(arguments),
        nsids=arguments.namespace_id,
        iqn=arguments.iqn,
        portals=arguments.portal,
        initiators=arguments.initiator,
        chap=arguments.chap,
    )
    print("\n".join(kernel_target.lines(done)))
    return 0


def _unexport(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.export import kernel_target

    name, was_there = kernel_target.unexport(
        arguments.controller, state_dir(arguments), iqn=arguments.iqn
    )
    print(f"target {name}: {'gone' if was_there else 'there was none'}")
    return 0


VERBS = (
    Verb(
        "export",
        "export namespaces by the kernel's iSCSI target",
        _EXPORT,
        (EXIT_STATUS,),
        _export_arguments,
        _export,
        rank=60,
    ),
    Verb(
        "unexport",
        "take such a target down",
        "Take a target of the kernel down that `export` made, and its backstores with it.",
        (EXIT_STATUS,),
        _target_arguments,
        _unexport,
        rank=61,
    ),
)
