"""When a logical unit is reset, whoever asks for it how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

PAUSE_SECONDS = 0.1


class Resets:
    """Resets of a logical unit, so many in a second at most.

    Each ends what all initiators have under way: one that asks for them without end would leave
    the others nothing. Who asks while the next one is due has that one, which begins afterwards.
    """

    def __init__(self) -> None:
        self._next: asyncio.Task[None] | None = None
        self._due = 0.0  # by the loop's clock

    @property
    def wait_seconds(self) -> float:
        """How long the next one waits."""
        return max(0.0, self._due - asyncio.get_running_loop().time())

    @property
    def shared(self) -> bool:
        """Whether who asks now has one that another one asked for, or has to wait."""
        return self._next is not None or self.wait_seconds > 0

    async def share(
        self,
        reset: Callable[[], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """Wait for a reset that has not begun yet: `reset`, unless another one is due."""
        if self._next is None:
            self._next = spawn(self._run(reset))
        await asyncio.shield(self._next)

    async def _run(self, reset: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await asyncio.sleep(self.wait_seconds)
        finally:
            self._next = None
        self._due = asyncio.get_running_loop().time() + PAUSE_SECONDS
        await reset()
