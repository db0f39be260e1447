"""ROD tokens, Windows' offloaded data transfer: POPULATE TOKEN makes one that stands for blocks,
and WRITE USING TOKEN writes them elsewhere. Spec: SPC-4 5.17.6, SBC-3 4.28.

A token is of one point in time as long as nobody changes the blocks, and is revoked then. Of what
other hosts may change unseen it tells no such thing: there it stands for what is read later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.copy_parameters import wrong
from scsi2nvme.commands.copy_targets import identification
from scsi2nvme.commands.extended_copy import (
    COPY_SECONDS,
    Moves,
    carried_out,
    carry_out,
    failed,
)
from scsi2nvme.commands.read_write import group_field
from scsi2nvme.commands.token_parameters import (
    POPULATE_HEADER,
    ROD_TOKEN,
    TOKEN_LENGTH,
    WRITE_HEADER,
    RodType,
    created_types,
    parsed,
    ranges_of,
    within,
)
from scsi2nvme.fields import Field, Values
from scsi2nvme.scsi.result import GOOD, CheckCondition, Result, Translation, check_condition
from scsi2nvme.scsi.sense import (
    COPY_TARGET_DEVICE_DATA_UNDERRUN,
    INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN,
    INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION,
    INVALID_TOKEN_LENGTH,
    INVALID_TOKEN_OPERATION,
    TOKEN_CANCELLED,
    TOKEN_DATA_UNDERRUN,
    TOKEN_DELETED,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    TOKEN_UNKNOWN,
    UNSUPPORTED_TOKEN_TYPE,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import Fill, Move, Moved, Moving, Operation, Side, Taking
from scsi2nvme.unit.extents import meet
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access
from scsi2nvme.unit.tokens import LONGEST_INACTIVITY_S, End, RodToken

# A command that is waited for: Windows gives up after four seconds, and goes on after less.
PATIENCE_S = 2.0

_ENDED = {
    End.REVOKED: TOKEN_REVOKED,
    End.EXPIRED: TOKEN_EXPIRED,
    End.CANCELLED: TOKEN_CANCELLED,
    End.DELETED: TOKEN_DELETED,
}
_VULNERABLE = (RodType.POINT_IN_TIME, RodType.CHANGE_VULNERABLE, RodType.ANY_POINT_IN_TIME)


def _type_of(lu: LogicalUnit, header: Values) -> RodType:
    """Return the type of the token that is wanted."""
    if not header.rtv:
        return created_types(lu)[0]
    if header.rod_type == RodType.ACCESS_UPON_REFERENCE:
        return RodType.ACCESS_UPON_REFERENCE
    if header.rod_type in _VULNERABLE and not lu.shared:
        return RodType.CHANGE_VULNERABLE
    raise wrong(8, 7)


def _token_data(lu: LogicalUnit, kind: RodType, extents: Sequence[range], number: int) -> bytes:
    return ROD_TOKEN.build(
        rod_type=kind,
        length=TOKEN_LENGTH,
        identifier=number,
        creator=identification(lu),
        bytes_represented=sum(map(len, extents)) * lu.block_bytes,
        block_length=lu.block_bytes,
        p_type=max(lu.facts.protection_type - 1, 0),
        prot_en=lu.facts.protection_type > 0,
        lbppbe=lu.physical_block_exponent,
        lbpme=lu.provisioned,
        extended_data=os.urandom(384),
    )


def _begun(task: Task, header: Values, work: Callable[[Operation], Moves]) -> Translation:
    identifier, immed = task.cdb.list_identifier, bool(header.immed)
    return (yield from carried_out(task, identifier, work, immed=immed))


# POPULATE TOKEN


def populate_token(task: Task) -> Translation:
    """Spec: SBC-3 5.17."""
    if not task.cdb.parameter_list_length:
        return GOOD
    header, lu = parsed(task.data_out, POPULATE_HEADER), task.lu
    extents = ranges_of(lu, task.data_out, POPULATE_HEADER)
    if header.inactivity_timeout > LONGEST_INACTIVITY_S:
        raise wrong(4, 7)
    kind = _type_of(lu, header)
    if not extents:
        raise wrong(POPULATE_HEADER.by_name["range_list_length"].byte, 7)

    def make() -> RodToken | None:
        return lu.rods.tokens.create(
            *(lu.rods, extents, task.nexus.key, lu.block_bytes),
            lambda number: _token_data(lu, kind, extents, number),
            vulnerable=kind is RodType.CHANGE_VULNERABLE,
            inactivity_s=header.inactivity_timeout,
        )

    taking = Taking(task.nexus, lu, extents, make)
    return (yield from _begun(task, header, partial(_populate, task, kind, taking)))


def _populate(task: Task, kind: RodType, taking: Taking, operation: Operation) -> Moves:
    outcome: RodToken | Moved | None
    if operation.aborting:
        return Result(Status.TASK_ABORTED)
    if kind is RodType.ACCESS_UPON_REFERENCE:
        outcome = taking.make()
    else:
        operation.moving = task.lu.copies.taker(taking)
        outcome = yield operation.moving
    if outcome is None:
        raise CheckCondition(Sense(INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN))
    if isinstance(outcome, Moved):
        return Result(Status.TASK_ABORTED) if outcome.fault is None else outcome.fault.result
    operation.token = outcome
    operation.transferred = outcome.blocks * task.lu.block_bytes
    return GOOD


# WRITE USING TOKEN


def write_using_token(task: Task) -> Translation:
    """Spec: SBC-3 5.42."""
    if not task.cdb.parameter_list_length:
        return GOOD
    header = parsed(task.data_out, WRITE_HEADER)
    extents = ranges_of(task.lu, task.data_out, WRITE_HEADER)
    data = header.bytes("rod_token")
    if ROD_TOKEN.parse(data).rod_type == RodType.ZERO:
        _check_length(data)
        return (yield from _begun(task, header, partial(_fill, task, header, extents)))
    token = _token(task, data)
    _check_place(task, token, header.offset_into_rod, extents)
    return (yield from _begun(task, header, partial(_write, task, header, token, extents)))


def _check_length(data: bytes) -> None:
    if ROD_TOKEN.parse(data).length != TOKEN_LENGTH:
        raise CheckCondition(Sense(INVALID_TOKEN_LENGTH))


def _token(task: Task, data: bytes) -> RodToken:
    """Return the token that an initiator has sent, if it may use it here."""
    values = ROD_TOKEN.parse(data)
    if values.rod_type not in (RodType.ACCESS_UPON_REFERENCE, RodType.CHANGE_VULNERABLE):
        raise CheckCondition(Sense(UNSUPPORTED_TOKEN_TYPE))
    _check_length(data)
    found = task.lu.rods.tokens.find(values.identifier, data)
    if found is None:
        raise CheckCondition(Sense(TOKEN_UNKNOWN))
    if isinstance(found, End):
        raise CheckCondition(Sense(_ENDED[found]))
    seen = found.source.unit in (task.lu, *task.nexus.luns.values())
    if not seen or found.block_bytes != task.lu.block_bytes:
        raise CheckCondition(Sense(INVALID_TOKEN_OPERATION))
    return found


def _check_place(task: Task, token: RodToken, offset: int, extents: Sequence[range]) -> None:
    """Refuse more than a token stands for, and to write what it stands for."""
    if offset >= token.blocks:
        raise wrong(WRITE_HEADER.by_name["offset_into_rod"].byte, 7)
    if offset + sum(map(len, extents)) > token.blocks:
        byte = WRITE_HEADER.by_name["range_list_length"].byte
        raise wrong(byte, 7, TOKEN_DATA_UNDERRUN)
    same = token.source.unit is task.lu and token.vulnerable
    if same and meet(token.extents, extents):
        raise CheckCondition(Sense(INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION))


def _write(
    task: Task, header: Values, token: RodToken, extents: Sequence[range], operation: Operation
) -> Moves:
    """Copy what a token stands for, and have it deleted after that: not if there is a rest."""
    done = False
    tokens, moves = token.source.tokens, _moves(task, header.offset_into_rod, token, extents)
    tokens.use(token)
    try:
        result = yield from _in_time(task, header, moves, operation)
        refused = result.status is Status.CHECK_CONDITION and not operation.late
        if refused and token.end is not None:
            return check_condition(Sense(_ENDED[token.end]))
        done = result.status is Status.GOOD
        return result
    finally:
        tokens.used(token, delete=done and bool(header.del_tkn))


def _moves(task: Task, offset: int, token: RodToken, extents: Sequence[range]) -> Iterator[Move]:
    """Yield what is to be copied: from one range to one other, each."""
    source = token.source.unit

    def refused() -> Sense | None:
        return None if token.end is None else Sense(_ENDED[token.end])

    for extent in extents:
        to = extent.start
        for lba, count in within(token.extents, offset, len(extent)):
            yield Move(task.nexus, source, lba, task.lu, to, count, refused)
            to += count
        offset += len(extent)


def _fill(task: Task, header: Values, extents: Sequence[range], operation: Operation) -> Moves:
    """Write zeroes."""
    fills = (Fill(task.nexus, task.lu, each.start, len(each)) for each in extents)
    return (yield from _in_time(task, header, fills, operation))


def _moving(task: Task, piece: Move | Fill, limit_s: float | None) -> Moving:
    copies = task.lu.copies
    if isinstance(piece, Move):
        return copies.mover(replace(piece, limit_s=limit_s))
    return copies.filler(replace(piece, limit_s=limit_s))


def _partial(operation: Operation, block_bytes: int) -> Result:
    """Return how a command ends for whose rest there was no time."""
    done = operation.transferred // block_bytes
    if not done:
        return Result(Status.BUSY)
    operation.late = True
    return check_condition(Sense(COPY_TARGET_DEVICE_DATA_UNDERRUN, information=done))


def _in_time(
    task: Task, header: Values, pieces: Iterable[Move | Fill], operation: Operation
) -> Moves:
    """Do piece by piece, as far as there is time where somebody waits for it.

    GOOD means all of it: Windows asks for the transfer count only after another status. Who was
    told that nothing of it is done might ask for the rest at once, and so on: hence BUSY.
    """
    left_s = None if header.immed else PATIENCE_S
    for piece in pieces:
        moving = _moving(task, piece, left_s)
        moved = yield from carry_out(operation, moving, task.lu.block_bytes)
        if moved.aborted:
            return Result(Status.TASK_ABORTED)
        if moved.fault is not None:
            fault = moved.fault
            of_own = fault.side is Side.DESTINATION and fault.reachable
            return fault.result if of_own else failed(fault)
        if moved.blocks < piece.blocks:
            return _partial(operation, task.lu.block_bytes)
        if left_s is not None:
            left_s = max(left_s - moved.seconds, 0.0)
    return GOOD


def _row(
    name: str,
    service_action: int,
    spec: str,
    translate: Callable[[Task], Translation],
    access: Access,
    nvme: tuple[str, ...],
    doc: str,
) -> Command:
    return Command(
        name,
        0x83,
        16,
        spec,
        translate,
        (
            Field("list_identifier", 6, 0, 32),
            Field("parameter_list_length", 10, 0, 32),
            group_field(14),
        ),
        service_action=service_action,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=access,
        of_one_initiator=True,
        third_party=bool(nvme),
        timeout_s=COPY_SECONDS,
        nvme=nvme,
        doc=doc,
    )


COMMANDS = (
    _row(
        *("POPULATE TOKEN", 0x10, "SBC-3 5.17", populate_token, Access.READ, ()),
        "A token of at most 64 ranges, which is revoked when their blocks change",
    ),
    _row(
        *("WRITE USING TOKEN", 0x11, "SBC-3 5.42", write_using_token, Access.WRITE),
        ("Copy", "Read", "Write", "Write Zeroes"),
        "From logical units that the initiator sees; as much as takes two seconds, unless IMMED",
    ),
)
