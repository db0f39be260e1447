"""How a command ends, and what its translation says on the way.

A translation is a generator: it yields NVMe commands, receives completions
and returns a `Result`. What plays it is no affair of its.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any

from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.sense import Sense
from scsi2nvme.scsi.status import Status


@dataclass(frozen=True, slots=True)
class Result:
    """How a SCSI command ended.

    `data_in` is cut to what the initiator allows by the front end, not here.
    `background` goes on after the status has been sent (IMMED=1).
    """

    status: Status = Status.GOOD
    sense: Sense | None = None
    data_in: bytes = b""
    background: Translation | None = None


GOOD = Result()
RESERVATION_CONFLICT = Result(Status.RESERVATION_CONFLICT)


def check_condition(sense: Sense) -> Result:
    """Return the result that reports `sense`."""
    return Result(Status.CHECK_CONDITION, sense)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long operation has come, as a fraction of 65536.

    The executor waits `delay_s` before it resumes the translation.
    """

    fraction: int
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ControllerReset:
    """The controller is to be reset, with all that is under way on it placed again.

    The translation is resumed, with None, once the controller is up again, or lost.
    `reason` is for the log.
    """

    reason: str


class Errand(ABC):
    """Work for a translation beside its own controller's commands: blocks are moved.

    The translation is resumed with what the work comes to.
    """

    @abstractmethod
    def start(self, ended: Callable[[Any], None]) -> Callable[[], object]:
        """Begin; `ended` is called once, with the outcome, or the exception that has ended it.

        What is returned says that nobody wants it any more: it ends soon, and `ended` is called.
        """


# A translation yields one NVMe command, or several to run together, and
# receives their completions; a failed one is raised as NvmeError. A `Progress`
# is yielded by long operations and receives None, as a `ControllerReset` does; an
# `Errand` receives what it comes to.
Asked = NvmeCommand | tuple[NvmeCommand, ...] | Progress | ControllerReset | Errand
Translation = Generator[Asked, Any, Result]


class CheckCondition(Exception):
    """Raised inside a translation: the command ends with this sense."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(str(sense.code))
        self.sense = sense


class NvmeError(Exception):
    """Thrown into a translation: an NVMe command failed.

    Unless the translation handles it, the status table turns it into sense.
    """

    def __init__(self, command: NvmeCommand, completion: Completion) -> None:
        super().__init__(f"{command.name} failed with status {completion.status:#x}")
        self.command = command
        self.completion = completion
