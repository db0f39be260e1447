"""READ and WRITE, of every CDB length.

These translations are the reference that the native hot path is held
against, and they serve whenever it steps aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.protection import (
    APPLICATION_TAG_MASK,
    EXPECTED_APPLICATION_TAG,
    EXPECTED_TAG,
    protection_of,
)
from scsi2nvme.commands.zone_access import check_read, check_write, in_order
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import DataMemory, NvmeCommand, Opcode
from scsi2nvme.nvme.directives import in_stream
from scsi2nvme.nvme.protection import Protection
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, Sense
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

FUA = 1 << 30  # CDW12
_BATCH = 32
_LONG = 32  # bytes of a CDB
_TYPE_WITH_LONG_CDBS = 2


def check_range(task: Task, lba: int, blocks: int) -> None:
    """Refuse blocks beyond the capacity; an empty range may end exactly there.

    Spec: SBC-3 4.5.
    """
    if lba + blocks > task.lu.capacity_blocks:
        raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))


def check_length(task: Task, blocks: int) -> None:
    """Refuse more blocks than the Block Limits page allows. Spec: SBC-3 6.5.3.

    What is moved in portions may exceed them: firmware reads a file by one READ (10),
    whatever the page says.
    """
    most = MAXIMUM_TRANSFER_BYTES // task.block_bytes
    if blocks > most and task.portion is None:
        raise task.invalid_field(task.command.length_field)


def to_move(task: Task, lba: int, blocks: int) -> tuple[int, int]:
    """Return the first block and the number of those that the command moves now."""
    if task.portion is None:
        return lba, blocks
    block_bytes = task.lu.block_bytes
    return lba + task.portion.offset // block_bytes, task.portion.size // block_bytes


def check_protect(task: Task, name: str) -> None:
    """Refuse a protection request of a command that never moves protection information.

    Spec: SBC-3 4.22 (a logical unit without it answers INVALID FIELD IN CDB).
    """
    if task.cdb.get(name, 0):
        raise task.invalid_field(name)


def split(
    lu: LogicalUnit, lba: int, blocks: int, protection: Protection | None = None
) -> Iterator[tuple[int, int]]:
    """Cut a range at the controller's limits: MDTS and the optimal I/O boundary.

    And where another application tag is expected: a command has one.
    """
    protection = protection or lu.protection
    most = lu.nvme_blocks(protection.tuple_bytes)
    while blocks:
        count = protection.alike(lba, min(blocks, most))
        if lu.optimal_boundary_blocks:
            count = min(count, lu.optimal_boundary_blocks - lba % lu.optimal_boundary_blocks)
        yield lba, count
        lba += count
        blocks -= count


def block_command(
    opcode: Opcode,
    lu: LogicalUnit,
    lba: int,
    blocks: int,
    *,
    cdw12: int = 0,
    cdw13: int = 0,
    data_out: bytes = b"",
    data_in: int = 0,
    protection: Protection | None = None,
    memory: DataMemory | None = None,
) -> NvmeCommand:
    """Return an NVMe command on a range of logical blocks.

    Their protection information, if any, is the controller's affair unless `protection` says
    something else.
    """
    prinfo, tag, application = (protection or lu.protection).words(opcode, lba)
    return NvmeCommand(
        opcode,
        nsid=lu.nsid,
        cdw10=lba & 0xFFFFFFFF,
        cdw11=lba >> 32,
        cdw12=cdw12 | prinfo | (blocks - 1),
        cdw13=cdw13,
        cdw14=tag,
        cdw15=application,
        data_out=data_out,
        data_in=data_in,
        memory=memory,
    )


def in_batches(commands: Iterable[NvmeCommand]) -> Iterator[tuple[NvmeCommand, ...]]:
    """Group commands to run together, so that neither number nor data is without bound."""
    batch: list[NvmeCommand] = []
    size = 0
    for command in commands:
        moved = len(command.data_out) + command.data_in
        if batch and (len(batch) == _BATCH or size + moved > MAXIMUM_TRANSFER_BYTES):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(command)
        size += moved
    if batch:
        yield tuple(batch)


def run(commands: Iterable[NvmeCommand]) -> Translation:
    """Run commands, of which only failure matters, batch by batch."""
    yield from in_batches(commands)
    return GOOD


def read_commands(
    lu: LogicalUnit,
    lba: int,
    blocks: int,
    cdw12: int = 0,
    protection: Protection | None = None,
    cdw13: int = 0,
) -> Iterator[NvmeCommand]:
    """Return the Reads of a range, with tuples if `protection` moves them."""
    behind = protection.tuple_bytes if protection else 0
    for start, count in split(lu, lba, blocks, protection):
        size = count * (lu.block_bytes + behind)
        yield block_command(
            *(Opcode.READ, lu, start, count),
            cdw12=cdw12,
            cdw13=cdw13,
            data_in=size,
            protection=protection,
        )


def data_commands(
    opcode: Opcode,
    lu: LogicalUnit,
    lba: int,
    data: bytes,
    cdw12: int = 0,
    protection: Protection | None = None,
    cdw13: int = 0,
) -> Iterator[NvmeCommand]:
    """Return the Writes or Compares of `data`, which begins at `lba`; as `read_commands`."""
    behind = protection.tuple_bytes if protection else 0
    size, offset = lu.block_bytes + behind, 0
    for start, count in split(lu, lba, len(data) // size, protection):
        end = offset + count * size
        piece = data[offset:end]
        yield block_command(
            *(opcode, lu, start, count),
            cdw12=cdw12,
            cdw13=cdw13,
            data_out=piece,
            protection=protection,
        )
        offset = end


def read(task: Task) -> Translation:
    """Spec: SBC-3 5.11 to 5.13; NVM Command Set 1.0 3.2.4."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_long(task)
    protection = protection_of(task)
    check_range(task, lba, blocks)
    check_read(task, lba, blocks)
    check_length(task, blocks)
    hint = lu.access_hints.of_read(_group(task))
    return (yield from _told(task, 0, hint, lambda _, hint: _read(task, protection, hint)))


