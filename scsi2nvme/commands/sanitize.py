"""SANITIZE: Sanitize, which erases every namespace of the controller.

It is offered where the configuration permits it, and only what the controller has: whoever may
log in would else destroy what others have, on logical units that he does not even see.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.immediate import in_background
from scsi2nvme.commands.sanitize_status import (
    AUSE,
    NDAS,
    enter,
    read_status,
    refresh_progress,
    units,
    watch,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import (
    GOOD,
    RESERVATION_CONFLICT,
    CheckCondition,
    NvmeError,
    Result,
    Translation,
    check_condition,
)
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PERSISTENT_RESERVATION_INFORMATION_LOST,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    FieldPointer,
    Sense,
)
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.reservations import Access
from scsi2nvme.unit.sanitizing import Phase

OVERWRITE_HEADER = Structure(
    "SANITIZE overwrite parameter list header",
    4,
    (
        Field("invert", 0, 7, 1, "invert the pattern between passes"),
        Field("test", 0, 5, 2, "must be zero"),
        Field("overwrite_count", 0, 0, 5, "passes"),
        Field("initialization_pattern_length", 2, 0, 16, "bytes, at most a logical block"),
    ),
    spec="SBC-4 5.24.2",
)

_EXIT_FAILURE_MODE, _BLOCK_ERASE, _OVERWRITE, _CRYPTO_ERASE = 1, 2, 3, 4  # SANACT
_CES, _BES, _OWS, _NDI = 0, 1, 2, 29  # bits of SANICAP
_OIPBP = 1 << 8
_MOST_PASSES = 16  # of one Sanitize, where 0 stands for them
_DWORD = 4  # bytes of Sanitize's pattern
_SECONDS = 24 * 3600
# What says nothing of whether the operation has begun: it may have.
_UNKNOWN_OUTCOME = frozenset({StatusCode.ABORTED_SQ_DELETION, StatusCode.ABORT_REQUESTED})


def _capable(lu: LogicalUnit, bit: int) -> bool:
    return lu.may_be_sanitized and lu.facts.controller_bit("sanicap", bit)


def erases_blocks(lu: LogicalUnit) -> bool:
    """Whether SANITIZE has BLOCK ERASE."""
    return _capable(lu, _BES)


def erases_keys(lu: LogicalUnit) -> bool:
    """Whether SANITIZE has CRYPTOGRAPHIC ERASE."""
    return _capable(lu, _CES)


def overwrites(lu: LogicalUnit) -> bool:
    """Whether SANITIZE has OVERWRITE.

    Not where the controller deallocates all in any case: nobody could read the pattern then.
    """
    return _capable(lu, _OWS) and not lu.facts.controller_bit("sanicap", _NDI)


def _any(lu: LogicalUnit) -> bool:
    return erases_blocks(lu) or erases_keys(lu) or overwrites(lu)


# ---- what stands in the way ----


def _refusals(task: Task) -> Iterator[Sense | Result | None]:
    """Yield why the namespaces may not be erased, those of other logical units included.

    The engine has checked the one that is addressed; what it keeps initiators from doing there,
    they do not do by way of another.
    """
    own = task.lu
    if own.readiness is Readiness.STOPPED or own.sanitizing.running:
        yield own.not_ready
    for each in units(own):
        if each.readiness is Readiness.FORMATTING:
            yield each.not_ready
        if each.reservations.lost:
            yield Sense(PERSISTENT_RESERVATION_INFORMATION_LOST)
        if each.reservations.conflicts(task.nexus, task.command, task.cdb):
            yield RESERVATION_CONFLICT
        # Where the kernel keeps reservations it has looked at this logical unit's own.
        if any(nexus.lets_all_pass() for nexus in each.nexuses if each is not own):
            yield RESERVATION_CONFLICT
        if each.write_protected:
            hardware = each.hardware_write_protected
            yield Sense(WRITE_PROTECTED if hardware else SOFTWARE_WRITE_PROTECTED)


def _check(task: Task) -> Result | None:
    """Return why an operation may not begin, None if it may."""
    if task.cdb.znr:  # there are no zones
        raise task.invalid_field("znr")
    if task.command.data is Data.NONE and task.cdb.parameter_list_length:
        raise task.invalid_field("parameter_list_length")
    for refusal in _refusals(task):
        if isinstance(refusal, Sense):
            return check_condition(refusal)
        if refusal is not None:
            return refusal
    return None


# ---- operations ----


def _sanitize(task: Task, cdw10: int, pattern: int = 0) -> Translation:
    """Begin an operation, and follow it to its end, before the status or after it."""
    lu = task.lu
    before = (lu.sanitizing.phase, lu.sanitizing.restricted)
    if before == (Phase.FAILED, True) and task.cdb.ause:
        raise task.invalid_field("ause")
    enter(lu, Phase.RUNNING)  # from now on, lest anything be acknowledged that is erased then
    command = NvmeCommand(
        AdminOpcode.SANITIZE,
        cdw10=cdw10 | (AUSE if task.cdb.ause else 0),
        cdw11=pattern,
        admin=True,
    )
    try:
        with lu.sanitizing.begins():
            yield command
    except NvmeError as error:
        phase, restricted = before
        if error.completion.status == StatusCode.SANITIZE_IN_PROGRESS:  # another host's
            yield from refresh_progress(lu)
            refused = check_condition(lu.sanitizing.sense) if lu.sanitizing.sense else GOOD
            return Result(refused.status, refused.sense, background=watch(lu))
        if not (yield from _has_begun(lu, error)):
            enter(lu, phase, restricted=restricted)
            return result_of(error)
    for each in units(lu):
        each.streams_open.reset()
    if task.cdb.immed:
        return in_background(task, watch(lu))
    return (yield from watch(lu))


def _has_begun(lu: LogicalUnit, error: NvmeError) -> Generator[NvmeCommand, Any, bool]:
    """Whether an operation goes on although nobody was told that it has begun."""
    if error.completion.status not in _UNKNOWN_OUTCOME:
        return False
    try:
        yield from read_status(lu)
    except NvmeError:
        return False
    return lu.sanitizing.running


def block_erase(task: Task) -> Translation:
    """Spec: SBC-4 5.24; NVMe Base 2.0c 5.24 (Sanitize)."""
    return _check(task) or (yield from _sanitize(task, _BLOCK_ERASE))


def cryptographic_erase(task: Task) -> Translation:
    """Spec: SBC-4 5.24; NVMe Base 2.0c 5.24 (Sanitize)."""
    return _check(task) or (yield from _sanitize(task, _CRYPTO_ERASE))


def _wrong(name: str) -> CheckCondition:
    byte, bit = OVERWRITE_HEADER.by_name[name].highest_bit("big")
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _pattern(task: Task, length: int) -> int:
    """Return the pattern of a parameter list as Sanitize has it, which repeats four bytes.

    It begins anew with every block; what is not the same then is refused.
    """
    given = task.data_out[OVERWRITE_HEADER.size :][:length]
    if not 0 < length <= task.lu.block_bytes or len(given) < length:
        raise _wrong("initialization_pattern_length")
    block = (given * -(-task.lu.block_bytes // length))[: task.lu.block_bytes]
    if block != block[:_DWORD] * (len(block) // _DWORD):
        pointer = FieldPointer(OVERWRITE_HEADER.size, in_cdb=False)
        raise CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))
    return int.from_bytes(block[:_DWORD], "little")


def overwrite(task: Task) -> Translation:
    """Spec: SBC-4 5.24; NVMe Base 2.0c 5.24 (Sanitize), whose pattern stays (NDAS)."""
    if not OVERWRITE_HEADER.size < task.cdb.parameter_list_length < task.lu.block_bytes + 5:
        raise task.invalid_field("parameter_list_length")
    refused = _check(task)
    if refused is not None:
        return refused
    header = OVERWRITE_HEADER.parse(task.data_out)
    if header.test:
        raise _wrong("test")
    if not 0 < header.overwrite_count <= _MOST_PASSES:
        raise _wrong("overwrite_count")
    pattern = _pattern(task, header.initialization_pattern_length)
    cdw10 = _OVERWRITE | header.overwrite_count % _MOST_PASSES << 4 | NDAS
    return (yield from _sanitize(task, cdw10 | (_OIPBP if header.invert else 0), pattern))


def exit_failure_mode(task: Task) -> Translation:
    """Have what failed in unrestricted mode count as done. Spec: SBC-4 5.24, 4.11.4."""
    refused = _check(task)
    if refused is not None:
        return refused
    state = task.lu.sanitizing
    if state.phase is not Phase.FAILED:
        return GOOD
    if state.restricted:
        raise task.invalid_field("service_action")
    yield NvmeCommand(AdminOpcode.SANITIZE, cdw10=_EXIT_FAILURE_MODE, admin=True)
    enter(task.lu, Phase.NONE)
    return GOOD


def _fields(*, begins: bool = True, listed: str = "must be zero") -> tuple[Field, ...]:
    return (
        Field("immed", 1, 7, 1, "status before the operation ends", ignored=not begins),
        Field("znr", 1, 6, 1, "zoned no reset: must be zero, as there are no zones"),
        Field("ause", 1, 5, 1, "allow unrestricted sanitize exit", ignored=not begins),
        Field("parameter_list_length", 7, 0, 16, listed),
    )


def _row(
    name: str,
    service_action: int,
    translate: Callable[[Task], Translation],
    supported: Callable[[LogicalUnit], bool],
    fields: tuple[Field, ...],
    **more: Any,
) -> Command:
    return Command(
        f"SANITIZE, {name}",
        0x48,
        10,
        "SBC-4 5.24",
        translate,
        fields,
        service_action=service_action,
        access=Access.WRITE,
        needs_ready=False,
        while_sanitizing=True,
        modifies_medium=True,
        exclusive=True,
        goes_on=lambda lu: lu.sanitizing.running,
        supported=supported,
        nvme=("Sanitize", "Get Log Page"),
        timeout_s=_SECONDS,
        **more,
    )


_ALL = "It erases every namespace of the controller, and is there with `sanitize=on` only."

COMMANDS = (
    _row(
        "OVERWRITE",
        0x01,
        overwrite,
        overwrites,
        _fields(listed="at most a logical block and 4"),
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        doc=f"{_ALL} The pattern must repeat four bytes all over a block; up to 16 passes.",
    ),
    _row("BLOCK ERASE", 0x02, block_erase, erases_blocks, _fields(), doc=_ALL),
    _row("CRYPTOGRAPHIC ERASE", 0x03, cryptographic_erase, erases_keys, _fields(), doc=_ALL),
    _row("EXIT FAILURE MODE", 0x1F, exit_failure_mode, _any, _fields(begins=False)),
)
