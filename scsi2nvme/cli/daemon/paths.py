"""Which controllers lead to what several of them share, for people who operate both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scsi2nvme.api.statistics import UnitPath
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.commands.target_port_groups import access_state
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.routes import Route


def paths(served: Sequence[Served]) -> Iterator[dict[str, Any]]:
    """Yield each controller of each logical unit that has several, as `list --json` shows them.

    `Access` is what initiators are told of its group, `Way` what it says itself of the namespace.
    """
    for one in served:
        for nsid, lu in one.units.items():
            for _, route in _routes((one,), lu):
                path = _path(one.settings.spec.text, lu, route)
                yield {
                    "SerialNumber": route.facts.controller.text("sn"),
                    "NameSpace": nsid,
                    "Controller": one.number,
                    "DevicePath": path.controller,
                    "Group": path.group,
                    "InUse": path.in_use,
                    "Access": _words(access_state(lu, route.group).name).replace(" ", "/", 1),
                    "Way": path.way,
                }


def unit_paths(served: Sequence[Served], lu: LogicalUnit) -> tuple[UnitPath, ...]:
    """Return the controllers of a logical unit that has several, as its counts show them."""
    routes = list(_routes(served, lu))
    names = [one.names[0] for one, _ in routes]
    return tuple(
        _path(name if names.count(name) == 1 else one.settings.spec.text, lu, route)
        for name, (one, route) in zip(names, routes, strict=True)
    )


def _routes(served: Sequence[Served], lu: LogicalUnit) -> Iterator[tuple[Served, Route]]:
    for one in served:
        for route in lu.routes.every if lu.routes.several else ():
            if route.group == one.portal_group and lu in one.units.values():
                yield one, route


def _path(controller: str, lu: LogicalUnit, route: Route) -> UnitPath:
    return UnitPath(controller, route.group, route is lu.routes.active, _way(route))


def _way(route: Route) -> str:
    if not route.alive():
        return "lost"
    return "refused" if route.refused else _words(route.facts.ana_state.name)


def _words(name: str) -> str:
    return name.lower().replace("_", " ").replace("non optimized", "non-optimized")
