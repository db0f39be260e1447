"""Answers that are kept, to be given again until something has changed.

Which commands have such answers their rows say (`Command.kept`): they tell of nothing that
changes by itself, as a temperature does, and of no data on the medium. Everything else that may
change advances one epoch for all logical units and nexuses: what is assigned to a logical unit,
or changed in it (`LogicalUnit.on_change`), what a nexus sees, every step of every other command
and of a reset, but for those that the hot path has as well, and what befalls a controller. An
answer is kept if nothing has changed while it was made, and given while nothing has since. So it
is what the engine would answer now, its checks included: who has a unit attention waiting, or is
kept out by a reservation, has no answers that were made before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from scsi2nvme.command import Command, Hot
from scsi2nvme.executor import NvmeExecutor
from scsi2nvme.nvme.command import Completed, Completion, NvmeCommand
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.epoch import Epoch

MOST_ANSWERS = 32  # of one nexus
MOST_BYTES = 2 << 20  # of all
LONGEST = 2048  # bytes
_OVERHEAD_BYTES = 256  # of an answer, about


class KeptAnswers:
    """Data-in of commands that ended in GOOD, by nexus and what tells its commands apart."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._made = epoch.number
        self._bytes = 0
        self._answers: dict[Hashable, dict[Hashable, bytes]] = {}

    def find(self, nexus: Hashable, kind: Hashable) -> bytes | None:
        """Return the answer that still holds, None if there is none."""
        if self._made != self._epoch.number:
            return None
        own = self._answers.get(nexus)
        return own.get(kind) if own is not None else None

    def keep(self, nexus: Hashable, kind: Hashable, result: Result, since: int) -> None:
        """Keep an answer that was begun when the epoch's number was `since`, if it may be kept."""
        if not unchanged(result, self._epoch, since) or len(result.data_in) > LONGEST:
            return
        size = len(result.data_in) + _OVERHEAD_BYTES
        if self._made != since or self._bytes + size > MOST_BYTES:
            self._answers.clear()
            self._bytes = 0
        self._made = since
        own = self._answers.setdefault(nexus, {})
        if len(own) == MOST_ANSWERS:
            self._bytes -= sum(len(each) + _OVERHEAD_BYTES for each in own.values())
            own.clear()
        own[kind] = result.data_in
        self._bytes += size


def may_change(command: Command | None) -> bool:
    """Whether a command may change what others are told, or itself the next time."""
    return command is not None and not command.shares and command.hot is Hot.NO


def unchanged(result: Result, epoch: Epoch, since: int) -> bool:
    """Whether an answer may be given again that was begun when the number was `since`."""
    good = result.status == Status.GOOD and result.background is None
    return good and since == epoch.number


class Noticing:
    """Executes commands of a translation that may change what others are told.

    Between one of its steps and the next the epoch advances.
    """

    def __init__(self, executor: NvmeExecutor, epoch: Epoch) -> None:
        self._executor = executor
        self._epoch = epoch

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """Run the commands together."""

        def noticed(outcome: tuple[Completion, ...] | BaseException) -> None:
            self._epoch.advance()
            completed(outcome)

        self._epoch.advance()
        return self._executor.start(commands, noticed, party)

    async def reset(self, reason: str) -> None:
        """Reset the controller."""
        await self._executor.reset(reason)
        self._epoch.advance()
