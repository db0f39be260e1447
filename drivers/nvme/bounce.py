"""Buffers of DMA memory for the control thread's own commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.native.transport import Region


class BouncePool:
    """A region that is lent out piece by piece, first come, first served."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._free = [(0, region.length)]  # (offset, length), sorted, never adjacent
        self._waiting: deque[tuple[int, asyncio.Future[int]]] = deque()

    @asynccontextmanager
    async def borrow(self, length: int) -> AsyncIterator[Region]:
        """Lend `length` bytes, page aligned; ValueError if that is more than there is.

        They are the borrower's until the end of the block, and hold what another left there.
        """
        if length == 0:
            yield self._region.slice(0, 0)
            return
        pages = -(-length // PAGE) * PAGE
        if pages > self._region.length:
            raise ValueError(f"{length} bytes wanted of {self._region.length}")
        offset = None if self._waiting else self._take(pages)
        if offset is None:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._waiting.append((pages, future))
            self._serve()
            try:
                offset = await future
            except asyncio.CancelledError:
                if not future.cancelled():
                    self._return(future.result(), pages)
                raise
        try:
            yield self._region.slice(offset, length)
        finally:
            self._return(offset, pages)

    def _return(self, offset: int, length: int) -> None:
        self._give_back(offset, length)
        self._serve()

    def _serve(self) -> None:
        """Give those who wait what there is, in their order."""
        while self._waiting:
            length, future = self._waiting[0]
            if not future.cancelled():
                offset = self._take(length)
                if offset is None:
                    return
                future.set_result(offset)
            self._waiting.popleft()

    def _take(self, length: int) -> int | None:
        for index, (offset, free) in enumerate(self._free):
            if free >= length:
                self._free[index : index + 1] = (
                    [(offset + length, free - length)] if free > length else []
                )
                return offset
        return None

    def _give_back(self, offset: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, length)]):
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged
