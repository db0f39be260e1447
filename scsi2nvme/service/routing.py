"""NVMe commands of the engine's, by whichever route leads to the namespace.

What a controller has lost, or refused as it does not lead there, goes by another one. A command
that may have been executed is sent again where that is harmless: whoever sent the SCSI command
waits for it still, so that nobody has written the same blocks since with any answer to it. Else it
ends as if a reset had met it, which translations deal with: nobody knows whether it was executed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Protocol

from scsi2nvme.executor import DataExecutor
from scsi2nvme.native.plane import PlaneController
from scsi2nvme.nvme.command import AdminOpcode, Completed, Completion, Fuse, NvmeCommand
from scsi2nvme.nvme.repeating import repeatable
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.routes import Route

log = logging.getLogger(__name__)

LOST = StatusCode.HOST_PATHING_ERROR  # what everything of a dead controller's ends with
# The controller has not begun what ends so.
_REFUSED = frozenset(
    {StatusCode.ANA_PERSISTENT_LOSS, StatusCode.ANA_INACCESSIBLE, StatusCode.ANA_TRANSITION}
)
_OFF_COURSE = _REFUSED | {LOST}
# What translations take for "done or not", as after a reset.
UNCERTAIN = StatusCode.ABORTED_SQ_DELETION


@dataclass(eq=False, kw_only=True)
class ServedRoute(Route):
    """A route with who executes the engine's commands by it, and its half in the data plane.

    `label` is what its controller is called, `settings` return what sets again what is set in it.
    """

    executor: DataExecutor
    controller: PlaneController
    label: str
    settings: Callable[[], Sequence[NvmeCommand]] = tuple


class Chooser(Protocol):
    """Who knows which route is to be taken."""

    chosen: ServedRoute

    @property
    def every(self) -> Sequence[ServedRoute]:
        """All routes."""

    def choose(self) -> None:
        """Something has become of a route: take another one, if that is better."""


class RouteExecutor:
    """Executes NVMe commands by the route that is chosen, and if that fails by another one."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """Run the commands together."""
        attempt = _Attempt(self._chooser, commands, completed, party)
        attempt.begin(self._chooser.chosen)
        return attempt.stop

    async def reset(self, reason: str) -> None:
        """Reset the controller that is in use."""
        await self._chooser.chosen.executor.reset(reason)


class _Attempt:
    """Commands that run together, until they have ended by some route."""

    def __init__(
        self,
        chooser: Chooser,
        commands: tuple[NvmeCommand, ...],
        completed: Completed,
        party: Hashable,
    ) -> None:
        self._chooser = chooser
        self._commands = commands
        self._completed = completed
        self._party = party
        self._left = list(range(len(commands)))
        self._ends: dict[int, Completion] = {}
        self._tried: set[ServedRoute] = set()
        self._stop: Callable[[], None] = _nothing
        self._stopped = False

    def begin(self, route: ServedRoute) -> None:
        """Run what is left by a route."""
        self._tried.add(route)
        commands = tuple(self._commands[index] for index in self._left)
        self._stop = route.executor.start(commands, partial(self._over, route), self._party)

    def stop(self) -> None:
        """Nobody wants them any more."""
        self._stopped = True
        self._stop()

    def _over(self, route: ServedRoute, outcome: tuple[Completion, ...] | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._completed(outcome)
            return
        self._ends |= zip(self._left, outcome, strict=True)
        off = [index for index in self._left if self._ends[index].status in _OFF_COURSE]
        if not off:
            route.refused = False
            self._settle(route)
            return
        route.refused |= any(self._ends[index].status in _REFUSED for index in off)
        self._chooser.choose()
        other = self._chooser.chosen
        if other in self._tried or not other.leads:
            self._end()
        elif self._stopped or not all(map(self._may_repeat, off)):
            for index in off:
                self._ends[index] = Completion(UNCERTAIN)
            self._end()
        else:
            self._left = off
            try:
                self.begin(other)
            except Exception as error:
                self._completed(error)

    def _may_repeat(self, index: int) -> bool:
        command = self._commands[index]
        if command.memory is not None:
            return False  # another controller's is elsewhere
        refused = self._ends[index].status in _REFUSED and command.fuse is Fuse.NORMAL
        return refused or repeatable(command)

    def _settle(self, route: ServedRoute) -> None:
        """Set by the other routes as well what was set by one."""
        settings = tuple(command for command in self._commands if sets(command))
        if not settings or any(end.status for end in self._ends.values()):
            self._end()
            return
        others = [one for one in self._chooser.every if one is not route]
        also_set(others, settings, self._end, self._party)

    def _end(self) -> None:
        self._completed(tuple(self._ends[index] for index in range(len(self._commands))))


def off_course(lu: LogicalUnit | None, status: int) -> bool:
    """Whether only the controller does not lead to the blocks, and another one may."""
    return lu is not None and lu.routes.several and status in _OFF_COURSE


def sets(command: NvmeCommand) -> bool:
    """Whether a command sets something in the controller that executes it, and nowhere else."""
    return command.admin and command.opcode == AdminOpcode.SET_FEATURES


def also_set(
    others: Iterable[ServedRoute],
    settings: tuple[NvmeCommand, ...],
    ended: Callable[[], None],
    party: Hashable = None,
) -> None:
    """Set by other routes what was set by one; `ended` is called when all of them are over.

    One that is lost is brought in line when it returns; one that cannot be set is told of.
    """
    alive = [route for route in others if route.alive()]
    left = len(alive)
    if not left:
        ended()

    def over(route: ServedRoute, outcome: tuple[Completion, ...] | BaseException) -> None:
        nonlocal left
        left -= 1
        if isinstance(outcome, BaseException) or any(end.status for end in outcome):
            log.error(
                "controller %r: what was set by another controller cannot be set", route.label
            )
        if not left:
            ended()

    for route in alive:
        try:
            route.executor.start(settings, partial(over, route), party)
        except Exception as error:  # it is being closed: whoever waits does not wait for that
            over(route, error)


def _nothing() -> None:
    """Stop nothing."""
