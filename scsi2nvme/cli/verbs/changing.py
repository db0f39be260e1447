"""Verbs that change what the running daemon serves, a thing at a time, and to whom."""

from __future__ import annotations

import argparse
from typing import Any

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_LASTS = "It lasts until the daemon ends, or longer with `saveconfig`."

_ADD_TARGET = f"""\
Have the running daemon's portal make a target without LUNs: `map` gives it some. Controllers
become targets by themselves unless they were added with --no-target. {_LASTS}"""

_REMOVE_TARGET = f"""\
Have the running daemon's portal end a target that was made by `add-target` or [[targets]]. Its
initiators are asked to log out, and have two seconds for that. {_LASTS}"""

_MAP = f"""\
Make a namespace of a controller of the running daemon a LUN of a target that was made by
`add-target` or [[targets]]. Initiators there are told that their LUNs have changed. {_LASTS}"""

_UNMAP = f"""\
Take a LUN from a target. Initiators there are told; what is under way there ends, and what comes
later is answered LOGICAL UNIT NOT SUPPORTED. {_LASTS}"""

_ADD_PORTAL = f"Have the running daemon's portal listen on one more address. {_LASTS}"

_REMOVE_PORTAL = f"""\
Have the running daemon's portal listen on an address no more. Who has logged in there stays:
see `end-session`. {_LASTS}"""

_ALLOW = f"""\
Let an initiator log in to a target of the running daemon, or to all. Once any initiator is allowed
nobody else may log in, and sessions of others are asked to log out. LUNs must be there. {_LASTS}"""

_DENY = f"""\
Keep an initiator from a target of the running daemon, or from all. Its sessions there are asked to
log out, and have two seconds for that. {_LASTS}"""

_SECRET = f"""\
Set by which CHAP name and secret initiators of the running daemon prove who they are from now on,
and we to them. Sessions stay. The secret is the first line of standard input, which is
not shown. {_LASTS}"""


def _change(arguments: argparse.Namespace, method: Any, params: object) -> int:
    from scsi2nvme.cli.control import ask

    for line in ask(state_dir(arguments), method, params):
        print(line)
    return 0


def _target_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="IQN", help="its iSCSI name")


def _add_target_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    parser.add_argument("--alias", metavar="TEXT", default="", help="what initiators may show")
    add_state_dir(parser)


def _add_target(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing, configuration

    new = configuration.TargetTable(arguments.target, arguments.alias)
    return _change(arguments, changing.ADD_TARGET, new)


def _remove_target_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    add_state_dir(parser)


def _remove_target(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    return _change(arguments, changing.REMOVE_TARGET, changing.WhichTarget(arguments.target))


def _map_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    parser.add_argument("lun", metavar="LUN", type=int)
    parser.add_argument("controller", metavar="CONTROLLER", help="its name, number or SPEC")
    parser.add_argument("nsid", metavar="NSID", type=int, nargs="?", default=1, help="(default 1)")
    add_state_dir(parser)


def _map(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    new = changing.NewLun(arguments.target, arguments.lun, arguments.controller, arguments.nsid)
    return _change(arguments, changing.MAP, new)


def _unmap_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    parser.add_argument("lun", metavar="LUN", type=int)
    add_state_dir(parser)


def _unmap(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    return _change(arguments, changing.UNMAP, changing.WhichLun(arguments.target, arguments.lun))


def _portal_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("portal", metavar="ADDR:PORT", help="as `serve --portal` takes it")
    add_state_dir(parser)


def _add_portal(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    return _change(arguments, changing.ADD_PORTAL, changing.WhichPortal(arguments.portal))


def _remove_portal(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    return _change(arguments, changing.REMOVE_PORTAL, changing.WhichPortal(arguments.portal))


def _initiator_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("initiator", metavar="INITIATOR", help="its iSCSI name")
    parser.add_argument("target", metavar="IQN", nargs="?", help="one target only")
    add_state_dir(parser)


def _allow_arguments(parser: argparse.ArgumentParser) -> None:
    _initiator_arguments(parser)
    parser.add_argument(
        "--lun",
        metavar="LUN",
        type=int,
        action="append",
        help="a LUN that it sees from now on; may be repeated (default: as it was, else all)",
    )


def _allow(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    luns = None if arguments.lun is None else tuple(arguments.lun)
    new = changing.Allowance(arguments.initiator, arguments.target, luns)
    return _change(arguments, changing.ALLOW, new)


def _deny(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing

    which = changing.Denial(arguments.initiator, arguments.target)
    return _change(arguments, changing.DENY, which)


def _secret_arguments(parser: argparse.ArgumentParser) -> None:
    from typing import get_args

    from scsi2nvme.api.changing import SecretName

    parser.add_argument("which", choices=get_args(SecretName), help="whose proof, and of what")
    parser.add_argument("name", metavar="NAME", nargs="?", help="the CHAP name; none: no secret")
    parser.add_argument("--initiator", metavar="INITIATOR", help="for this one only")
    add_state_dir(parser)


def _secret(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import changing
    from scsi2nvme.api.configuration import Credentials

    credentials = None
    if arguments.name is not None:
        credentials = Credentials(arguments.name, _typed())
    new = changing.NewSecret(arguments.which, credentials, arguments.initiator)
    return _change(arguments, changing.SET_SECRET, new)


def _typed() -> str:
    """Return the first line of standard input, unseen."""
    import sys
    from getpass import getpass

    from scsi2nvme.cli.errors import UsageError

    try:
        if sys.stdin.isatty():
            return getpass("Secret: ")
        return sys.stdin.readline().rstrip("\n")
    except (EOFError, UnicodeDecodeError):
        raise UsageError("set-secret: the secret on standard input is no line of text") from None


_ROWS = (
    ("add-target", "make a target without LUNs", _ADD_TARGET, _add_target_arguments, _add_target),
    ("remove-target", "end a target", _REMOVE_TARGET, _remove_target_arguments, _remove_target),
    ("map", "make a namespace a LUN of a target", _MAP, _map_arguments, _map),
    ("unmap", "take a LUN from a target", _UNMAP, _unmap_arguments, _unmap),
    ("add-portal", "listen on one more address", _ADD_PORTAL, _portal_arguments, _add_portal),
    (
        "remove-portal",
        "listen on an address no more",
        _REMOVE_PORTAL,
        _portal_arguments,
        _remove_portal,
    ),
    ("allow", "let an initiator use targets", _ALLOW, _allow_arguments, _allow),
    ("deny", "keep an initiator from targets", _DENY, _initiator_arguments, _deny),
    ("set-secret", "set a CHAP secret", _SECRET, _secret_arguments, _secret),
)

VERBS = tuple(
    Verb(name, doc, description, (EXIT_STATUS,), arguments, run, rank=52)
    for name, doc, description, arguments, run in _ROWS
)
