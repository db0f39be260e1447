"""By which of its subsystem's controllers a logical unit is reached.

A disk may have several controllers, each with a way of its own to the same namespaces. Where more
than one of them is served, what they lead to is one logical unit. It is reached by one of them at a
time, the *active* route: so reservations, the order of commands and what must be alone on blocks
are the logical unit's, whatever port a command comes by. Each controller has a target port group;
that of the active route is active/optimized, and commands that come by others go the same way.

Spec: SPC-4 5.15.2 (asymmetric logical unit access); NVMe Base 2.0c 2.4.1, 8.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Any

from scsi2nvme.fields import Values
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.records import dataclass


class AccessState(IntEnum):
    """Asymmetric access states, as far as there are any. Spec: SPC-4 6.37."""

    ACTIVE_OPTIMIZED = 0x0
    ACTIVE_NON_OPTIMIZED = 0x1
    UNAVAILABLE = 0x3
    TRANSITIONING = 0xF


class AccessChange(IntEnum):
    """What has brought about the states that there are: STATUS CODE. Spec: SPC-4 6.37."""

    NONE = 0
    EXPLICIT = 1  # SET TARGET PORT GROUPS
    IMPLICIT = 2


# What a controller says of its way to a namespace is what we say of the way to the logical unit.
ACCESS = {
    AnaState.OPTIMIZED: AccessState.ACTIVE_OPTIMIZED,
    AnaState.NON_OPTIMIZED: AccessState.ACTIVE_NON_OPTIMIZED,
    AnaState.INACCESSIBLE: AccessState.UNAVAILABLE,
    AnaState.PERSISTENT_LOSS: AccessState.UNAVAILABLE,
    AnaState.CHANGE: AccessState.TRANSITIONING,
}
_RANKS = {AnaState.OPTIMIZED: 0, AnaState.NON_OPTIMIZED: 1, AnaState.CHANGE: 2}
_LEADS = 1  # the last rank of a route that leads there
_NOWHERE, _DEAD = 3, 4


@dataclass(eq=False)
class Route:
    """A controller, with its target port group. `facts` are what it says of the namespace.

    `alive`: it was not lost. `refused`: it has refused a command as not leading to the namespace,
    or was lost, and has not been heard of since.
    """

    group: int
    facts: NamespaceFacts
    alive: Callable[[], bool]
    refused: bool = False

    @property
    def rank(self) -> int:
        """The less, the better."""
        if not self.alive():
            return _DEAD
        return _NOWHERE if self.refused else _RANKS.get(self.facts.ana_state, _NOWHERE)

    @property
    def leads(self) -> bool:
        """Whether commands reach the namespace by it, as far as is known."""
        return self.rank <= _LEADS


class Routes:
    """The routes of a logical unit, if it has several; else none is listed.

    `activate` has commands go by another one, as an initiator asks; it is called while nothing is
    under way.
    """

    def __init__(self) -> None:
        self.every: tuple[Route, ...] = ()
        self.active: Route | None = None
        self.change = AccessChange.NONE
        self.activate: Callable[[Route, Any], None] = lambda route, asker: None

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.every) > 1

    def formatted(self, namespace: Values) -> None:
        """The namespace has other blocks, whenever its controllers tell of them."""
        for route in self.every:
            route.facts = replace(route.facts, namespace=namespace)

    def better_than(self, chosen: Route) -> Route | None:
        """Return the route that is to be taken instead of the one that was, None: there is none."""
        best = min(self.every, key=lambda route: (route.rank, route is not chosen))
        gains = best.leads or (not chosen.alive() and best.alive())
        return best if best.rank < chosen.rank and gains else None
