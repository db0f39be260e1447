"""Our portal as nodes: targets, with LUNs, initiators, portals and sessions."""

from __future__ import annotations

from collections.abc import Iterable

from scsi2nvme.api import changing, configuration, methods
from scsi2nvme.cli.sizes import size
from scsi2nvme.cli.verbs.shell.disks import known_specs
from scsi2nvme.cli.verbs.shell.kind import Command, Kind, Place, Summary
from scsi2nvme.cli.verbs.shell.rows import Children, Row, count, named, shown


def _sessions(place: Place) -> list[Row]:
    """Return a target's sessions."""
    name = place.about["Target"]
    return [each for each in shown(place, "Sessions") if each["Target"] == name]


def _initiators(place: Place) -> Iterable[str]:
    return dict.fromkeys(each["Initiator"] for each in _sessions(place))


_END = "what is under way in the session of {initiator} is lost"

SESSION = Kind(
    lambda place: (count(place.about["Connections"], "connection"), True),
    commands=(
        Command(
            "end",
            methods.END_SESSION,
            lambda about: {
                "initiator": about["Initiator"],
                "isid": about["ISID"],
                "target": about["Target"],
            },
            _END,
        ),
    ),
)
SESSIONS = Kind(
    lambda place: (count(len(_sessions(place)), "session"), None),
    lambda place: named(
        SESSION, ((f"{each['Initiator']}:{each['ISID']}", each) for each in _sessions(place))
    ),
    (
        Command(
            "end",
            methods.END_SESSION,
            lambda about: {"target": about["Target"]},
            _END,
            {
                "initiator": _initiators,
                "isid": lambda place: (each["ISID"] for each in _sessions(place)),
            },
        ),
    ),
)


def _lun(place: Place) -> Summary:
    row = place.about
    return f"{row['DevicePath']} namespace {row['NameSpace']}, {size(row['PhysicalSize'])}", None


def _of_target(about: Row) -> Row:
    return {"target": about["Target"]}


LUN = Kind(
    _lun,
    commands=(
        Command(
            "unmap",
            changing.UNMAP,
            lambda about: {"target": about["Target"], "lun": about["LUN"]},
            "initiators of {target} lose {node}",
        ),
    ),
)
LUNS = Kind(
    lambda place: (count(len(place.about["LUNs"]), "LUN"), None),
    lambda place: {
        f"lun{row['LUN']}": (LUN, row | {"Target": place.about["Target"]})
        for row in place.about["LUNs"]
    },
    (Command("map", changing.MAP, _of_target, values={"controller": known_specs}),),
)

PORTAL = Kind(
    lambda place: ("listening", True),
    commands=(
        Command(
            "remove",
            changing.REMOVE_PORTAL,
            lambda about: {"portal": about},
            "nobody can log in at {node} any more, to whichever target",
        ),
    ),
)
PORTALS = Kind(
    lambda place: (count(len(place.about["Portals"]), "portal"), None),
    lambda place: {each: (PORTAL, each) for each in place.about["Portals"]},
    (Command("add", changing.ADD_PORTAL),),
)


def _allowed(place: Place) -> list[configuration.InitiatorTable]:
    """Return the initiators that are allowed to use a target; none where anybody is."""
    return [
        one
        for one in place.view.of(configuration.GET).initiators
        if one.targets is None or place.about["Target"] in one.targets
    ]


def _acls(place: Place) -> Summary:
    if not place.view.of(configuration.GET).initiators:
        return "anybody may log in", None
    return count(len(_allowed(place)), "initiator"), None


def _acl(place: Place) -> Summary:
    one = place.about["Initiator"]
    seen = "all LUNs" if one.luns is None else f"LUNs {', '.join(map(str, one.luns))}"
    return f"{seen}, a secret of its own" if one.chap else seen, None


_DENY = "sessions of {initiator} with {target} are asked to log out"

ACL = Kind(
    _acl,
    commands=(
        Command(
            "deny",
            changing.DENY,
            lambda about: {"initiator": about["Initiator"].name, "target": about["Target"]},
            _DENY,
        ),
    ),
)
ACLS = Kind(
    _acls,
    lambda place: named(
        ACL,
        (
            (one.name, {"Initiator": one, "Target": place.about["Target"]})
            for one in _allowed(place)
        ),
    ),
    (
        Command(
            "allow",
            changing.ALLOW,
            _of_target,
            "from now on nobody may log in but who is allowed, {initiator} among them",
            {"initiator": _initiators},
        ),
        Command(
            "deny",
            changing.DENY,
            _of_target,
            _DENY,
            {"initiator": lambda place: (one.name for one in _allowed(place))},
        ),
    ),
)
_PARTS: dict[str, Kind] = {"acls": ACLS, "luns": LUNS, "portals": PORTALS, "sessions": SESSIONS}


def _target(place: Place) -> Summary:
    luns, sessions = len(place.about["LUNs"]), len(_sessions(place))
    words = f"{count(luns, 'LUN')}, {count(sessions, 'session')}"
    return (words, True) if luns else (f"{words}: nothing to serve", False)


TARGET = Kind(
    _target,
    lambda place: {name: (kind, place.about) for name, kind in _PARTS.items()},
    (Command("remove", changing.REMOVE_TARGET, _of_target, "its initiators lose {node}"),),
)
_OF_DISCOVERY = {"Target": ""}  # as the sessions have it


def _of_iscsi(place: Place) -> Children:
    rows = ((each["Target"], each) for each in shown(place, "Targets"))
    return {"discovery": (SESSIONS, _OF_DISCOVERY), **named(TARGET, rows)}


ISCSI = Kind(
    lambda place: (count(len(shown(place, "Targets")), "target"), None),
    _of_iscsi,
    (Command("add", changing.ADD_TARGET, lambda about: {"luns": ()}),),
)
