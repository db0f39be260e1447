"""Firmware that a controller begins to run while it is up.

It may execute nothing meanwhile, for as long as MTFA says at most, and tells of that by CSTS.PP
and an event. Commands that are placed wait in its queues. Afterwards it may be another one by its
Identify data. Spec: NVMe Base 2.0c 3.11 (firmware update process), 3.1.3.6 (CSTS).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from scsi2nvme.drivers.nvme.bringup import Clock
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Completed, Completion, NvmeCommand

_log = logging.getLogger(__name__)

_ACTIVATE_AT_ONCE = 3  # CA of Firmware Commit
_POLL_S = 0.1
_UNTOLD_S = 60.0  # where MTFA is not told


class Activating(Protocol):
    """What is needed of the controller."""

    identity: Values

    @property
    def name(self) -> str:
        """Which controller it is, for people."""

    def status(self) -> Values:
        """Return CSTS; ControllerGoneError when it reads all ones."""


def activates(command: NvmeCommand) -> bool:
    """Whether a command has the controller run other firmware at once."""
    commits = command.admin and command.opcode == AdminOpcode.FIRMWARE_COMMIT
    return commits and command.cdw10 >> 3 & 7 == _ACTIVATE_AT_ONCE


class Activation:
    """Follows one controller. `identify` reads again what it is, and its namespaces.

    It returns the NSIDs of those that changed, which `report` is told of; `spawn` runs a coroutine.
    """

    def __init__(
        self,
        controller: Activating,
        clock: Clock,
        identify: Callable[[], Awaitable[frozenset[int]]],
        report: Callable[[frozenset[int]], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._controller = controller
        self._clock = clock
        self._identify = identify
        self._report = report
        self._spawn = spawn
        self._paused_at: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the controller executes nothing now, and may still take so long."""
        try:
            pauses = bool(self._controller.status().pp)
        except (ControllerGoneError, TransportError):
            pauses = False
        if not pauses:
            self._paused_at = None
            return False
        now = self._clock.now()
        if self._paused_at is None:
            self._paused_at = now
            _log.warning("%s: paused, to activate firmware", self._controller.name)
        return now - self._paused_at <= (self._controller.identity.mtfa / 10 or _UNTOLD_S)

    async def ended(self) -> frozenset[int]:
        """Wait until the controller goes on; return the NSIDs of namespaces that changed.

        One that does not go on in its time is returned from as well: recovery deals with that.
        """
        while self.paused:
            await self._clock.sleep(_POLL_S)
        return await self._identify()

    def following(self, commands: Sequence[NvmeCommand], completed: Completed) -> Completed:
        """Return what takes the completions of such commands, and looks what they have changed."""
        if not any(map(activates, commands)):
            return completed

        def ended(outcome: tuple[Completion, ...] | BaseException) -> None:
            completed(outcome)
            if isinstance(outcome, tuple) and not all(each.status for each in outcome):
                self._spawn(self._follow())

        return ended

    async def _follow(self) -> None:
        try:
            changed = await self.ended()
        except ControllerError as error:
            _log.warning("%s: what it is now cannot be read: %s", self._controller.name, error)
            return
        self._report(changed)