def _read(task: Task, protection: Protection, hint: int) -> Translation:
    """Read what is to be moved, with what is said of these blocks."""
    lba, blocks = task.cdb["lba"], task.command.blocks(task.cdb)
    cdw12 = FUA if task.cdb.get("fua") else 0
    commands = tuple(read_commands(task.lu, *to_move(task, lba, blocks), cdw12, protection, hint))
    if not commands:
        return GOOD
    completions = yield commands
    return Result(data_in=b"".join(completion.data for completion in completions))


def write(task: Task) -> Translation:
    """Spec: SBC-3 5.33 to 5.35; NVM Command Set 1.0 3.2.6."""
    lba, blocks = task.cdb["lba"], task.command.blocks(task.cdb)
    check_long(task)
    protection = protection_of(task)
    check_range(task, lba, blocks)
    check_length(task, blocks)
    check_write(task, lba, blocks)
    stream = stream_of(task)
    hint = task.lu.access_hints.of_write(_group(task))
    return (yield from _told(task, stream, hint, partial(_write, task, protection)))


def _told(
    task: Task, stream: int, hint: int, move: Callable[[int, int], Translation]
) -> Translation:
    """Move blocks by `move`, which is given the stream, and what is said of their use; 0: nothing.

    Nothing depends on either. A controller that refuses a command for one of them is asked
    without, and, if that was it, no more: each such command would be sent twice.
    """
    *before, last = dict.fromkeys(((stream, hint), (stream, 0), (0, 0)))
    for told in before:
        try:
            result = yield from move(*told)
            break
        except NvmeError as error:
            if error.completion.status != StatusCode.INVALID_FIELD:
                raise
    else:
        told = last
        result = yield from move(*told)
    if told[0] != stream:
        task.lu.refuse_streams()
    elif told[1] != hint:
        task.lu.refuse_hints()
    return result


