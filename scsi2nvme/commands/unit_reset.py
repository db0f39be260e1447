"""What a logical unit reset asks of the controller. It is no command: task management runs it."""

from __future__ import annotations

from scsi2nvme.commands import mode, power
from scsi2nvme.scsi.result import GOOD, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import SenseCode
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit


def reset(lu: LogicalUnit, cause: SenseCode | None) -> Translation:
    """Reset the logical unit at once, and return what resets the controller's part of it.

    Mode pages that are features return to saved, else default values, and the power state
    to what active logical units need. The translation returns GOOD, or what the last NVMe
    command that failed means; the rest is done nonetheless. `cause` as in
    `LogicalUnit.reset`. Spec: SPC-4 5.10, SBC-3 4.20, SAM-5 6.3.3.
    """
    settled = not lu.resting and not power.power_limit(lu)
    lu.reset(cause)
    return _controllers_part(lu, settled=settled)


def _controllers_part(lu: LogicalUnit, *, settled: bool) -> Translation:
    conversations = [mode.restore(lu)]
    if not settled:
        conversations.append(power.wake(lu))
    result: Result = GOOD
    for conversation in conversations:
        try:
            yield from conversation
        except NvmeError as error:
            result = result_of(error)
    return result
