"""The engine: SAM's checks, in SAM's order, around every translation.

`run` is a generator like the translations that it runs: it yields NVMe
commands and returns the SCSI result, and does no I/O itself. Spec: SAM-5 5,
SPC-4 4.5.1 (order of checks).
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace

from scsi2nvme import commands
from scsi2nvme.command import FORMAT_BYTES, Command, Data, Hot, Task, Transfer
from scsi2nvme.commands import power, sanitize_status
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.error_log import first_failing_block, get_error_log
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import (
    RESERVATION_CONFLICT,
    CheckCondition,
    NvmeError,
    Result,
    Translation,
    check_condition,
)
from scsi2nvme.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    INVALID_MESSAGE_ERROR,
    LOGICAL_UNIT_NOT_SUPPORTED,
    PERSISTENT_RESERVATION_INFORMATION_LOST,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.status_map import READING, result_of, tells_block
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES, Portion
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.reservations import Access
from scsi2nvme.unit.store import UnsavedState

# Kinds of commands that change nothing without data.
_CHANGING_NOTHING = (Hot.WRITE, Hot.WRITE_ATOMIC, Hot.FLUSH)


_INVALID_OPCODE = check_condition(Sense(INVALID_COMMAND_OPERATION_CODE, pointer=FieldPointer(0)))


def _refuse_unknown(lu: LogicalUnit, cdb: bytes) -> Result:
    """Refuse a CDB without a row: by its service action if only that is unknown."""
    selector = commands.service_action_field(cdb[0]) if cdb else None
    others = commands.actions(cdb[0]).values() if cdb else ()
    if selector is None or not any(row.supported(lu) for row in others):
        return _INVALID_OPCODE
    byte, bit = selector.highest_bit("big")
    return check_condition(Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit)))


@dataclass(frozen=True, slots=True)
class Request:
    """One SCSI command as it arrived, with the logical unit and the row that it selects.

    `cdb` is what the initiator sent, of any length; `unit` and `command` are
    None where it names none. `attribute` may be none of TaskAttribute.
    """

    nexus: Nexus
    cdb: bytes
    unit: LogicalUnit | None
    command: Command | None
    attribute: int = TaskAttribute.SIMPLE


def select(
    nexus: Nexus, lun: int | None, cdb: bytes, attribute: int = TaskAttribute.SIMPLE
) -> Request:
    """Look up what a command is addressed to; `lun` is None if it is no single-level one."""
    unit = nexus.luns.get(lun) if lun is not None else None
    return Request(nexus, cdb, unit, commands.find(cdb), attribute)


def run(
    request: Request,
    data_out: bytes = b"",
    expected: int | None = None,
    portion: Portion | None = None,
    phase: int = 0,
    announced: int | None = None,
    *,
    repeated: bool = False,
) -> Translation:
    """Run one SCSI command; a generator of NVMe commands that returns its Result.

    `data_out` is what the initiator sent of the data that the CDB announces;
    `expected` how many bytes it prepared to move, None where the transport
    does not tell. With a `portion` only that is moved, and `data_out` is of it:
    the command is run again for each one, and its first failure is its end.
    `phase` is how much of the command the hot path has done. `announced` is how many bytes the
    CDB announced when the data were collected, None if nobody tells: as many as now. One that is
    `repeated` was enabled before: attentions that came since are for others to report.
    """
    cdb, unit, command = request.cdb, request.unit, request.command
    if request.attribute == TaskAttribute.ACA:
        # Where NORMACA is zero no ACA condition exists that such a task could be for.
        # Spec: SAM-5 8.6.
        return check_condition(Sense(INVALID_MESSAGE_ERROR))
    if unit is None:
        if command is None or command.without_unit is None:
            return check_condition(Sense(LOGICAL_UNIT_NOT_SUPPORTED))
    elif command is None or not command.offered(unit, request.nexus):
        return _refuse_unknown(unit, cdb)
    elif command.of_reservations and request.nexus.stands_for_several:
        # Who keeps reservations for these has let it pass: all of them would be one holder.
        return _INVALID_OPCODE
    if len(cdb) < command.length:
        return check_condition(Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(len(cdb))))
    values = command.structure.parse(cdb)
    task = Task(
        command,
        values,
        request.nexus,
        unit,
        commands,
        data_out,
        expected,
        portion,
        phase,
        announced,
        repeated=repeated,
    )
    return (yield from _concluded(request, task, _checked(task, cdb)))


def go_on(request: Request, data_out: bytes, phase: int, failure: NvmeError) -> Translation:
    """Go on with a command that has its blocks alone, and an NVMe command of which failed.

    The hot path has begun it, with all checks passed, and done `phase` of it: whatever the
    logical unit's state is now, something of it may be done. `data_out` is all of its data.
    """
    command, unit = request.command, request.unit
    assert command is not None
    assert unit is not None
    values = command.structure.parse(request.cdb)
    task = Task(
        *(command, values, request.nexus, unit, commands, data_out), phase=phase, failure=failure
    )
    return (yield from _concluded(request, task, command.translate(task)))


def _concluded(request: Request, task: Task, translation: Translation) -> Translation:
    """Run a translation; return its result, or what its failure becomes."""
    command = task.command
    reports = task.unit is not None and task.unit.exceptions.due
    try:
        result = yield from translation
    except CheckCondition as error:
        return check_condition(error.sense)
    except UnsavedState:  # whose store has told why
        return check_condition(Sense(INTERNAL_TARGET_FAILURE))
    except NvmeError as error:
        return (yield from failed(request, error))
    if command.data is Data.IN and command.transfer.counts_bytes:
        # Truncated to the allocation length; lengths inside the data stay. Spec: SPC-4 4.2.5.6.
        allocated = command.data_bytes(task.cdb, block_bytes=0)
        if len(result.data_in) > allocated:
            result = replace(result, data_in=result.data_in[:allocated])
    return _with_exception(task, result) if reports else result


def _with_exception(task: Task, result: Result) -> Result:
    """Have a command that has ended well report an informational exception, if one is due.

    Data in go with it only where the transport keeps them beside a CHECK CONDITION.
    Spec: SPC-4 7.5.11 (MRIE 3h to 5h).
    """
    unit, command = task.unit, task.command
    if unit is None or not unit.exceptions.due or result.status is not Status.GOOD:
        return result
    if task.nexus not in unit.nexuses:  # nobody's who is to hear of it
        return result
    silent = not command.reports_unit_attention or task.portion is not None
    if silent or (command.data is Data.IN and not task.nexus.tells_residual):
        return result
    code = unit.exceptions.take()
    assert code is not None
    return replace(result, status=Status.CHECK_CONDITION, sense=Sense(code))


def failed(request: Request, error: NvmeError) -> Translation:
    """Return how a command ends that does not handle the failure of an NVMe command.

    All that ran together have ended, and this is the failure at the lowest LBA.
    """
    unit = request.unit
    if unit is not None and error.completion.status == StatusCode.RESERVATION_CONFLICT:
        return (yield from _stopped(unit, request.nexus, error))
    if unit is not None and error.completion.status in sanitize_status.REFUSALS:
        return sanitize_status.noticed(unit, result_of(error))
    if unit is None or error.command.admin:
        return result_of(error)
    unit.log.counters.record(error.command.opcode, error.completion.status)
    if not tells_block(error):
        return result_of(error)
    lba = yield from _first_failing_block(request, unit, error)
    return result_of(error, None if _follows_unwritten(request, error.command, lba) else lba)


def _stopped(unit: LogicalUnit, nexus: Nexus, error: NvmeError) -> Translation:
    """Return how a command ends that the disk has stopped: the first to learn of it is told why."""
    with suppress(NvmeError):
        yield from unit.reservations.refresh()
    attention = unit.take_attention(nexus)
    return result_of(error) if attention is None else check_condition(attention)


def _first_failing_block(
    request: Request, unit: LogicalUnit, error: NvmeError
) -> Generator[NvmeCommand, Completion, int | None]:
    """Return the block that INFORMATION tells, None if it is not known or some before it failed.

    Initiators take what lies before it as moved, but for what the residual
    count takes away. Spec: SPC-4 4.5, SBC-3 4.18.1.
    """
    command, completion = error.command, error.completion
    reads = request.command is not None and request.command.data is Data.IN
    if reads and not request.nexus.tells_residual:
        return None  # no data go with CHECK CONDITION
    if command.blocks == 1:
        return command.slba
    if not completion.more:
        return None
    try:
        log = yield get_error_log(unit.facts.controller.elpe)
    except NvmeError:
        return None
    lba = first_failing_block(log.data, command, completion)
    # How much of a Write was done that failed half way is not known.
    return lba if command.opcode in READING or lba == command.slba else None


def _follows_unwritten(request: Request, command: NvmeCommand, lba: int | None) -> bool:
    """Whether a block that cannot be read comes after others that were to be written later.

    So it is with what reads blocks to change them, all before it writes the first.
    """
    row = request.command
    if row is None or not row.exclusive or command.opcode != Opcode.READ:
        return False
    return lba != row.structure.parse(request.cdb)["lba"]


def _checked(task: Task, cdb: bytes) -> Translation:
    """Check the CDB and the logical unit's state, then translate."""
    command, unit = task.command, task.unit
    pointer = command.reserved_bit(cdb)
    if pointer is not None:
        return check_condition(Sense(INVALID_FIELD_IN_CDB, pointer=pointer))
    if task.cdb.naca:
        raise task.invalid_field("naca")
    if unit is None:
        assert command.without_unit is not None
        return (yield from command.without_unit(task))
    if unit.readiness is Readiness.FAILED and not command.answered_when_failed:
        assert unit.not_ready is not None
        return check_condition(unit.not_ready)
    if unit.reservations.must_refresh(task.nexus, command, task.cdb):
        yield from unit.reservations.refresh()
    refusal = _refuse(task)
    if refusal is not None:
        return refusal
    if unit.power_condition and command.accesses_medium:
        with suppress(NvmeError):  # I/O needs no power state: it fails itself, if it does
            yield from power.wake(unit)
    if command.modifies_medium:
        _revoke_tokens(task, cdb)
    return (yield from command.translate(task))


