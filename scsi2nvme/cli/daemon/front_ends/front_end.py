"""What the daemon asks of a front end, what it gives one, and the record that joins the two."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import field
from typing import Any, Protocol

from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.native.plane import PlaneController
from scsi2nvme.records import dataclass
from scsi2nvme.service import TaskService
from scsi2nvme.unit.logical_unit import LogicalUnit


@dataclass(frozen=True, slots=True)
class Served:
    """A controller that the daemon has opened, with its logical units by NSID.

    `number` is its place in the settings, `native` its half in the data plane, which the service
    knows by `cookie`, `disk` what the disk is called, if no other is called so. Where the name of
    its target is another's, `rival` is the SPEC of that other: it becomes no target. Those of one
    disk's controllers are in different portal groups: their tags tell them apart.
    """

    number: int
    settings: TargetSettings
    controller: Controller
    native: PlaneController
    cookie: int = 0
    units: dict[int, LogicalUnit] = field(default_factory=dict)
    disk: str = ""
    rival: str = ""
    portal_group: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called, the lasting name first, spelled as configuration strings have it."""
        return self.settings.spec.names(self.number, self.disk)

    @property
    def iqn(self) -> str:
        """The iSCSI name of the target that it becomes."""
        return self.settings.name(disk_name(self.controller.identity))


@dataclass(frozen=True, slots=True)
class Coming:
    """A controller that would come: its SPEC, and the LUNs of its own target; "": it has none."""

    spec: str
    iqn: str
    luns: frozenset[int]


@dataclass(frozen=True, slots=True)
class Prospect:
    """What would come with a change before front ends are configured, and which would have gone.

    `going` are numbers of controllers.
    """

    coming: tuple[Coming, ...] = ()
    going: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Serving:
    """What a front end is given: who runs its tasks, and on what.

    `served` is in the order of the settings; controllers stay until the front end has ended, and
    logical units until `FrontEnd.follow_inventory`. Unless it is `complete`, more may come.
    """

    settings: Settings
    service: TaskService
    served: Sequence[Served]
    complete: Callable[[], bool] = lambda: True


class FrontEnd(Protocol):
    """Where SCSI tasks come from, from `start` until its stack ends.

    Everything is called in the asyncio loop's thread.
    """

    def answer(self, answers: Answers) -> None:
        """Have those methods of the control API answered that are about it."""

    async def start(self, stack: AsyncExitStack) -> None:
        """Begin to serve; OperationError if that is impossible.

        What it pushes on `stack` ends it: it takes nothing new, lets what is under way end, for
        a bounded time, and closes every nexus that it has opened.
        """

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """The controller of these logical units was lost and is back, with nothing mapped."""

    async def follow_inventory(self) -> None:
        """Logical units or controllers came to `served`, or units went, or no more will come.

        The daemon then asks nexuses what they see.
        """

    def check_leaving(self, one: Served) -> None:
        """See that a controller may go; OperationError where somebody must give it up first."""

    async def leave(self, one: Served) -> None:
        """A controller is about to go: have nobody use it any more on return."""

    def check(self, settings: Settings, prospect: Prospect) -> None:
        """See that `configure` would be possible now; its errors say why it would not be."""

    async def configure(self, settings: Settings) -> None:
        """What is configured is this now: serve so, and have nexuses told what they see.

        OperationError or UsageError if that is impossible, and then all is as before.
        """

    def status(self) -> Mapping[str, Any]:
        """Return what `list` shows of it: values that JSON can hold."""

    def greeting(self) -> Iterator[str]:
        """Yield the lines that are printed once every front end has started."""

    def farewell(self) -> Iterator[str]:
        """Yield what is waited for when the daemon has been told to end, if there is anything."""


@dataclass(frozen=True, slots=True)
class FrontEndRecord:
    """How the daemon comes by a front end.

    `build` returns None where the settings ask for none. Then `list` shows `idle` of it, and
    whoever asks one of its methods is told the line of that in `absent`. Those of a lower `rank`
    start earlier, and end later.
    """

    rank: int
    build: Callable[[Serving], FrontEnd | None]
    idle: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
