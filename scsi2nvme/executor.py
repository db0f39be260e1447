"""Play a translation against a controller: the conversation, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Asked, NvmeError, Progress, Result, Translation

_COLLATERAL = (StatusCode.FAILED_FUSED, StatusCode.MISSING_FUSED)


class NvmeExecutor(Protocol):
    """What executes NVMe commands: a controller driver."""

    def execute(self, *commands: NvmeCommand) -> Awaitable[tuple[Completion, ...]]:
        """Run the commands together, placed side by side; return their completions."""


def first_failure(
    commands: Sequence[NvmeCommand], completions: Sequence[Completion]
) -> NvmeError | None:
    """Return what is thrown into a translation, None if all commands succeeded.

    Half of a fused pair that ended for the other's sake is not the cause.
    """
    failed = [pair for pair in zip(commands, completions, strict=True) if pair[1].status]
    failed.sort(key=lambda pair: pair[1].status in _COLLATERAL)
    return NvmeError(*failed[0]) if failed else None


def begin(translation: Translation) -> Result | Asked:
    """Run a translation up to what it asks first: its result, if it asks nothing."""
    try:
        return next(translation)
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def play(
    translation: Translation,
    executor: NvmeExecutor,
    progress: Callable[[int], None] = lambda fraction: None,
    asked: Asked | None = None,
) -> Result:
    """Run a translation to its end and return the SCSI result.

    `progress` is told of every fraction (of 65536) that the translation yields.
    What `executor` raises, and cancellation, close the translation and pass. One that was begun
    has `asked` something first, which is done now.
    """
    try:
        request = asked if asked is not None else next(translation)
        while True:
            if isinstance(request, Progress):
                progress(request.fraction)
                await asyncio.sleep(request.delay_s)
                request = translation.send(None)
                continue
            commands = request if isinstance(request, tuple) else (request,)
            completions = await executor.execute(*commands)
            error = first_failure(commands, completions)
            if error is not None:
                request = translation.throw(error)
            else:
                request = translation.send(
                    completions if isinstance(request, tuple) else completions[0]
                )
    except StopIteration as stop:
        result: Result = stop.value
        return result
    finally:
        translation.close()
