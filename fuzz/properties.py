"""The properties that the translation tables must have.

Each is a function of a row and a hypothesis `data` object. What is wrong is
raised as a Finding that names the row and, where there is one, the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.dataplane import NvmeOp, UnitParameters, hot_data_bytes, hot_translate
from scsi2nvme.fuzz import strategies
from scsi2nvme.fuzz.controller import play, touches_blocks
from scsi2nvme.logical_unit import LogicalUnit, Nexus, PortName
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.structures import DSM_RANGE
from scsi2nvme.scsi.command import Command, Data, Hot, Result, Transfer
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    LOGICAL_UNIT_NOT_SUPPORTED,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of_status


class Finding(AssertionError):
    """A property does not hold. Names the row and the field."""

    def __init__(self, row: Command | None, field: str, message: str) -> None:
        name = row.name if row is not None else "any CDB"
        super().__init__(f"{name}: {field}: {message}" if field else f"{name}: {message}")


@dataclass(frozen=True, slots=True)
class Property:
    """A property: `applies` says to which rows, `check` proves or raises."""

    name: str
    check: Callable[[Command, st.DataObject], None]
    applies: Callable[[Command], bool] = lambda row: True


def make_unit(facts: NamespaceFacts) -> tuple[LogicalUnit, Nexus]:
    """Return a logical unit with one nexus, nothing pending."""
    lu = LogicalUnit(facts)
    nexus = Nexus(PortName("iqn.2026-11.fuzz:a", b"\0" * 5 + b"\1"), PortName("iqn.2026-11.fuzz:t"))
    nexus.luns[0] = lu
    lu.attach(nexus)
    lu.unit_attentions[nexus.key].clear()
    return lu, nexus


def _check_result(row: Command | None, result: Result) -> None:
    """Whether a result is one that SAM allows."""
    if not isinstance(result, Result):
        raise Finding(row, "", f"ends with {result!r}")
    if (result.status is Status.CHECK_CONDITION) != (result.sense is not None):
        raise Finding(row, "", f"{result.status.name} and sense {result.sense}")
    if result.sense is None:
        return
    for descriptor_format in (False, True):
        data = result.sense.data(descriptor_format)
        if len(data) > 252 or data[7] != len(data) - 8:
            raise Finding(row, "", f"sense data of {len(data)} bytes: {data.hex()}")


def one_legal_outcome(row: Command, data: st.DataObject) -> None:
    """Every CDB of every length, against any controller, ends legally and once."""
    facts = data.draw(strategies.namespaces())
    _, nexus = make_unit(facts)
    cdb = data.draw(st.one_of(strategies.any_cdbs(), strategies.cdbs(row, facts.capacity_blocks)))
    selected = commands.find(cdb)
    data_out = data.draw(st.binary(max_size=64))
    if selected is not None and len(cdb) >= selected.length:
        size = strategies.data_for(selected, cdb, facts.block_bytes)
        data_out = (data_out * (size // max(len(data_out), 1) + 1))[:size]
    answers = data.draw(st.lists(strategies.completions(), max_size=8))
    queue = iter(answers)

    def answer(command: NvmeCommand) -> Completion:
        return next(queue, Completion(status=0x006, dnr=True))

    lun = data.draw(st.sampled_from((0, 0, 0, 1, None)))
    result = play(engine.run(nexus, lun, cdb, data_out), answer, lambda command: None)
    _check_result(selected, result)
    if result.background is not None:
        play(result.background, answer, lambda command: None)
    if lun == 0 and selected is None and result.sense is not None:
        expected = (INVALID_COMMAND_OPERATION_CODE, INVALID_FIELD_IN_CDB)
        if result.sense.code not in expected:
            raise Finding(None, "opcode", f"{cdb.hex()} ends with {result.sense.code}")


def reserved_bits(row: Command, data: st.DataObject) -> None:
    """A reserved bit is refused, and the field pointer says which."""
    facts = data.draw(strategies.namespaces())
    lu, nexus = make_unit(facts)
    assume(row.supported(lu))
    cdb, byte, bit = data.draw(strategies.damaged_cdbs(row))
    if commands.find(cdb) is not row:
        return
    result = play(engine.run(nexus, 0, cdb, b""), _refuse(row), lambda command: None)
    sense = result.sense
    if sense is None or sense.code is not INVALID_FIELD_IN_CDB or sense.pointer is None:
        raise Finding(row, f"byte {byte} bit {bit}", f"reserved, but {cdb.hex()} gives {sense}")
    if (sense.pointer.byte, sense.pointer.bit) != (byte, bit):
        raise Finding(row, f"byte {byte} bit {bit}", f"the field pointer says {sense.pointer}")


def _refuse(row: Command) -> Callable[[NvmeCommand], Completion]:
    def answer(command: NvmeCommand) -> Completion:
        raise Finding(row, "", f"sends {command.name} for a CDB that must be refused")

    return answer


def _allowed(row: Command, cdb: bytes, facts: NamespaceFacts) -> range:
    """The blocks that a CDB names."""
    values = row.structure.parse(cdb)
    lba = values.get("lba", 0)
    if row.length_field not in row.structure.by_name or row.transfer is Transfer.BYTES:
        return range(facts.capacity_blocks)
    count = row.blocks(values)
    # A count of zero can mean the rest of the medium (WRITE SAME, SYNCHRONIZE CACHE).
    return range(lba, lba + count if count else facts.capacity_blocks)


def _check_command(row: Command, facts: NamespaceFacts, named: range, command: NvmeCommand) -> None:
    """Whether an NVMe command stays within its CDB and within the controller's limits."""
    moved = max(len(command.data_out), command.data_in)
    if not command.admin and moved > facts.maximum_transfer_bytes:
        raise Finding(row, row.length_field, f"{command.name} moves {moved} bytes, past MDTS")
    for name in ("cdw10", "cdw11", "cdw12", "cdw13", "cdw14", "cdw15"):
        if not 0 <= getattr(command, name) <= 0xFFFFFFFF:
            raise Finding(row, name, f"{command.name} has {getattr(command, name):#x}")
    if touches_blocks(command):
        blocks = range(command.slba, command.slba + command.blocks)
        _within(row, command, blocks, named, facts)
        if command.opcode in (Opcode.READ, Opcode.WRITE, Opcode.COMPARE):
            size = command.blocks * facts.block_bytes
            if moved != size:
                raise Finding(row, "", f"{command.name} of {size} bytes with {moved} of data")
    elif not command.admin and command.opcode == Opcode.DATASET_MANAGEMENT:
        for at in range(0, len(command.data_out), DSM_RANGE.size):
            each = DSM_RANGE.parse(command.data_out[at:])
            _within(row, command, range(each.slba, each.slba + each.nlb), named, facts)