def _revoke_tokens(task: Task, cdb: bytes) -> None:
    """Revoke the tokens whose blocks a command is about to change, perhaps.

    What is not of blocks may be of the whole controller.
    """
    blocks = task.command.changed_blocks(cdb, task.data_out)
    if blocks is None:
        task.lu.blocks_may_change()
    else:
        task.lu.rods.changed(blocks)


def _refuse(task: Task) -> Result | None:
    """Apply what lies between a well-formed CDB and its translation."""
    command, lu, nexus = task.command, task.lu, task.nexus
    under_way = task.repeated or (task.portion is not None and task.portion.offset > 0)
    if command.reports_unit_attention and not under_way:
        attention = lu.take_attention(nexus)
        if attention is not None:
            return check_condition(attention)
    if not _fits(task):
        return Result(Status.BUSY)
    if lu.reservations.lost and not command.while_reservations_lost(task.cdb):
        return check_condition(Sense(PERSISTENT_RESERVATION_INFORMATION_LOST))
    if lu.reservations.conflicts(nexus, command, task.cdb) or _may_be_fenced(task):
        return RESERVATION_CONFLICT
    if not command.while_sanitizing:
        sense = lu.sanitizing.sense
        if sense is not None:
            return sanitize_status.noticed(lu, check_condition(sense))
    if command.needs_ready:
        sense = lu.not_ready
        if sense is not None:
            return check_condition(sense)
    if command.modifies_medium and lu.write_protected:
        hardware = lu.hardware_write_protected
        return check_condition(Sense(WRITE_PROTECTED if hardware else SOFTWARE_WRITE_PROTECTED))
    if command.data is Data.OUT:
        _check_data_out(task)
    return None


