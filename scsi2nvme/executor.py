"""Play a translation against a controller: the conversation, driven by what ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

from scsi2nvme.background import until_ended
from scsi2nvme.nvme.command import Completed, Completion, DataMemory, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import (
    Asked,
    ControllerReset,
    Errand,
    NvmeError,
    Progress,
    Result,
    Translation,
)

_COLLATERAL = (StatusCode.FAILED_FUSED, StatusCode.MISSING_FUSED)


class NvmeExecutor(Protocol):
    """What executes NVMe commands: a controller driver."""

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """Run the commands together, placed side by side; call `completed` once, later.

        They are a `party`'s, as which they leave to others some of what all use; None: nobody's.
        What is returned says that nobody wants them any more: they end soon, and `completed` is
        called when they have. It does nothing once that was called.
        """

    async def reset(self, reason: str) -> None:
        """Reset the controller; returns when it is up again, or lost."""


class DataExecutor(NvmeExecutor, Protocol):
    """An executor that lends the memory of its controller."""

    def borrow(
        self, length: int, party: Hashable = None
    ) -> AbstractAsyncContextManager[DataMemory]:
        """Lend memory for the body, as soon as there is so much: for `NvmeCommand.memory`.

        It holds what another left there.
        """


class OnBehalf:
    """Executes commands on behalf of one party, but for those that are `refused` with a status.

    What is begun of a translation that was under way may come to another namespace under its
    number, or to other blocks, than it was meant for.
    """

    def __init__(
        self,
        executor: NvmeExecutor,
        of: Hashable,
        refused: Callable[[NvmeCommand], StatusCode | None] = lambda command: None,
    ) -> None:
        self._executor = executor
        self._of = of
        self._refused = refused

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """Run the commands together."""
        status = next(filter(None, map(self._refused, commands)), None)
        if status is not None:
            outcome = (Completion(status, dnr=True),) * len(commands)
            asyncio.get_running_loop().call_soon(completed, outcome)
            return _nothing
        return self._executor.start(commands, completed, self._of)

    async def reset(self, reason: str) -> None:
        """Reset the controller."""
        await self._executor.reset(reason)


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


class Play:
    """A translation under way: what ends has it go on, and no task of the event loop waits.

    `ended` is called once, with its result or with what has ended it otherwise: what `executor`
    or the translation raises, CancelledError after `stop`. `progress` is told of every fraction
    (of 65536) that the translation yields. `in_turn` calls what it gets when it is to go on.
    """

    __slots__ = (
        "_asked",
        "_ended",
        "_executor",
        "_in_turn",
        "_progress",
        "_stop",
        "_stopped",
        "_timer",
        "_translation",
    )

    def __init__(
        self,
        translation: Translation,
        executor: NvmeExecutor,
        ended: Callable[[Result | BaseException], None],
        progress: Callable[[int], None] = lambda fraction: None,
        in_turn: Callable[[Callable[[], None]], None] = lambda go_on: go_on(),
    ) -> None:
        self._translation = translation
        self._executor = executor
        self._ended = ended
        self._progress = progress
        self._in_turn = in_turn
        self._asked: Asked | None = None
        self._stop: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def begin(self, asked: Asked | None = None) -> None:
        """Go on from what a translation that was begun has `asked`, else begin it."""
        if asked is None:
            self._resume(None)
        else:
            self._ask(asked)

    def stop(self) -> None:
        """Nobody wants its result any more: close it as soon as what it has asked has ended."""
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._end(asyncio.CancelledError())
        elif self._stop is not None:
            self._stop()

    def _ask(self, asked: Asked) -> None:
        self._asked = asked
        if isinstance(asked, Progress):
            self._progress(asked.fraction)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(asked.delay_s, self._waited)
            return
        if isinstance(asked, ControllerReset):
            loop = asyncio.get_running_loop()
            resetting = loop.create_task(self._executor.reset(asked.reason))
            resetting.add_done_callback(self._was_reset)
            self._stop = _nothing  # a reset that has begun goes on
            return
        if isinstance(asked, Errand):
            self._stop = asked.start(self._errand_ended)
            return
        commands = asked if isinstance(asked, tuple) else (asked,)
        try:
            self._stop = self._executor.start(commands, self._completed)
        except Exception as error:
            self._end(error)

    def _waited(self) -> None:
        self._timer = None
        self._resume(None)

    def _was_reset(self, resetting: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if resetting.cancelled() else resetting.exception()
        if error is None and self._stopped:
            error = asyncio.CancelledError()
        if error is not None:
            self._end(error)
        else:
            self._in_turn(partial(self._resume, None))

    def _errand_ended(self, outcome: object) -> None:
        if self._stopped and not isinstance(outcome, BaseException):
            outcome = asyncio.CancelledError()
        if isinstance(outcome, BaseException):
            self._end(outcome)
        else:
            self._in_turn(partial(self._resume, outcome))

    def _completed(self, outcome: tuple[Completion, ...] | BaseException) -> None:
        self._in_turn(partial(self._go_on, outcome))

    def _go_on(self, outcome: tuple[Completion, ...] | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._end(outcome)
        elif self._stopped:
            self._end(asyncio.CancelledError())
        elif isinstance(self._asked, tuple):
            self._resume(outcome, first_failure(self._asked, outcome))
        else:
            assert isinstance(self._asked, NvmeCommand)
            (completion,) = outcome
            failed = NvmeError(self._asked, completion) if completion.status else None
            self._resume(completion, failed)

    def _resume(self, answer: object, error: NvmeError | None = None) -> None:
        try:
            if error is not None:
                asked = self._translation.throw(error)
            else:
                asked = self._translation.send(answer)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as raised:
            self._finish(raised)
        else:
            self._ask(asked)

    def _end(self, reason: BaseException) -> None:
        """Close the translation before its end."""
        try:
            self._translation.close()
        except Exception as raised:
            reason = raised
        self._finish(reason)

    def _finish(self, outcome: Result | BaseException) -> None:
        """Tell of the end. Nothing is left that refers to itself by way of others."""
        ended, self._ended, self._in_turn, self._stop = self._ended, _ignore, _ignore, None
        ended(outcome)


def _ignore(_: object) -> None:
    """Take what comes too late."""


def _nothing() -> None:
    """Stop nothing."""


async def play(
    translation: Translation,
    executor: NvmeExecutor,
    progress: Callable[[int], None] = lambda fraction: None,
    asked: Asked | None = None,
) -> Result:
    """Run a translation to its end and return the SCSI result: `Play`, awaited.

    What `executor` raises, and cancellation, close the translation and pass. One that was begun
    has `asked` something first, which is done now.
    """

    def start(ended: Callable[[Result | BaseException], None]) -> Callable[[], None]:
        under_way = Play(translation, executor, ended, progress)
        under_way.begin(asked)
        return under_way.stop

    return await until_ended(start)