def _within(
    row: Command, command: NvmeCommand, blocks: range, named: range, facts: NamespaceFacts
) -> None:
    if blocks.stop > facts.capacity_blocks:
        raise Finding(row, "lba", f"{command.name} of {blocks} is beyond the capacity")
    if blocks.start < named.start or blocks.stop > named.stop:
        raise Finding(row, "lba", f"{command.name} of {blocks}, the CDB names {named}")


def nvme_within_cdb(row: Command, data: st.DataObject) -> None:
    """No NVMe command leaves the CDB's blocks or breaks a limit; blocks add up."""
    facts = data.draw(strategies.namespaces())
    _, nexus = make_unit(facts)
    cdb = data.draw(strategies.cdbs(row, facts.capacity_blocks))
    values, size = row.structure.parse(cdb), strategies.data_for(row, cdb, facts.block_bytes)
    # What a fuzzed run can afford to split into single commands.
    assume(row.transfer is Transfer.BYTES or values.get(row.length_field, 0) <= 1 << 18)
    seed = data.draw(st.binary(min_size=1, max_size=48))
    data_out = (seed * (size // len(seed) + 1))[:size]
    named, touched = _allowed(row, cdb, facts), []

    def check(command: NvmeCommand) -> None:
        _check_command(row, facts, named, command)
        if touches_blocks(command):
            touched.append(command)

    def answer(command: NvmeCommand) -> Completion:
        if len(touched) > 4000:
            return Completion(status=0x006, dnr=True)
        return Completion()

    result = play(engine.run(nexus, 0, cdb, data_out), answer, check)
    if row.hot is Hot.NO or result.status is not Status.GOOD or len(touched) > 4000:
        return
    total = sum(command.blocks for command in touched)
    expected = row.blocks(values) if row.hot in (Hot.READ, Hot.WRITE) else 0
    if total != expected:
        raise Finding(row, row.length_field, f"{total} blocks for {expected}")


def allocation_length_truncates(row: Command, data: st.DataObject) -> None:
    """A shorter allocation length yields a prefix of what a longer one yields."""
    facts = data.draw(strategies.namespaces())
    cdb = data.draw(strategies.cdbs(row, facts.capacity_blocks))
    field = row.structure.by_name[row.length_field]
    long, short = bytearray(cdb), bytearray(cdb)
    field.write(long, min(field.maximum, 0xFFFF), "big")
    length = data.draw(st.integers(0, min(field.maximum, 0xFFFF)))
    field.write(short, length, "big")
    results = []
    for each in (long, short):
        _, nexus = make_unit(facts)
        translation = engine.run(nexus, 0, bytes(each), b"")
        results.append(play(translation, lambda command: Completion(), lambda command: None))
    whole, cut = results
    if whole.status is not Status.GOOD or cut.status is not Status.GOOD:
        return  # a minimum allocation length is a rule of its own
    if cut.data_in != whole.data_in[:length] and cut.data_in != whole.data_in[: len(cut.data_in)]:
        raise Finding(row, row.length_field, f"{length}: {cut.data_in.hex()} is no prefix")
    if len(cut.data_in) > length:
        raise Finding(row, row.length_field, f"{length}: {len(cut.data_in)} bytes returned")


def encode_decode(row: Command, data: st.DataObject) -> None:
    """Decoding what was encoded gives the same fields, and the same bytes again."""
    values = {
        field.name: data.draw(strategies.field_values(field), label=field.name)
        for field in row.fields
    }
    cdb = row.build(**values)
    parsed = row.structure.parse(cdb)
    for name, value in values.items():
        if parsed[name] != value:
            raise Finding(row, name, f"{value:#x} comes back as {parsed[name]:#x}")
    if commands.find(cdb) is not row:
        raise Finding(row, "opcode", f"{cdb.hex()} selects {commands.find(cdb)}")
    if row.reserved_bit(cdb) is not None:
        raise Finding(row, "", f"{cdb.hex()} sets a reserved bit: {row.reserved_bit(cdb)}")
    if any(byte & ~allowed for byte, allowed in zip(cdb[1:], row.structure.mask[1:], strict=True)):
        raise Finding(row, "", "a field lies outside the usage map")


def status_becomes_sense(row: Command, data: st.DataObject) -> None:
    """Every NVMe status of every command becomes a legal SCSI result."""
    status = data.draw(st.integers(1, 0x7FF))
    opcode, dnr = data.draw(st.integers(0, 255)), data.draw(st.booleans())
    lba = data.draw(st.one_of(st.none(), st.integers(0, (1 << 64) - 1)))
    result = result_of_status(opcode, status, dnr, lba)
    _check_result(row, result)
    if result.status is Status.GOOD and status >> 8 != 1:
        raise Finding(row, "", f"NVMe status {status:#x} becomes GOOD")
    if result.sense is not None and result.sense.key is SenseKey.NO_SENSE:
        raise Finding(row, "", f"NVMe status {status:#x} becomes NO SENSE")


def _parameters(lu: LogicalUnit) -> UnitParameters:
    return UnitParameters(
        lu.nsid,
        lu.block_bytes,
        lu.capacity_blocks,
        lu.nvme_maximum_blocks,
        lu.optimal_boundary_blocks,
        lu.volatile_write_cache,
    )


def _op(command: NvmeCommand) -> NvmeOp:
    if command.opcode == Opcode.FLUSH:
        return NvmeOp(command.opcode, 0, 1, 0, command.nsid)
    flags = command.cdw12 & ~0xFFFF
    return NvmeOp(command.opcode, command.slba, command.blocks, flags, command.nsid)


def native_agrees(row: Command, data: st.DataObject) -> None:
    """The native hot path does what the Python translation does, or steps aside."""
    facts = data.draw(strategies.namespaces())
    lu, nexus = make_unit(facts)
    damaged = st.just(None)
    if strategies.has_reserved_bits(row):
        damaged = st.one_of(st.none(), strategies.damaged_cdbs(row).map(lambda each: each[0]))
    cdb = data.draw(damaged) or data.draw(strategies.cdbs(row, facts.capacity_blocks))
    announced, direction = hot_data_bytes(cdb, lu.block_bytes)
    if commands.find(cdb) is row:
        expected = row.data_bytes(row.structure.parse(cdb), lu.block_bytes)
        wanted = {Data.NONE: 0, Data.IN: 1, Data.OUT: 2}[row.data]
        if (announced, direction) != (expected, wanted):
            raise Finding(row, row.length_field, f"native announces {announced}, not {expected}")
    native = hot_translate(_parameters(lu), cdb)
    if native is None:
        return
    ops: list[NvmeOp] = []
    size = row.data_bytes(row.structure.parse(cdb), lu.block_bytes)
    data_out = bytes(size) if row.data is Data.OUT else b""
    result = play(
        engine.run(nexus, 0, cdb, data_out),
        lambda command: Completion(),
        lambda command: ops.append(_op(command)),
    )
    if result.status is not Status.GOOD or ops != native:
        raise Finding(row, "", f"{cdb.hex()}: native {native}, Python {result.status.name} {ops}")


def native_takes(row: Command, data: st.DataObject) -> None:
    """The native hot path takes every plain command: it does not just step aside."""
    facts = data.draw(strategies.namespaces())
    lu, _ = make_unit(facts)
    count_field = row.structure.by_name[row.length_field]
    most = min(lu.maximum_transfer_blocks, facts.capacity_blocks, count_field.maximum)
    count = data.draw(st.integers(1, most))
    lba_field = row.structure.by_name["lba"]
    lba = data.draw(st.integers(0, min(lba_field.maximum, facts.capacity_blocks - count)))
    cdb = row.build(**{"lba": lba, row.length_field: count})
    if hot_translate(_parameters(lu), cdb) is None:
        raise Finding(row, "", f"the native hot path refuses {cdb.hex()}")


def wrong_logical_unit(row: Command, data: st.DataObject) -> None:
    """Without a logical unit a command is refused, unless its row says otherwise."""
    _, nexus = make_unit(data.draw(strategies.namespaces()))
    cdb = data.draw(strategies.cdbs(row))
    result = play(engine.run(nexus, 7, cdb, b""), _refuse(row), lambda command: None)
    _check_result(row, result)
    refused = result.sense is not None and result.sense.code is LOGICAL_UNIT_NOT_SUPPORTED
    if row.without_unit is None and not refused:
        raise Finding(row, "lun", f"{cdb.hex()} at LUN 7 ends with {result.status.name}")


PROPERTIES = (
    Property("encode and decode", encode_decode),
    Property("reserved bits", reserved_bits, strategies.has_reserved_bits),
    Property("one legal outcome", one_legal_outcome),
    Property("NVMe within the CDB", nvme_within_cdb),
    Property(
        "allocation length",
        allocation_length_truncates,
        lambda row: row.data is Data.IN and "allocation_length" in row.structure.by_name,
    ),
    Property("status to sense", status_becomes_sense),
    Property("wrong logical unit", wrong_logical_unit),
    Property("native agrees", native_agrees),
    Property("native takes", native_takes, lambda row: row.hot in (Hot.READ, Hot.WRITE)),
)
