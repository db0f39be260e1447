"""Which blocks a logical unit's commands are meant for."""

from __future__ import annotations

from collections.abc import Hashable

from scsi2nvme.executor import NvmeExecutor, OnBehalf
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass


@dataclass(eq=False, slots=True)
class Layout:
    """The blocks that there are now; `gone`: they are another namespace's, or nobody's."""

    gone: bool = False
    _number: int = 0

    def lose(self, *, gone: bool) -> None:
        """What was begun is not to come to the blocks that there are from now on."""
        self.gone = self.gone or gone
        self._number += 1

    def executor(self, executor: NvmeExecutor, party: Hashable) -> OnBehalf:
        """Return what executes commands of a party that are meant for the present blocks."""
        meant = self._number

        def refused(command: NvmeCommand) -> StatusCode | None:
            if self.gone:
                return StatusCode.INVALID_NAMESPACE
            others = self._number != meant and not command.admin
            return StatusCode.ABORTED_SQ_DELETION if others else None

        return OnBehalf(executor, party, refused)
