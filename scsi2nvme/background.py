"""Coroutines that nobody awaits, but whose failures are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Runs coroutines until they end or all are cancelled; `blame` heads what is logged of them."""

    def __init__(self, blame: str = "internal error") -> None:
        self._blame = blame
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work` in the running loop; an exception that ends it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(self._blame, exc_info=task.exception())

    async def cancel(self) -> None:
        """Cancel what is running, and wait for its end."""
        for task in self._tasks:
            task.cancel()
        await self.wait()

    async def wait(self) -> None:
        """Wait for what is running, and for what that starts."""
        while self._tasks:
            await asyncio.wait(self._tasks)
