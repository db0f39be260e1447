"""Which controllers lead to what several of them share, for people who operate both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.commands.target_port_groups import access_state
from scsi2nvme.unit.routes import Route


def paths(served: Sequence[Served]) -> Iterator[dict[str, Any]]:
    """Yield each controller of each logical unit that has several, as `list --json` shows them.

    `Access` is what initiators are told of its group, `Way` what it says itself of the namespace.
    """
    for one in served:
        for nsid, lu in one.units.items():
            for route in lu.routes.every if lu.routes.several else ():
                if route.group == one.portal_group:
                    yield {
                        "SerialNumber": route.facts.controller.text("sn"),
                        "NameSpace": nsid,
                        "Controller": one.number,
                        "DevicePath": one.settings.spec.text,
                        "Group": route.group,
                        "InUse": route is lu.routes.active,
                        "Access": _words(access_state(lu, route.group).name).replace(" ", "/", 1),
                        "Way": _way(route),
                    }


def _way(route: Route) -> str:
    if not route.alive():
        return "lost"
    return "refused" if route.refused else _words(route.facts.ana_state.name)


def _words(name: str) -> str:
    return name.lower().replace("_", " ").replace("non optimized", "non-optimized")
