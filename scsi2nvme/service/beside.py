"""What runs beside the commands of a logical unit, and is none of them: I/O that people write.

What has its logical unit alone waits for it, as for commands. It waits likewise, but not for what
takes long: that a format begins gives the length of blocks another meaning, and whoever reads that
a write was done must not have it erased.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness


class TakesLongError(Exception):
    """What would have to be waited for takes long; the message says what it is."""


def _what_takes_long(lu: LogicalUnit) -> str:
    if lu.readiness is Readiness.FORMATTING:
        return "is being formatted"
    return "is being sanitized" if lu.sanitizing.running else ""


class _Patience:
    """Ends a wait as soon as what takes long has begun: a follower of the logical unit."""

    def __init__(self, lu: LogicalUnit, timeout: asyncio.Timeout) -> None:
        self._lu = lu
        self._timeout = timeout
        self.ended_by = ""

    def adjust(self) -> None:
        """The logical unit may have changed."""
        if not self.ended_by and (what := _what_takes_long(self._lu)):
            self.ended_by = what
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def stop(self) -> None:
        """It is served no more: who waits has its turn nevertheless."""


@asynccontextmanager
async def beside(unit: ServedUnit) -> AsyncIterator[None]:
    """Have nothing of a logical unit be alone for the body; TakesLongError if something is.

    GoneError ends it where the logical unit goes, as tasks are aborted then.
    """
    if what := _what_takes_long(unit.lu):
        raise TakesLongError(what)
    async with unit.guest(), AsyncExitStack() as stack:
        await _wait(unit, stack)
        if what := _what_takes_long(unit.lu):  # it goes on by itself, and has let go of the lock
            raise TakesLongError(what)
        yield


async def _wait(unit: ServedUnit, stack: AsyncExitStack) -> None:
    """Hold the lock until the stack is left; TakesLongError once that would take long."""
    async with AsyncExitStack() as waiting:
        timeout = asyncio.timeout(None)
        patience = _Patience(unit.lu, timeout)
        try:
            async with timeout:
                unit.followers.append(patience)
                await waiting.enter_async_context(unit.lock.hold(exclusive=False))
        except TimeoutError:
            raise TakesLongError(patience.ended_by) from None
        finally:
            with suppress(ValueError):  # it may be served no more
                unit.followers.remove(patience)
        stack.push_async_exit(waiting.pop_all())
