"""Commands that read, decide and write as one: COMPARE AND WRITE and ORWRITE.

Their rows are exclusive: nothing else touches their blocks in between,
whether the controller knows fused pairs or not.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.read_write import (
    DPO,
    FORCE_UNIT_ACCESS,
    FUA,
    FUA_NV,
    block_command,
    cdb_fields,
    check_length,
    check_protect,
    check_range,
    data_commands,
    group_field,
    in_batches,
    no_protect_field,
    read_commands,
    run,
)
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode, is_retryable
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Translation
from scsi2nvme.scsi.sense import (
    MISCOMPARE_DURING_VERIFY_OPERATION,
    NO_ADDITIONAL_SENSE_INFORMATION,
    Sense,
    SenseKey,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

# A pair that ended so was done, or not: the first one is all that is told after a reset.
_UNCERTAIN = (
    StatusCode.ABORTED_SQ_DELETION,
    StatusCode.COMMAND_INTERRUPTED,
    StatusCode.TRANSIENT_TRANSPORT_ERROR,
)
_REPETITIONS = 4
_DONE_OR_NOT = replace(NO_ADDITIONAL_SENSE_INFORMATION, key=SenseKey.ABORTED_COMMAND)


def _first_difference(ours: bytes, theirs: bytes) -> int | None:
    if ours == theirs:
        return None
    low, high = 0, len(ours)  # equal before `low`, a difference before `high`
    while high - low > 1:
        middle = (low + high) // 2
        if ours[low:middle] == theirs[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _miscompare(offset: int | None) -> CheckCondition:
    """Return what tells the offset in the data-out buffer. Spec: SBC-3 5.2."""
    return CheckCondition(Sense(MISCOMPARE_DURING_VERIFY_OPERATION, information=offset))


def _read(
    lu: LogicalUnit, lba: int, blocks: int
) -> Generator[tuple[NvmeCommand, ...], tuple[Completion, ...], bytes]:
    data = bytearray()
    for batch in in_batches(read_commands(lu, lba, blocks)):
        for completion in (yield batch):
            data += completion.data
    return bytes(data)


def _write(lu: LogicalUnit, lba: int, data: bytes, cdw12: int) -> Translation:
    return (yield from run(data_commands(Opcode.WRITE, lu, lba, data, cdw12)))


def _attempt(
    pair: tuple[NvmeCommand, NvmeCommand],
) -> Generator[tuple[NvmeCommand, ...], tuple[Completion, ...], NvmeError | None]:
    try:
        yield pair
    except NvmeError as error:
        return error
    return None


def _fused(
    lu: LogicalUnit,
    lba: int,
    verify: bytes,
    write: bytes,
    cdw12: int,
    known: NvmeError | None = None,
) -> Translation:
    """Compare and Write as a pair, again where it turns out that it was not done.

    `known` is the failure of a pair that was sent before.
    """
    blocks = len(verify) // lu.block_bytes
    compare_command = block_command(Opcode.COMPARE, lu, lba, blocks, data_out=verify)
    write_command = block_command(Opcode.WRITE, lu, lba, blocks, cdw12=cdw12, data_out=write)
    pair = replace(compare_command, fuse=Fuse.FIRST), replace(write_command, fuse=Fuse.SECOND)
    left = _REPETITIONS
    while True:
        failure = known or (yield from _attempt(pair))
        known = None
        if failure is None:
            return GOOD
        if failure.completion.status not in (StatusCode.COMPARE_FAILURE, *_UNCERTAIN):
            raise failure
        # Compare does not say where the difference is.
        medium = yield from _read(lu, lba, blocks)
        difference = _first_difference(verify, medium)
        met = failure.completion.status == StatusCode.COMPARE_FAILURE
        if met or not _may_be_done(lu, verify, write, medium):
            raise _miscompare(difference) from failure
        if difference is not None:  # nobody is to take it for not done, as BUSY would have it
            raise CheckCondition(Sense(_DONE_OR_NOT)) from failure
        if not left:
            raise failure
        left -= 1


def _may_be_done(lu: LogicalUnit, verify: bytes, write: bytes, medium: bytes) -> bool:
    """Whether each block is what was expected or what it was to become.

    A block that is neither was so before, as nobody else has written since. One that is what
    it was to become may have been so as well: another initiator may have written the same.
    """
    blocks = (slice(at, at + lu.block_bytes) for at in range(0, len(medium), lu.block_bytes))
    return all(medium[block] in (verify[block], write[block]) for block in blocks)


def _go_on(
    task: Task, failure: NvmeError, lba: int, verify: bytes, write: bytes, cdw12: int
) -> Translation | None:
    """Return what is left of a command that the hot path has begun; None: all of it."""
    status, again = failure.completion.status, _may_be_repeated(failure)
    if task.phase:  # the Write, of what was compared before
        if again:
            return _write(task.lu, lba, write, cdw12)
    elif failure.command.opcode != Opcode.READ and status != StatusCode.NAMESPACE_NOT_READY:
        return _fused(task.lu, lba, verify, write, cdw12, failure)
    elif again:
        return None
    raise failure


def _may_be_repeated(failure: NvmeError) -> bool:
    return is_retryable(failure.completion.status) and not failure.completion.dnr


def compare_and_write(task: Task) -> Translation:
    """Spec: SBC-3 5.2; NVMe Base 2.0 3.4.2 (fused operations)."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_protect(task, "wrprotect")
    if blocks > lu.maximum_compare_and_write_blocks:
        raise task.invalid_field("number_of_blocks")
    check_range(task, lba, blocks)
    half = blocks * lu.block_bytes
    verify, write = task.data_out[:half], task.data_out[half:]
    cdw12 = FUA if task.cdb["fua"] else 0
    if task.failure is not None:
        rest = _go_on(task, task.failure, lba, verify, write, cdw12)
        if rest is not None:
            return (yield from rest)
    if 0 < blocks <= lu.fused_blocks:
        return (yield from _fused(lu, lba, verify, write, cdw12))
    difference = _first_difference(verify, (yield from _read(lu, lba, blocks)))
    if difference is not None:
        raise _miscompare(difference)
    return (yield from _write(lu, lba, write, cdw12))


