"""Every NVMe status becomes legal sense, and none but success becomes GOOD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.outcomes import check_result
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.status import BY_VALUE, MAXIMUM, StatusCode
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of, result_of_status

# Statuses of admin commands that did what was asked of them.
_DONE = frozenset(
    {
        StatusCode.FIRMWARE_NEEDS_CONVENTIONAL_RESET,
        StatusCode.FIRMWARE_NEEDS_SUBSYSTEM_RESET,
        StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET,
    }
)
_NO_FAILURE = frozenset(
    {SenseKey.NO_SENSE, SenseKey.RECOVERED_ERROR, SenseKey.UNIT_ATTENTION, SenseKey.BLANK_CHECK}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One NVMe status by its name, or all that have none."""

    name: str
    values: tuple[int, ...]


def failures() -> Iterator[Failure]:
    """Yield every status but success."""
    for code in StatusCode:
        if code:
            yield Failure(f"NVMe status {code.name.replace('_', ' ')}", (int(code),))
    unknown = tuple(value for value in range(1, MAXIMUM + 1) if value not in BY_VALUE)
    yield Failure("NVMe status without a name", unknown)


def status_becomes_sense(failure: Failure, data: st.DataObject) -> None:
    """A failed command of any kind ends with an error that SPC allows."""
    status = data.draw(st.sampled_from(failure.values))
    opcode, dnr = data.draw(st.integers(0, 255)), data.draw(st.booleans())
    lba = data.draw(st.one_of(st.none(), st.integers(0, (1 << 64) - 1)))
    _check(failure, result_of_status(opcode, status, dnr, lba), may_be_good=False)
    command = NvmeCommand(opcode, cdw10=(lba or 0) & 0xFFFFFFFF, admin=data.draw(st.booleans()))
    error = NvmeError(command, Completion(status, dnr=dnr))
    _check(failure, result_of(error), may_be_good=command.admin and status in _DONE)


def _check(failure: Failure, result: Result, *, may_be_good: bool) -> None:
    check_result(failure, result)
    if result.status in (Status.GOOD, Status.CONDITION_MET) and not may_be_good:
        raise Finding(failure, "outcome", f"becomes {result.status.name}")
    if result.sense is not None and result.sense.key in _NO_FAILURE:
        raise Finding(failure, "sense key", f"becomes {result.sense.code}, which is no failure")
