"""What the portal needs of the composition: a task service over a data plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from scsi2nvme.native.plane import Event, Plane, PlaneNexus
    from scsi2nvme.scsi.task_management import TaskManagement, TaskManagementResponse
    from scsi2nvme.unit.logical_unit import Nexus


class TaskService(Protocol):
    """Runs the tasks of I_T nexuses. Everything is called in the asyncio loop's thread."""

    @property
    def plane(self) -> Plane:
        """The data plane on which sessions are opened."""

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs. A discovery session's nexus has none."""

    async def close_nexus(self, nexus: Nexus, plane_nexus: PlaneNexus, *, lost: bool) -> None:
        """End a nexus whose iSCSI session is closed already; frees `plane_nexus`.

        Returns when its tasks have drained and its LUNs are detached, with I_T
        NEXUS LOSS OCCURRED waiting for its return if it was `lost`.
        """

    def cookie(self, handler: Callable[[Event], None]) -> int:
        """Register who gets the PDU and CONN_CLOSED events of one connection."""

    def release(self, cookie: int) -> None:
        """Forget a handler; events that are still under way for it are dropped."""

    async def drained(self, start: Callable[[int], None]) -> int:
        """Call `start` with a token and wait for its DRAINED; returns the count."""

    async def task_management(
        self,
        function: TaskManagement,
        nexus: Nexus,
        plane_nexus: PlaneNexus,
        lun: int | None,
        itt: int,
        up_to: int | None = None,
    ) -> TaskManagementResponse:
        """Run one function to its end.

        `lun` is one of `nexus.luns`, None for I_T NEXUS RESET; `itt` names the
        task of ABORT TASK and QUERY TASK. Commands of the nexus that came after
        `up_to`, an event's `arrived`, go on.
        """
