"""FORMAT UNIT: Format NVM, in the foreground or the background.

The block length comes from MODE SELECT's block descriptor. While a format
runs, the logical unit is not ready; afterwards its facts are read anew.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.immediate import in_background
from scsi2nvme.commands.initialization_pattern import Pattern, pattern_of, write_pattern
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.namespace import SecureErase
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.nvme.structures import IDENTIFY_BYTES, IDENTIFY_NAMESPACE
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Progress, Result, Translation
from scsi2nvme.scsi.sense import (
    FORMAT_COMMAND_FAILED,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    FieldPointer,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.reservations import Access
from scsi2nvme.unit.store import UnsavedState

_HEADER_FIELDS = (
    Field("protection_fields_usage", 0, 0, 3),
    Field("fov", 1, 7, 1, "format options valid"),
    Field("dpry", 1, 6, 1, "disable primary defect list: no effect"),
    Field("dcrt", 1, 5, 1, "disable certification: no effect"),
    Field("stpf", 1, 4, 1, "stop format: no effect"),
    Field("ip", 1, 3, 1, "initialization pattern: its descriptor follows"),
    Field("immed", 1, 1, 1, "status before the operation ends"),
)
SHORT_HEADER = Structure(
    "FORMAT UNIT short parameter list header",
    4,
    (*_HEADER_FIELDS, Field("defect_list_length", 2, 0, 16)),
    spec="SBC-3 5.3.2.2",
)
LONG_HEADER = Structure(
    "FORMAT UNIT long parameter list header",
    8,
    (
        *_HEADER_FIELDS,
        Field("p_i_information", 3, 4, 4),
        Field("protection_interval_exponent", 3, 0, 4),
        Field("defect_list_length", 4, 0, 32),
    ),
    spec="SBC-3 5.3.2.2",
)

_FORMAT_SECONDS = 4 * 3600
_POLL_SECONDS = 1.0
_OACS_FORMAT = 1
_FNA_FORMATS_ALL, _FNA_ERASES_ALL, _FNA_ERASES_KEYS = 0, 1, 2  # bits of FNA
_SES_AT = 9  # Secure Erase Settings of Format NVM
_CNS_NAMESPACE, _CNS_ACTIVE_LIST = 0x00, 0x02
_FPI_SUPPORTED, _FPI_REMAINING = 0x80, 0x7F
_FLBAS_EXTENDED = 1 << 4  # also MSET of Format NVM
_DPS, _PI_AT = 0xF, 5  # type and place of protection information: PI and PIL
_DPS_FIRST, _DPC_LAST = 1 << 3, 1 << 4
# FMTPINFO and PROTECTION FIELD USAGE. Spec: SBC-3 table 40.
_TYPES = {(0b00, 0): 0, (0b10, 0): 1, (0b11, 0): 2, (0b11, 1): 3}
# Without FOV these must be zero. Spec: SBC-3 5.3.2.2.
_FORMAT_OPTIONS = ("dpry", "dcrt", "stpf", "ip")
# Whatever FOV says, these ask for what a namespace does not have.
_UNSUPPORTED = ("p_i_information", "protection_interval_exponent", "defect_list_length")
# How Format NVM fails without having touched the medium.
_REFUSALS = frozenset({SenseKey.ILLEGAL_REQUEST, SenseKey.DATA_PROTECT, SenseKey.NOT_READY})

NvmeConversation = Generator[NvmeCommand, Any, Values]


def _wrong_parameter(header: Values, name: str) -> CheckCondition:
    byte, bit = header.structure.by_name[name].highest_bit("big")
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _parse_header(task: Task) -> Values | None:
    """Return the parameter list header, checked; None without FMTDATA."""
    cdb = task.cdb
    if cdb.fmtpinfo and not task.protection_types:
        raise task.invalid_field("fmtpinfo")
    if cdb.ffmt == 0b11:
        raise task.invalid_field("ffmt")
    if not cdb.fmtdata:
        if cdb.defect_list_format:
            raise task.invalid_field("defect_list_format")
        return None
    header = (LONG_HEADER if cdb.longlist else SHORT_HEADER).parse(task.data_out)
    wrong = () if header.fov else _FORMAT_OPTIONS
    for name in (*wrong, *_UNSUPPORTED):
        if header.get(name, 0):
            raise _wrong_parameter(header, name)
    return header


def _protection_type(task: Task, header: Values | None) -> int | None:
    """Return the type of protection information that is asked for, None: what there is is kept.

    So it is where none is transferred. Spec: SBC-3 5.3.2.1 (FMTPINFO, PROTECTION FIELD USAGE).
    """
    usage = header.protection_fields_usage if header is not None else 0
    kind = _TYPES.get((task.cdb.fmtpinfo, usage))
    if kind is None and header is not None and usage:
        raise _wrong_parameter(header, "protection_fields_usage")
    if kind is None or (kind and kind not in task.lu.facts.formats_protection):
        raise task.invalid_field("fmtpinfo")
    return kind if kind or task.moves_protection else None


def _choose_format(lu: LogicalUnit, kind: int | None) -> int:
    """Return the LBA format of the wanted block length: the current, else the fastest.

    `kind` is the type of protection information, None: metadata, with its protection
    information, is kept if there is such a format. What is divided into zones keeps its format:
    those of another one would be others.
    """
    if not lu.writes_anywhere:
        if kind is not None or lu.mode.pending_block_bytes:
            raise CheckCondition(Sense(INVALID_FIELD_IN_CDB))
        return lu.facts.lba_format_index
    wanted = lu.mode.pending_block_bytes or lu.block_bytes
    current = lu.facts.lba_format
    metadata = (current.ms, 0) if kind is None else (TUPLE_BYTES if kind else 0,)
    candidates = [
        (each.raw != current.raw, each.ms != metadata[0], each.rp, index)
        for index, each in enumerate(lu.facts.lba_formats)
        if 1 << each.lbads == wanted and each.ms in metadata
    ]
    if not candidates:
        raise CheckCondition(Sense(INVALID_FIELD_IN_CDB))
    return min(candidates)[-1]


def _identify(lu: LogicalUnit) -> NvmeConversation:
    completion = yield NvmeCommand(
        AdminOpcode.IDENTIFY,
        nsid=lu.nsid,
        cdw10=_CNS_NAMESPACE,
        data_in=IDENTIFY_BYTES,
        admin=True,
    )
    return IDENTIFY_NAMESPACE.parse(completion.data)


def _fraction(namespace: Values) -> int | None:
    """Return how far a format has come, of 65536; None if none runs or nobody knows."""
    remaining = namespace.fpi & _FPI_REMAINING
    if not namespace.fpi & _FPI_SUPPORTED or not remaining:
        return None
    return (100 - min(remaining, 100)) * 65536 // 100


def _of_all(lu: LogicalUnit, fraction: int | None) -> int | None:
    """Return how far all has come, of which the format is half where a pattern follows."""
    return fraction // 2 if fraction is not None and lu.pattern_follows else fraction


def refresh_progress(lu: LogicalUnit) -> Translation:
    """Ask the controller how far the format under way has come, for `lu.progress`."""
    try:
        namespace = yield from _identify(lu)
    except NvmeError:
        return GOOD  # what was known before still holds
    fraction = _of_all(lu, _fraction(namespace))
    if lu.readiness is Readiness.FORMATTING and fraction is not None:
        lu.progress = max(fraction, lu.progress or 0)
    return GOOD


def _format_nvm(lu: LogicalUnit, index: int, kind: int | None, erase: SecureErase) -> NvmeCommand:
    cdw10 = (index & 0xF) | (index >> 4) << 12
    namespace = lu.facts.namespace
    if kind:
        first = 0 if namespace.dpc & _DPC_LAST else _DPS_FIRST
        cdw10 |= _FLBAS_EXTENDED | (kind | first) << _PI_AT
    elif lu.facts.lba_formats[index].ms:
        cdw10 |= namespace.flbas & _FLBAS_EXTENDED | (namespace.dps & _DPS) << _PI_AT
    return NvmeCommand(
        AdminOpcode.FORMAT_NVM,
        nsid=lu.nsid,
        cdw10=cdw10 | erase << _SES_AT,
        admin=True,
        timeout_s=_FORMAT_SECONDS,
    )


def _format(task: Task, command: NvmeCommand, pattern: Pattern, before: Readiness) -> Translation:
    """Format, and leave the logical unit ready or not, whatever happens."""
    lu = task.lu
    try:
        yield command
        namespace = yield from _identify(lu)
        while (fraction := _of_all(lu, _fraction(namespace))) is not None:
            lu.progress = fraction
            yield Progress(fraction, _POLL_SECONDS)
            namespace = yield from _identify(lu)
        lu.formatted(namespace, but=task.nexus)
        if pattern.repeated:
            yield from write_pattern(lu, pattern.repeated)
            lu.initialization.end()
    except UnsavedState:
        return Result(Status.CHECK_CONDITION, Sense(FORMAT_COMMAND_FAILED))
    except NvmeError as error:
        result = result_of(error)
        refused = error.command.opcode == AdminOpcode.FORMAT_NVM and (
            result.sense is not None and result.sense.key in _REFUSALS
        )
        if refused:
            _enter(lu, before)
            _forget_pattern(lu, before)
            return result
        return Result(Status.CHECK_CONDITION, Sense(FORMAT_COMMAND_FAILED))
    else:
        _enter(lu, Readiness.READY)
        return GOOD
    finally:
        lu.pattern_follows = False
        # Failed, or abandoned half way: the medium is in no known state.
        if lu.readiness is Readiness.FORMATTING:
            _enter(lu, Readiness.FORMAT_FAILED)


def _enter(lu: LogicalUnit, readiness: Readiness, progress: int | None = None) -> None:
    lu.readiness, lu.progress = readiness, progress
    lu.on_change()


def _forget_pattern(lu: LogicalUnit, before: Readiness) -> None:
    """None is to be written, and none was: what was written down before the format is so no more.

    Where that cannot be saved, the logical unit is taken for half formatted after a restart.
    """
    if before is Readiness.READY:
        with suppress(UnsavedState):  # the store has told why
            lu.initialization.end()


def _check_alone(lu: LogicalUnit, erase: SecureErase) -> Translation:
    """Refuse to format blocks that were not addressed. Spec: NVMe Base 2.0 5.14 (FNA).

    Format NVM takes whole namespaces, some controllers all of theirs.
    """
    if lu.capacity_blocks < lu.facts.capacity_blocks:
        raise CheckCondition(Sense(INVALID_FIELD_IN_CDB))
    # Of namespaces that have their format in common, what is erased takes another format, too.
    formats_all = lu.facts.controller_bit("fna", _FNA_FORMATS_ALL)
    if formats_all or (erase and lu.facts.controller_bit("fna", _FNA_ERASES_ALL)):
        completion = yield NvmeCommand(
            AdminOpcode.IDENTIFY, cdw10=_CNS_ACTIVE_LIST, data_in=IDENTIFY_BYTES, admin=True
        )
        if any(completion.data[4:8]):
            raise CheckCondition(Sense(INVALID_FIELD_IN_CDB))
    return GOOD


def format_unit(task: Task) -> Translation:
    """Spec: SBC-3 5.3; NVMe Base 2.0 5.14 (Format NVM)."""
    lu = task.lu
    if lu.readiness not in (Readiness.READY, Readiness.FORMAT_FAILED):
        sense = lu.not_ready
        assert sense is not None
        raise CheckCondition(sense)
    header = _parse_header(task)
    kind = _protection_type(task, header)
    index = _choose_format(lu, kind)
    pattern = Pattern()
    if header is not None and header.ip:
        pattern = pattern_of(task, header, 1 << lu.facts.lba_formats[index].lbads)
    erase = max(lu.secure_format, SecureErase.USER_DATA if pattern.erases else SecureErase.NONE)
    yield from _check_alone(lu, erase)
    if lu.firmware.busy:  # which may reset the controller
        return Result(Status.BUSY)
    if pattern.repeated:
        lu.initialization.begin()
        lu.pattern_follows = True
    work = _format(task, _format_nvm(lu, index, kind, erase), pattern, before=lu.readiness)
    # Not ready from now on, even if the work begins after the status.
    _enter(lu, Readiness.FORMATTING, 0)
    if header is not None and header.immed:
        return in_background(task, work)
    return (yield from work)


def formats(lu: LogicalUnit) -> bool:
    """Whether Format NVM does what FORMAT UNIT is to do, by configuration."""
    erases_keys = lu.facts.controller_bit("fna", _FNA_ERASES_KEYS)
    if lu.secure_format is SecureErase.CRYPTOGRAPHIC and not erases_keys:
        return False
    return lu.facts.controller_bit("oacs", _OACS_FORMAT)


COMMANDS = (
    Command(
        "FORMAT UNIT",
        0x04,
        6,
        "SBC-3 5.3",
        format_unit,
        (
            Field("fmtpinfo", 1, 6, 2, "type of protection information"),
            Field("longlist", 1, 5, 1),
            Field("fmtdata", 1, 4, 1, "a parameter list follows"),
            Field("cmplst", 1, 3, 1, "complete defect list", ignored=True),
            Field("defect_list_format", 1, 0, 3),
            Field("ffmt", 4, 0, 2, "fast format: what Format NVM does"),
        ),
        data=Data.OUT,
        transfer=Transfer.FORMAT_HEADER,
        access=Access.WRITE,
        needs_ready=False,
        modifies_medium=True,
        exclusive=True,
        goes_on=lambda lu: lu.readiness is Readiness.FORMATTING,
        supported=formats,
        nvme=("Format NVM", "Identify", "Write", "Flush"),
        timeout_s=_FORMAT_SECONDS,
        doc="A disk with zones keeps its block length, and all of them are empty afterwards. With "
        "`secure_format=` what was on the disk is erased (Secure Erase Settings); where "
        "the disk has no such erasure there is no FORMAT UNIT. An initialization pattern is "
        "written after the format; what a restart has interrupted is to be formatted again.",
    ),
)
