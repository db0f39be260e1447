"""What is done once at a time, however many ask for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Coalesced(Generic[T]):
    """Calls of `run`, one after the other. Who asks while one goes on shares the next.

    So each gets what is so after it has asked. What nobody waits for any more is cancelled.
    """

    def __init__(self, run: Callable[[], Awaitable[T]]) -> None:
        self._run = run
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        self._waiting: Counter[asyncio.Task[T]] = Counter()

    async def __call__(self) -> T:
        """Return what a call returns, or raise, that begins from now on."""
        task = self._next
        if task is None or task.done():
            task = self._next = asyncio.create_task(self._in_turn())
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                if self._next is task:
                    self._next = None
                task.cancel()

    async def _in_turn(self) -> T:
        async with self._turn:
            self._next = None  # who asks from now on wants another
            return await self._run()
