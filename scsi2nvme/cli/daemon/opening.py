"""Controllers that are brought up side by side: one that is slow, or hangs, costs itself only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.errors import OperationError, UnusableControllerError

log = logging.getLogger(__name__)


class Opening:
    """Brings controllers up: `bring_up` does it for one, by its place in the settings.

    Once one is up the others have `patience_s` to be served with it, or else later. `failed`
    says of those that cannot be served why that is so.
    """

    def __init__(
        self,
        targets: Sequence[TargetSettings],
        bring_up: Callable[[int, TargetSettings], Awaitable[Served]],
        patience_s: float,
    ) -> None:
        self.failed: dict[int, str] = {}
        self._targets = targets
        self._bring_up = bring_up
        self._patience_s = patience_s
        self._under_way: dict[int, asyncio.Task[Served]] = {}

    @property
    def under_way(self) -> Sequence[int]:
        """The places of those that are being brought up."""
        return list(self._under_way)

    async def some(self) -> list[Served]:
        """Return those that are up, in order, once all have ended, or time is over.

        OperationError if there are none, or where it is not the controller that is at fault.
        """
        for number, target in enumerate(self._targets):
            self._under_way[number] = asyncio.ensure_future(self._bring_up(number, target))
        up: list[Served] = []
        deadline: float | None = None
        now = asyncio.get_running_loop().time
        while self._under_way and (deadline is None or now() < deadline):
            left_s = None if deadline is None else deadline - now()
            up += await self._ended(left_s, strict=True)
            if up and deadline is None:
                deadline = now() + self._patience_s
        if not up:
            raise OperationError("none of the controllers can be served")
        for number in self._under_way:
            spec = self._targets[number].spec.text
            log.warning("controller %r is not up yet; the others are served meanwhile", spec)
        return sorted(up, key=lambda one: one.number)

    async def rest(self) -> AsyncIterator[Served]:
        """Yield the others as they come up."""
        while self._under_way:
            for one in await self._ended(None, strict=False):
                yield one

    async def stop(self) -> None:
        """Give up those that are under way; returns when they have let go of their devices."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._under_way.clear()

    async def _ended(self, limit_s: float | None, *, strict: bool) -> list[Served]:
        """Wait for some to end, and return those of them that are up.

        `strict`: OperationError where one has failed by no fault of its controller.
        """
        ended, _ = await asyncio.wait(
            self._under_way.values(), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        up = []
        for number, task in list(self._under_way.items()):
            if task not in ended:
                continue
            del self._under_way[number]
            try:
                up.append(task.result())
            except OperationError as error:
                alone = len(self._targets) == 1
                if strict and (alone or not isinstance(error, UnusableControllerError)):
                    raise
                log.error("%s; it is not served", error)
                self.failed[number] = str(error)
            except Exception as error:
                if strict:
                    raise
                # Others are still to come: one that goes wrong costs itself only.
                spec = self._targets[number].spec.text
                self.failed[number] = f"controller {spec!r}: {error!r}"
                log.exception("controller %r cannot be brought up; it is not served", spec)
        return up
