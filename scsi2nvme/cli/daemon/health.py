"""How well the controllers are: their SMART logs, as fresh as can be had without waiting long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from scsi2nvme.api.methods import ControllerHealth
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass

FRESH_S = 10.0  # for so long a log is told again
PATIENCE_S = 1.0  # for controllers to answer; who is late is told of the next time
ZERO_CELSIUS_K = 273
# Bits of the critical warning. Spec: NVMe Base 2.0c figure 208.
WARNINGS = ("spare", "temperature", "reliability", "read_only", "backup_failed", "memory_region")
STALE_S = 300.0  # what is older is not told: nobody knows


def warnings(critical_warning: int) -> tuple[str, ...]:
    """Return the names of the bits of a critical warning."""
    return tuple(name for bit, name in enumerate(WARNINGS) if critical_warning >> bit & 1)


@dataclass(frozen=True, slots=True)
class Health:
    """A controller's SMART log, and how old it is."""

    controller: str
    smart: Values
    age_s: float

    def told(self) -> ControllerHealth:
        """Return what the control API, and the status page, tell of it."""
        return ControllerHealth(
            self.controller,
            self.smart.temperature - ZERO_CELSIUS_K,
            self.smart.percent_used,
            self.smart.avail_spare,
            self.smart.media_errors,
            warnings(self.smart.critical_warning),
            self.age_s,
        )


class HealthReader:
    """Reads the SMART logs of what is served, for whoever asks; of the asyncio loop's thread."""

    def __init__(
        self, served: Sequence[Served], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._served = served
        self._clock = clock
        self._read: dict[Controller, tuple[Values, float]] = {}  # and when that was
        self._reading: dict[Controller, asyncio.Task[None]] = {}

    async def look(self) -> tuple[Health, ...]:
        """Return what is known by now, after a bounded time."""
        there = {one.controller for one in self._served}
        self._read = {which: read for which, read in self._read.items() if which in there}
        for controller in there - self._reading.keys():
            if self._age_s(controller) >= FRESH_S:
                task = asyncio.get_running_loop().create_task(self._ask(controller))
                self._reading[controller] = task
        if self._reading:
            await asyncio.wait(self._reading.values(), timeout=PATIENCE_S)
        return tuple(self._known())

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    def _age_s(self, controller: Controller) -> float:
        _, at = self._read.get(controller, (None, -STALE_S))
        return self._clock() - at

    async def _ask(self, controller: Controller) -> None:
        try:
            smart = await controller.commands.smart_log()
            self._read[controller] = smart, self._clock()
        except ControllerError:
            pass  # its state is told of besides, and its last log is for a while
        finally:
            del self._reading[controller]

    def _known(self) -> Iterator[Health]:
        for one in self._served:
            if one.controller in self._read and self._age_s(one.controller) < STALE_S:
                smart, _ = self._read[one.controller]
                yield Health(one.names[0], smart, self._age_s(one.controller))
