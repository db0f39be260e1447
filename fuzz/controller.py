"""A controller that answers anything: what a translation must survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scsi2nvme.executor import first_failure
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.scsi.command import Progress, Result, Translation

MOST_STEPS = 5000


class Stuck(AssertionError):
    """A translation does not come to an end."""


def play(
    translation: Translation,
    answer: Callable[[NvmeCommand], Completion],
    check: Callable[[NvmeCommand], None],
) -> Result:
    """Run a translation against arbitrary answers; `check` sees every command first."""
    try:
        request = next(translation)
        for _ in range(MOST_STEPS):
            if isinstance(request, Progress):
                request = translation.send(None)
                continue
            commands = request if isinstance(request, tuple) else (request,)
            assert commands, "an empty group of NVMe commands"
            for command in commands:
                check(command)
            completions = tuple(_with_data(command, answer(command)) for command in commands)
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
    raise Stuck(f"no end after {MOST_STEPS} steps")


def _with_data(command: NvmeCommand, completion: Completion) -> Completion:
    """Give a successful completion the bytes that its command asked for."""
    if completion.status or not command.data_in:
        return completion
    return replace(completion, data=completion.data or bytes(command.data_in))


_WITH_BLOCKS = frozenset(
    {
        Opcode.READ,
        Opcode.WRITE,
        Opcode.COMPARE,
        Opcode.VERIFY,
        Opcode.WRITE_ZEROES,
        Opcode.WRITE_UNCORRECTABLE,
    }
)


def touches_blocks(command: NvmeCommand) -> bool:
    """Whether a command names a range of logical blocks by SLBA and NLB."""
    return not command.admin and command.opcode in _WITH_BLOCKS
