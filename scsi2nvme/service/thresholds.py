"""Who watches thresholds: asks now and then how much of a thin namespace is in use."""

from __future__ import annotations

import asyncio
import logging

from scsi2nvme.background import Background
from scsi2nvme.commands import thresholds
from scsi2nvme.executor import play
from scsi2nvme.scsi.result import NvmeError
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.readiness import Readiness

log = logging.getLogger(__name__)

FIRST_S, PAUSE_S = 1.0, 30.0  # until the first look, between looks


class Watch:
    """Looks after the thresholds of one logical unit, while somebody wants to know of any."""

    def __init__(self, unit: ServedUnit, background: Background) -> None:
        self._unit = unit
        self._background = background
        self._next: asyncio.TimerHandle | None = None
        self._looking = False
        self._stopped = False

    def adjust(self) -> None:
        """The logical unit may have changed: begin to look, or do so no more."""
        wanted = self._wanted
        if not wanted and self._next is not None:
            self._next.cancel()
            self._next = None
        elif wanted and self._next is None and not self._looking:
            self._wait(FIRST_S)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        self.adjust()

    @property
    def _wanted(self) -> bool:
        lu = self._unit.lu
        return not self._stopped and lu.readiness is Readiness.READY and thresholds.watched(lu)

    def _wait(self, seconds: float) -> None:
        self._next = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._next, self._looking = None, True
        self._background.spawn(self._check())

    async def _check(self) -> None:
        unit = self._unit
        try:
            await play(thresholds.check(unit.lu), unit.on_behalf(unit))
        except NvmeError as error:
            log.debug("namespace %d: what is in use is not known: %s", unit.lu.nsid, error)
        finally:
            self._looking = False
            if self._wanted:
                self._wait(PAUSE_S)