def orwrite(task: Task) -> Translation:
    """Spec: SBC-3 5.5."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_protect(task, "orprotect")
    check_range(task, lba, blocks)
    check_length(task, blocks)
    medium = yield from _read(lu, lba, blocks)
    joined = int.from_bytes(medium, "big") | int.from_bytes(task.data_out, "big")
    cdw12 = FUA if task.cdb["fua"] else 0
    return (yield from _write(lu, lba, joined.to_bytes(len(medium), "big"), cdw12))


COMMANDS = (
    Command(
        "COMPARE AND WRITE",
        0x89,
        16,
        "SBC-3 5.2",
        compare_and_write,
        (
            no_protect_field("wrprotect"),
            DPO,
            FORCE_UNIT_ACCESS,
            FUA_NV,
            Field("lba", 2, 0, 64),
            Field("number_of_blocks", 13),
            group_field(14),
        ),
        data=Data.OUT,
        transfer=Transfer.TWICE_BLOCKS,
        length_field="number_of_blocks",
        access=Access.WRITE,
        modifies_medium=True,
        exclusive=True,
        supported=lambda lu: lu.writes_anywhere,
        hot=Hot.COMPARE_AND_WRITE,
        nvme=("Compare", "Write", "Read"),
    ),
    Command(
        "ORWRITE (16)",
        0x8B,
        16,
        "SBC-3 5.5",
        orwrite,
        (
            no_protect_field("orprotect"),
            DPO,
            FORCE_UNIT_ACCESS,
            FUA_NV,
            *cdb_fields(16),
        ),
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        access=Access.WRITE,
        modifies_medium=True,
        exclusive=True,
        supported=lambda lu: lu.writes_anywhere,
        nvme=("Read", "Write"),
    ),
)
