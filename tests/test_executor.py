"""Translations played against an executor: the conversation, its errors, its progress."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, ClassVar

import pytest

from scsi2nvme.executor import Play, first_failure, play
from scsi2nvme.nvme.command import Completed, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, ControllerReset, NvmeError, Progress, Result, Translation
from scsi2nvme.scsi.status import Status
from tests.model_controller import Awaited

FLUSH, READ, WRITE = (NvmeCommand(code) for code in (Opcode.FLUSH, Opcode.READ, Opcode.WRITE))


class Script(Awaited):
    """Answers each group of commands with the next completions."""

    def __init__(self, *answers: tuple[Completion, ...]) -> None:
        self.answers = list(answers)
        self.groups: list[tuple[NvmeCommand, ...]] = []

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        self.groups.append(commands)
        await asyncio.sleep(0)
        return self.answers.pop(0)


def run(translation: Translation, script: Script, seen: list[int] | None = None) -> Result:
    report = seen.append if seen is not None else lambda fraction: None
    return asyncio.run(play(translation, script, report))


def test_a_translation_that_asks_nothing() -> None:
    def translation() -> Translation:
        return GOOD
        yield

    script = Script()
    assert run(translation(), script) is GOOD
    assert script.groups == []


def test_one_command_gets_one_completion_and_a_group_gets_all() -> None:
    one, two = Completion(dw0=1), Completion(dw0=2)

    def translation() -> Translation:
        assert (yield READ) is one
        assert (yield (READ, WRITE)) == (one, two)
        assert (yield (FLUSH,)) == (two,)
        return Result(data_in=b"done")

    script = Script((one,), (one, two), (two,))
    assert run(translation(), script).data_in == b"done"
    assert script.groups == [(READ,), (READ, WRITE), (FLUSH,)]


def test_a_failure_is_thrown_and_may_be_handled() -> None:
    failed = Completion(status=StatusCode.WRITE_FAULT)

    def translation() -> Translation:
        with pytest.raises(NvmeError) as caught:
            yield WRITE
        assert caught.value.completion is failed
        assert caught.value.command is WRITE
        yield FLUSH
        return GOOD

    script = Script((failed,), (Completion(),))
    assert run(translation(), script) is GOOD
    assert script.groups == [(WRITE,), (FLUSH,)]


def test_a_failure_that_is_not_handled_comes_out() -> None:
    def translation() -> Translation:
        yield WRITE
        return GOOD

    with pytest.raises(NvmeError):
        run(translation(), Script((Completion(status=1),)))


def test_a_controller_is_reset_and_the_translation_goes_on() -> None:
    class Resetting(Script):
        reasons: ClassVar[list[str]] = []

        async def reset(self, reason: str) -> None:
            self.reasons.append(reason)
            if reason == "broken":
                raise ConnectionError(reason)

    def translation(reason: str) -> Translation:
        assert (yield ControllerReset(reason)) is None
        yield FLUSH
        return GOOD

    script = Resetting((Completion(),))
    assert run(translation("new"), script) is GOOD
    assert (script.reasons, script.groups) == (["new"], [(FLUSH,)])
    with pytest.raises(ConnectionError):
        run(translation("broken"), script)


def test_who_stops_during_a_reset_ends_after_it() -> None:
    async def scenario() -> None:
        up = asyncio.Event()
        outcomes: list[object] = []

        class Slow(Script):
            async def reset(self, reason: str) -> None:
                await up.wait()

        def translation() -> Translation:
            yield ControllerReset("new")
            raise AssertionError("it goes on")

        under_way = Play(translation(), Slow(), outcomes.append)
        under_way.begin()
        await asyncio.sleep(0)
        under_way.stop()
        assert outcomes == []
        up.set()
        while not outcomes:
            await asyncio.sleep(0)
        assert isinstance(outcomes[0], asyncio.CancelledError)

    asyncio.run(scenario())


def test_progress_is_reported_and_costs_no_command() -> None:
    def translation() -> Translation:
        assert (yield Progress(100)) is None
        yield FLUSH
        assert (yield Progress(65536)) is None
        return GOOD

    seen: list[int] = []
    script = Script((Completion(),))
    assert run(translation(), script, seen) is GOOD
    assert seen == [100, 65536]
    assert len(script.groups) == 1


def test_a_translation_is_closed_when_its_player_is_cancelled() -> None:
    closed: list[str] = []

    def translation() -> Translation:
        try:
            yield FLUSH
        finally:
            closed.append("closed")
        return GOOD

    class Never(Awaited):
        async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    async def work() -> None:
        task = asyncio.get_running_loop().create_task(play(translation(), Never()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert closed == ["closed"]


def test_an_executor_that_raises_ends_the_translation() -> None:
    def translation() -> Generator[NvmeCommand, Any, Result]:
        with pytest.raises(GeneratorExit):
            yield FLUSH
        return Result(Status.BUSY)

    class Broken(Awaited):
        async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        asyncio.run(play(translation(), Broken()))


OK = Completion()
COMPARE = Completion(status=StatusCode.COMPARE_FAILURE)
FUSED = Completion(status=StatusCode.FAILED_FUSED)
FAULT = Completion(status=StatusCode.WRITE_FAULT)


@pytest.mark.parametrize(
    ("completions", "cause"),
    [
        ((OK, OK), None),
        ((COMPARE, FUSED), 0),
        ((FUSED, FAULT), 1),
        ((OK, FUSED), 1),
        ((FAULT, COMPARE), 0),
    ],
)
def test_the_cause_of_a_failure(completions: tuple[Completion, ...], cause: int | None) -> None:
    error = first_failure((READ, WRITE), completions)
    if cause is None:
        assert error is None
    else:
        assert error is not None
        assert error.command is (READ, WRITE)[cause]
        assert error.completion is completions[cause]


def test_what_has_ended_is_freed_at_once() -> None:
    """Not by the collector of cycles, which would be at work all the time."""

    class Later:
        def start(
            self, commands: object, completed: Completed, party: object = None
        ) -> Callable[[], None]:
            self.completed = completed
            return partial(id, completed)  # type: ignore[return-value]

        async def reset(self, reason: str) -> None:
            raise NotImplementedError

    class Asker:
        play: Play

        def ended(self, outcome: object) -> None:
            self.outcome = outcome

    def translation() -> Translation:
        yield FLUSH
        return GOOD

    asker, later = Asker(), Later()
    asker.play = Play(translation(), later, asker.ended)
    asker.play.begin()
    gone = weakref.ref(asker)
    later.completed((Completion(),))
    assert asker.outcome is GOOD
    gc.disable()
    try:
        del asker, later.completed
        assert gone() is None
    finally:
        gc.enable()


class ByHand:
    """An executor whose commands end when the test says so."""

    completed: Completed
    stopped = False

    def start(self, commands: object, completed: Completed) -> Callable[[], None]:
        self.completed = completed
        return self.stop

    def stop(self) -> None:
        self.stopped = True


class Refuses:
    """An executor that takes no command."""

    def start(self, commands: object, completed: Completed) -> Callable[[], None]:
        raise OSError("gone")


def _raises(executor: ByHand, under_way: Play) -> None:
    executor.completed(OSError("gone"))


def _stopped(executor: ByHand, under_way: Play) -> None:
    under_way.stop()
    under_way.stop()
    assert executor.stopped
    executor.completed((OK,))


def _stopped_in_a_pause(executor: ByHand, under_way: Play) -> None:
    under_way.stop()


@pytest.mark.parametrize("closing", [None, ValueError("in its finally")])
@pytest.mark.parametrize(
    ("asked", "executor", "end", "reason"),
    [
        (FLUSH, Refuses(), None, OSError),
        (FLUSH, ByHand(), _raises, OSError),
        ((READ, WRITE), ByHand(), _raises, OSError),
        (FLUSH, ByHand(), _stopped, asyncio.CancelledError),
        ((READ,), ByHand(), _stopped, asyncio.CancelledError),
        (Progress(1, delay_s=1000), ByHand(), _stopped_in_a_pause, asyncio.CancelledError),
    ],
)
def test_a_translation_is_closed_before_its_end_is_told(
    asked: Any,
    executor: Any,
    end: Callable[[Any, Play], None] | None,
    reason: type[BaseException],
    closing: Exception | None,
) -> None:
    seen: list[Any] = []

    def translation() -> Translation:
        try:
            yield asked
        finally:
            seen.append("closed")
            if closing is not None:
                raise closing
        return GOOD

    async def work() -> None:
        kept = translation()  # which would else be closed when it is freed
        under_way = Play(kept, executor, seen.append)
        under_way.begin()
        if end is not None:
            end(executor, under_way)

    asyncio.run(work())
    closed, told = seen
    assert closed == "closed"
    assert told is closing if closing else isinstance(told, reason)