def _may_be_fenced(task: Task) -> bool:
    """Whether a reservation kept elsewhere should have stopped a command, and may not have.

    So it is with what changes the medium or the unit without sending data. WRITE and SYNCHRONIZE
    CACHE change nothing then: the latter has to work for those whom the reservation admits.
    Spec: SBC-3 4.17.
    """
    command, cdb = task.command, task.cdb
    if command.access is not Access.WRITE or command.hot in _CHANGING_NOTHING:
        return False
    if command.data is Data.OUT and command.data_bytes(cdb, task.block_bytes):
        return False
    return not command.never_conflicts(cdb) and task.nexus.lets_all_pass()


def _fits(task: Task) -> bool:
    """Whether blocks are as long as when the command came; else its data are others."""
    if task.announced is None:
        return True
    if task.command.transfer is Transfer.FORMAT_HEADER:
        return True  # they are no blocks
    return task.announced == task.command.data_bytes(task.cdb, task.block_bytes)


def _check_data_out(task: Task) -> None:
    """Hold what the initiator sends against what the CDB announces.

    WRITE takes fewer blocks than announced where a residual count tells of the
    rest (RFC 7143 11.4.5.1), but whole ones: GOOD means that nothing was
    dropped. Where the data mean something as a whole they must be all there,
    and with COMPARE AND WRITE and its like nothing else.
    """
    command = task.command
    announced = command.data_bytes(task.cdb, task.block_bytes)
    expected = task.expected if task.expected is not None else len(task.data_out)
    if command.transfer is Transfer.FORMAT_HEADER and announced:
        announced = max(announced, min(expected, FORMAT_BYTES))
    if command.transfer is Transfer.TWICE_BLOCKS and expected != announced:
        raise task.invalid_field(command.length_field)
    whole = min(expected, announced)  # of what the initiator sends
    due = whole if task.portion is None else task.portion.size
    # Beyond the maximum, the front end stops asking for data, and the
    # translation refuses the length or the range with its own sense.
    wanted = task.portion is not None or announced <= MAXIMUM_TRANSFER_BYTES
    short = wanted and (len(task.data_out) < due or whole < announced)
    partial = command.transfer is Transfer.BLOCKS and not (command.exclusive or command.whole)
    partial = partial and task.expected is not None and task.nexus.tells_residual
    partial = partial and len(task.data_out) >= due and whole % task.block_bytes == 0
    exact = command.transfer in (Transfer.ONE_BLOCK, Transfer.ONE_BLOCK_UNLESS_NDOB)
    if (short and not partial) or (exact and expected != announced):
        raise CheckCondition(Sense(INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT))
    task.data_out = task.data_out[:announced]
