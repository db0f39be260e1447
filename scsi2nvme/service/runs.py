"""Tasks under way in the engine's hands, and when one that is aborted is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scsi2nvme import engine
from scsi2nvme.native.plane import Event, Holder, PlaneTask
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.sharing import Asking

# By then the controller has been told to abort the commands of an aborted task, and is being reset.
ANSWER_SECONDS = 1.75
_AGAIN_SECONDS = 0.1


@dataclass(eq=False, slots=True)
class Run:
    """A task under way, of which command, and who waits for its answer.

    `begun` is the command where it runs alone and has begun; `stop` has it end soon. `holder` keeps
    its blocks for it, until the run is over at the latest.
    """

    task: PlaneTask
    request: engine.Request | None = None
    begun: engine.Request | None = None
    stop: Callable[[], object] = lambda: None
    asking: Asking[Event] | None = None
    holder: Holder | None = None

    @property
    def goes_on(self) -> bool:
        """Whether nothing stops what it has begun."""
        begun = self.begun
        if begun is None or begun.command is None or begun.unit is None:
            return False
        return begun.command.goes_on(begun.unit)

    def release(self, registry: Registry) -> None:
        """Let others have its blocks."""
        if self.holder is not None and not registry.closed:
            self.holder.release()

    def let_go(self) -> None:
        """End an aborted task; how is not told."""
        if not self.task.ended:
            self.task.end(Status.BUSY)

    def answer_in_time(self, registry: Registry) -> None:
        """It is aborted: let go of it in time, whether the controller has ended it or not."""
        asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._answer, registry)

    def _answer(self, registry: Registry) -> None:
        if self.task.ended:
            return
        if self._may_be_overtaken(registry):
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._answer, registry)
        else:
            self.let_go()

    def _may_be_overtaken(self, registry: Registry) -> bool:
        """Whether what it still does could follow what a later task does to the same blocks.

        None begins while the controller is reset, nor beside what is exclusive.
        """
        request = self.request
        if request is None or request.command is None or request.unit is None:
            return False
        if request.command.third_party:
            return any(not unit.paused for unit in registry.units.values())
        if request.command.exclusive or not request.command.modifies_medium:
            return False
        unit = registry.units.get(request.unit)
        return unit is not None and not unit.paused
