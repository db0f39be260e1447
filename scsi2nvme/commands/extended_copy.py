"""EXTENDED COPY: blocks are copied without passing through the initiator. Spec: SPC-4 5.17, 6.4.

What is wrong with the parameter list is found before anything is copied; what goes wrong later
ends the command with COPY ABORTED, and the segments before are done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.copy_parameters import (
    LID1_HEADER,
    LID4_HEADER,
    CopyList,
    Segment,
    parse,
    wrong,
)
from scsi2nvme.commands.copy_targets import target
from scsi2nvme.fields import Field
from scsi2nvme.scsi.result import GOOD, CheckCondition, Errand, Result, Translation, check_condition
from scsi2nvme.scsi.sense import (
    COPY_TARGET_DEVICE_NOT_REACHABLE,
    INCORRECT_COPY_TARGET_DEVICE_TYPE,
    INVALID_FIELD_IN_PARAMETER_LIST,
    OPERATION_IN_PROGRESS,
    THIRD_PARTY_DEVICE_FAILURE,
    UNEXPECTED_INEXACT_SEGMENT,
    UNREACHABLE_COPY_TARGET,
    FieldPointer,
    Forwarded,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import Fault, Move, Moved, Moving, Operation, Side, State
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

COPY_SECONDS = 600  # that a copy may well take

Moves = Generator[Errand, Moved, Result]


def carry_out(
    operation: Operation, moving: Moving, block_bytes: int
) -> Generator[Errand, Moved, Moved]:
    """Move blocks for an operation, which counts them."""
    if operation.aborting:
        return Moved(0, aborted=True)
    operation.moving = moving
    moved = yield operation.moving
    operation.moving = None
    operation.transferred += moved.blocks * block_bytes
    return moved


def _aborted(segment: Segment, number: int, code: SenseCode) -> CheckCondition:
    pointer = FieldPointer(segment.offset, in_cdb=False)
    return CheckCondition(Sense(code, pointer=pointer, segment=number))


def failed(fault: Fault, number: int | None = None) -> Result:
    """Return how a copy ends that one of its logical units has refused or failed.

    `number` is that of the segment, if there are such.
    """
    if not fault.reachable:
        return check_condition(Sense(UNREACHABLE_COPY_TARGET, segment=number))
    result = fault.result
    data = result.sense.descriptor() if result.sense is not None else b""
    told = Forwarded(fault.side is Side.DESTINATION, result.status, data)
    code = THIRD_PARTY_DEVICE_FAILURE if fault.in_range else COPY_TARGET_DEVICE_NOT_REACHABLE
    return check_condition(Sense(code, segment=number, forwarded=told))


def _move_of(task: Task, copy: CopyList, segment: Segment, number: int) -> Move:
    """Return what a segment is to move; CheckCondition if it cannot be."""
    units: list[LogicalUnit] = []
    for identifier in (segment.source, segment.destination):
        lu = target(task, copy, identifier)
        if isinstance(lu, SenseCode):
            raise _aborted(segment, number, lu)
        units.append(lu)
    source, destination = units
    size = source.block_bytes
    if size != destination.block_bytes:
        raise _aborted(segment, number, INCORRECT_COPY_TARGET_DEVICE_TYPE)
    blocks, rest = (segment.count, 0) if segment.by_blocks else divmod(segment.count, size)
    if rest or segment.source_offset or segment.destination_offset:
        raise _aborted(segment, number, UNEXPECTED_INEXACT_SEGMENT)
    return Move(task.nexus, source, segment.lba, destination, segment.to, blocks)


def _copy(task: Task, copy: CopyList, operation: Operation) -> Moves:
    """Copy segment by segment, until one fails."""
    for number, segment in enumerate(copy.segments):
        move = _move_of(task, copy, segment, number)
        if move.blocks:
            moving = task.lu.copies.mover(move)
            moved = yield from carry_out(operation, moving, move.source.block_bytes)
            if moved.aborted:
                return Result(Status.TASK_ABORTED)
            if moved.fault is not None:
                return failed(moved.fault, number)
        operation.segments += 1
    return GOOD


def _performed(operation: Operation, moves: Moves) -> Translation:
    """Do what an operation is about, and keep how that has ended."""
    result = Result(Status.TASK_ABORTED)  # if nobody waits for the end
    try:
        try:
            result = yield from moves
        except CheckCondition as refusal:
            result = check_condition(refusal.sense)
    finally:
        states = {Status.GOOD: State.DONE, Status.TASK_ABORTED: State.ABORTED}
        state = states.get(result.status, State.FAILED)
        operation.end(State.PARTIAL if operation.late else state, result)
    return result


def _behind(operation: Operation, moves: Moves) -> Generator[Any, Any, Result]:
    """Do so once it is begun for the second time. If nobody does that, it is over all the same.

    The command may be aborted before anybody knows what is left to do: the first time has the end
    of this know of it, which nothing has that was never begun.
    """
    try:
        yield
        return (yield from _performed(operation, moves))
    finally:
        if operation.running:
            operation.end(State.ABORTED, Result(Status.TASK_ABORTED))


def _begun(task: Task, identifier: int | None) -> Operation:
    """Return an operation with a list identifier of the nexus's, which none has that goes on."""
    action = task.command.service_action or 0
    if identifier is None:
        return Operation(action)
    copies, long = task.lu.copies, bool(action)
    operation = copies.begin(task.nexus, identifier, action, long=long)
    if operation is None:
        raise CheckCondition(Sense(OPERATION_IN_PROGRESS))
    return operation


def carried_out(
    task: Task, identifier: int | None, work: Callable[[Operation], Moves], *, immed: bool
) -> Translation:
    """Do what a command asks for, or have it done when its status has been sent.

    What comes of it is kept by its list identifier, if there is one. Spec: SPC-4 5.17.4.
    """
    if immed and task.lu.copies.has_many_behind(task.nexus):
        return Result(Status.BUSY)
    operation = _begun(task, identifier)
    if not immed:
        return (yield from _performed(operation, work(operation)))
    operation.state = State.BACKGROUND
    behind = _behind(operation, work(operation))
    next(behind)
    return replace(GOOD, background=behind)


def extended_copy(task: Task) -> Translation:
    """Spec: SPC-4 6.4 (LID1) and 6.5 (LID4)."""
    if not task.cdb.parameter_list_length:
        return GOOD
    copy = parse(task.data_out, LID4_HEADER if task.command.service_action else LID1_HEADER)
    immed = bool(copy.header.get("immed", 0))
    if immed and not copy.keeps_results:
        raise wrong(15, 0, INVALID_FIELD_IN_PARAMETER_LIST)  # nobody could be told of its end
    identifier = copy.header.list_identifier if copy.keeps_results else None
    return (yield from carried_out(task, identifier, partial(_copy, task, copy), immed=immed))


def _row(name: str, service_action: int, spec: str) -> Command:
    return Command(
        name,
        0x83,
        16,
        spec,
        extended_copy,
        (Field("parameter_list_length", 10, 0, 32),),
        service_action=service_action,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        of_one_initiator=bool(service_action),
        third_party=True,
        timeout_s=COPY_SECONDS,
        nvme=("Copy", "Read", "Write"),
        doc="Between logical units that the initiator sees, of which at most 64 segments",
    )


COMMANDS = (
    _row("EXTENDED COPY (LID1)", 0x00, "SPC-4 6.4"),
    _row("EXTENDED COPY (LID4)", 0x01, "SPC-4 6.5"),
)