def _write(task: Task, protection: Protection, stream: int, hint: int) -> Translation:
    """Write what is to be moved, as blocks of a stream, 0: of none; with what is said of them."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    dtype, dspec = in_stream(stream)
    cdw13 = dspec | hint
    cdw12 = dtype | (FUA if task.cdb.get("fua") else 0)
    start, _ = to_move(task, lba, blocks)
    data = task.data_out
    commands = tuple(data_commands(Opcode.WRITE, lu, start, data, cdw12, protection, cdw13))
    if lu.zones is not None:
        return (yield from in_order(lu, commands))
    if commands:
        yield commands
    return GOOD


def _group(task: Task) -> int | None:
    """Return the group that a command names, None if its CDB has no field for one."""
    return task.command.hint_of(task.cdb.raw) if task.command.hint_field else None


def stream_of(task: Task) -> int:
    """Return the stream that a write is of, 0 if it is of none.

    A group of another number than the permanent streams have is no hint. Spec: SBC-4 4.22.2.
    """
    if stream := task.cdb.get("str_id", 0):
        return stream
    permanent = task.lu.permanent_streams
    group = task.command.hint_of(task.cdb.raw) if permanent else 0
    return group if group <= permanent else 0


def cdb_fields(length: int, count: str = "transfer_length") -> tuple[Field, ...]:
    """Return the fields that block commands of one CDB length share.

    `count` is the standard's name of the number of blocks. Spec: SBC-3 5.11 to 5.13.
    """
    return {
        10: (Field("lba", 2, 0, 32), Field(count, 7, 0, 16), group_field(6)),
        12: (Field("lba", 2, 0, 32), Field(count, 6, 0, 32), group_field(10)),
        16: (Field("lba", 2, 0, 64), Field(count, 10, 0, 32), group_field(14)),
    }[length]


def group_field(byte: int) -> Field:
    """Return GROUP NUMBER, a hint for READ and WRITE where GROUP_SUP of page 86h is set.

    Else, and by other commands, it is not used.

    Spec: SBC-3 4.23, SBC-4 4.22.2 (64 groups).
    """
    return Field("group", byte, 0, 6, ignored=True)


def protect_field(name: str) -> Field:
    """Return RDPROTECT, WRPROTECT or VRPROTECT."""
    return Field(name, 1, 5, 3, "protection information that is moved, and checked")


def no_protect_field(name: str) -> Field:
    """Return the same of a command that moves no protection information."""
    return Field(name, 1, 5, 3, "protection information: must be zero")


def supports_long_cdbs(lu: LogicalUnit) -> bool:
    """Whether there are commands with a 32-byte CDB: with type 2 protection only.

    Spec: SBC-3 4.22.2.3.
    """
    return lu.facts.moves_protection and lu.facts.protection_type == _TYPE_WITH_LONG_CDBS


def long_fields(protect: str, count: str, *flags: Field) -> tuple[Field, ...]:
    """Return the fields of a 32-byte CDB. Spec: SBC-3 5.14, 5.32, 5.36, 5.40, 5.45."""
    return (
        group_field(6),
        Field("additional_cdb_length", 7, doc="18h"),
        Field(protect, 10, 5, 3, "protection information that is moved, and checked"),
        *flags,
        Field("lba", 12, 0, 64),
        Field(EXPECTED_TAG, 20, 0, 32),
        Field(EXPECTED_APPLICATION_TAG, 24, 0, 16, "checked where ATO is one"),
        Field(APPLICATION_TAG_MASK, 26, 0, 16, "which bits of it"),
        Field(count, 28, 0, 32),
    )


def check_long(task: Task) -> None:
    """Refuse a 32-byte CDB that says it is none. Spec: SPC-4 4.2.5."""
    if task.command.length == _LONG and task.cdb["additional_cdb_length"] != _LONG - 8:
        raise task.invalid_field("additional_cdb_length")


# What it asks for, not to keep the blocks in a cache, is always so.
DPO = Field("dpo", 1, 4, 1, "disable page out")
FORCE_UNIT_ACCESS = Field("fua", 1, 3, 1, "force unit access")
FUA_NV = Field("fua_nv", 1, 1, 1, "obsolete", ignored=True)
_FLAGS = (
    DPO,
    FORCE_UNIT_ACCESS,
    FUA_NV,
)
_SIX = (Field("lba", 1, 0, 21), Field("transfer_length", 4, 0, 8))


def _row(name: str, opcode: int, length: int, spec: str) -> Command:
    reads = name == "READ"
    protect = "rdprotect" if reads else "wrprotect"
    return Command(
        f"{name} ({length})",
        opcode,
        length,
        spec,
        read if reads else write,
        _SIX if length == 6 else (protect_field(protect), *cdb_fields(length), *_FLAGS),
        data=Data.IN if reads else Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="" if length == 6 else protect,
        hint_field="" if length == 6 else "group",
        zero_length_means=256 if length == 6 else 0,
        access=Access.READ if reads else Access.WRITE,
        modifies_medium=not reads,
        hot=Hot.READ if reads else Hot.WRITE,
        nvme=("Read",) if reads else ("Write",),
    )


def _long_row(name: str, action: int, spec: str) -> Command:
    reads = name == "READ"
    protect = "rdprotect" if reads else "wrprotect"
    flags = Field("dpo", 10, 4, 1, "disable page out"), Field("fua", 10, 3, 1, "force unit access")
    return Command(
        f"{name} (32)",
        0x7F,
        _LONG,
        spec,
        read if reads else write,
        long_fields(protect, "transfer_length", *flags),
        service_action=action,
        data=Data.IN if reads else Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field=protect,
        hint_field="group",
        access=Access.READ if reads else Access.WRITE,
        modifies_medium=not reads,
        supported=supports_long_cdbs,
        nvme=("Read",) if reads else ("Write",),
    )


COMMANDS = (
    _row("READ", 0x08, 6, "SBC-2 5.5"),
    _row("READ", 0x28, 10, "SBC-3 5.11"),
    _row("READ", 0xA8, 12, "SBC-3 5.12"),
    _row("READ", 0x88, 16, "SBC-3 5.13"),
    _row("WRITE", 0x0A, 6, "SBC-2 5.24"),
    _row("WRITE", 0x2A, 10, "SBC-3 5.33"),
    _row("WRITE", 0xAA, 12, "SBC-3 5.34"),
    _row("WRITE", 0x8A, 16, "SBC-3 5.35"),
    _long_row("READ", 0x0009, "SBC-3 5.14"),
    _long_row("WRITE", 0x000B, "SBC-3 5.36"),
)
