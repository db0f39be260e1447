"""A controller that answers anything: what a translation must survive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from scsi2nvme.executor import first_failure
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.scsi.result import ControllerReset, Errand, Progress, Result, Translation

MOST_STEPS = 5000

Answer = Callable[[NvmeCommand], Completion]


class StuckError(AssertionError):
    """A translation does not come to an end."""


def play(
    translation: Translation,
    answer: Answer,
    check: Callable[[tuple[NvmeCommand, ...]], None] = lambda commands: None,
) -> Result:
    """Run a translation against arbitrary answers; `check` sees every group of commands first."""
    try:
        request = next(translation)
        for _ in range(MOST_STEPS):
            if isinstance(request, Progress | ControllerReset):
                request = translation.send(None)
                continue
            if isinstance(request, Errand):
                outcomes: list[Any] = []
                request.start(outcomes.append)
                request = translation.send(*outcomes)
                continue
            commands = request if isinstance(request, tuple) else (request,)
            assert commands, "an empty group of NVMe commands"
            check(commands)
            completions = tuple(answer(command) for command in commands)
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
    raise StuckError(f"no end after {MOST_STEPS} steps")


def with_data(command: NvmeCommand, completion: Completion, seed: bytes = b"\0") -> Completion:
    """Give a successful completion the bytes that its command asked for: `seed`, repeated."""
    if completion.status or not command.data_in:
        return completion
    data = (seed * (command.data_in // len(seed) + 1))[: command.data_in]
    return replace(completion, data=data)


def content(seed: bytes) -> Answer:
    """Return a controller that executes everything and returns `seed` over and over."""
    return lambda command: with_data(command, Completion(), seed)


def script(completions: Iterator[Completion], seed: bytes) -> Answer:
    """Return a controller that follows a script, and then fails everything."""
    end = Completion(status=0x006, dnr=True)
    return lambda command: with_data(command, next(completions, end), seed)
