"""The native hot path and the Python translation agree byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from hypothesis import assume
from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.commands.provisioning import UNMAP_BLOCK_DESCRIPTOR, UNMAP_HEADER
from scsi2nvme.fuzz import parameters, strategies
from scsi2nvme.fuzz.controller import Answer, content, play
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_unit
from scsi2nvme.native import hot
from scsi2nvme.native.hot import NvmeOp
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.mode_pages.hints_grouping import GROUPS, HINTS_GROUPING

_DIRECTIONS = {Data.NONE: 0, Data.IN: 1, Data.OUT: 2}
# What any data hardly ever suit.
_LOOKS_AT_DATA = (
    *(Hot.UNMAP, Hot.WRITE_SAME, Hot.VERIFY, Hot.WRITE_AND_VERIFY),
    Hot.COMPARE_AND_WRITE,
)

_COMPARES = (Hot.VERIFY, Hot.WRITE_AND_VERIFY, Hot.COMPARE_AND_WRITE)
_MOST_COMPARED = 1 << 16  # bytes

# Groups of which other things are said, where a group can say anything.
_HINTS = HINTS_GROUPING.layout.build(
    **{f"group_{group}_access": (0, 0x80, 0x96, 0x65)[group % 4] for group in range(GROUPS)},
    **{f"group_{group}_use": (0, 8)[group // 4 % 2] for group in range(GROUPS)},
)

# So many descriptors of an UNMAP are arbitrary: each draw takes as long as a translation.
_DRAWN = 7


def _cdb(row: Command, lu: LogicalUnit, data: st.DataObject) -> bytes:
    fitting = strategies.fitting_cdbs(row, lu.facts)
    choices = [
        *(fitting, fitting),
        strategies.cdbs(row, lu.capacity_blocks),
        strategies.any_cdbs(row),
    ]
    if strategies.reserved_bits(row):
        choices.append(strategies.damaged_cdbs(row).map(lambda each: each[0]))
    cdb = data.draw(data.draw(st.sampled_from(choices)))
    if len(cdb) < row.length or data.draw(st.integers(0, 7)):
        return cdb
    with_naca = bytearray(cdb)
    row.structure.by_name["naca"].write(with_naca, 1, "big")
    return bytes(with_naca)


def _request(row: Command, lu: LogicalUnit, data: st.DataObject) -> tuple[bytes, bytes]:
    """Draw a CDB, and just the data that it announces, as the hot path gets it."""
    sends = row.data is Data.OUT
    way = data.draw(st.sampled_from(("plain", "plain", "data", "any"))) if sends else "any"
    if row.hot in _LOOKS_AT_DATA and way == "plain":
        values, data_out = data.draw(_plain(row, lu, fits=data.draw(st.booleans())))
        cdb = row.build(**values)
    elif way != "any":
        cdb, data_out = data.draw(parameters.requests(row, lu))
    else:
        cdb, data_out = _cdb(row, lu, data), b""
    selected = commands.find(cdb)
    if selected is None or len(cdb) < selected.length or selected.data is not Data.OUT:
        return cdb, b""
    size = selected.data_bytes(selected.structure.parse(cdb), lu.block_bytes)
    if size > MAXIMUM_TRANSFER_BYTES:
        return cdb, b""
    return cdb, data_out[:size] + bytes(size - len(data_out[:size]))


def agrees(row: Command, data: st.DataObject) -> None:
    """Whatever the native path takes, the Python translation does, with the same SQEs."""
    lu, nexus = make_unit(data.draw(strategies.zoned_or_not()))
    if HINTS_GROUPING.supported(lu.facts):
        lu.mode.change(HINTS_GROUPING, _HINTS)
    compare(nexus, lu, UnitParameters.of(lu), *_request(row, lu, data))


def compare(
    nexus: Nexus, lu: LogicalUnit, parameters: UnitParameters, cdb: bytes, data_out: bytes
) -> bool:
    """Hold the native path against the Python translation; whether the native path takes a CDB.

    `lu` is LUN 0 of `nexus`, ready, with nothing pending, and `parameters` are its own. A Finding
    is raised where they do not agree.
    """
    selected = commands.find(cdb)
    if selected is not None and len(cdb) < selected.length:
        selected = None
    _check_data(selected, cdb, lu)
    native = hot.hot_translate(parameters, cdb, data_out)
    if native is None:
        return False
    if selected is None:
        raise Finding(None, "opcode", f"the native path takes {cdb.hex()}")
    if lu.zones is not None and selected.modifies_medium:
        raise Finding(selected, "hot", f"the native path changes zones by {cdb.hex()}")
    sent: list[NvmeCommand] = []
    answer = _as_expected(selected, cdb, data_out, lu)
    result = play(engine.run(engine.select(nexus, 0, cdb), data_out), answer, sent.extend)
    expected = [(command.sqe(), command.data_out) for command in sent]
    if result.status is Status.GOOD and expected == [(op.sqe, op.data_out) for op in native]:
        _check_phases(selected, native)
        _check_miscompare(nexus, lu, parameters, selected, cdb, data_out)
        return True
    field = _guilty(selected, cdb, data_out, lu)
    python = [sqe.hex() for sqe, _ in expected]
    end = result.sense or result.status.name
    raise Finding(selected, field, f"{cdb.hex()}: native {native}, Python {end} with {python}")


def _as_expected(row: Command, cdb: bytes, data_out: bytes, lu: LogicalUnit) -> Answer:
    """Return a controller that executes everything, with what COMPARE AND WRITE expects."""
    if row.hot is not Hot.COMPARE_AND_WRITE:
        return content(b"\0")
    lba = row.structure.parse(cdb)["lba"]

    def answer(command: NvmeCommand) -> Completion:
        at = (command.slba - lba) * lu.block_bytes
        return Completion(data=data_out[at : at + command.data_in])

    return answer


def _check_phases(row: Command, native: list[NvmeOp]) -> None:
    """Each kind of NVMe command is a phase: what is verified has been written before.

    A fused pair is one.
    """
    kinds = ((op.phase, op.opcode if op.sqe[1] & 3 == Fuse.NORMAL else -1) for op in native)
    phases = list(dict.fromkeys(kinds))
    if [phase for phase, _ in phases] != list(range(len(phases))):
        raise Finding(row, "hot", f"{phases} are phases and operation codes")


def _check_miscompare(
    nexus: Nexus,
    lu: LogicalUnit,
    parameters: UnitParameters,
    row: Command,
    cdb: bytes,
    data_out: bytes,
) -> None:
    """What is compared with other blocks ends with the same sense data, in both formats."""
    if row.hot not in _COMPARES or not data_out:
        return
    values = row.structure.parse(cdb)
    length = row.blocks(values) * lu.block_bytes
    if length > _MOST_COMPARED:
        return
    medium = bytearray((data_out * (length // len(data_out) + 1))[:length])
    medium[crc32(cdb) % length] ^= 1  # anywhere, and the same each time

    def answer(command: NvmeCommand) -> Completion:
        at = (command.slba - values["lba"]) * lu.block_bytes
        if command.opcode == Opcode.COMPARE:
            same = command.data_out == medium[at : at + len(command.data_out)]
            return Completion() if same else Completion(status=StatusCode.COMPARE_FAILURE)
        return Completion(data=bytes(medium[at : at + command.data_in]))

    sense = play(engine.run(engine.select(nexus, 0, cdb), data_out), answer).sense
    compares = sense is not None and sense.key is SenseKey.MISCOMPARE
    for descriptor in (False, True):
        expected = sense.data(descriptor) if sense is not None and compares else None
        native = hot.hot_miscompare(parameters, cdb, data_out, bytes(medium), descriptor=descriptor)
        if native not in (expected, b""):  # where there is no room the engine tells
            message = f"{cdb.hex()}: native {native!r}, Python {expected!r}"
            raise Finding(row, row.length_field, message)


def _check_data(selected: Command | None, cdb: bytes, lu: LogicalUnit) -> None:
    expected, direction = 0, 0
    if selected is not None:
        expected = selected.data_bytes(selected.structure.parse(cdb), lu.block_bytes)
        direction = _DIRECTIONS[selected.data]
    native = hot.hot_data_bytes(cdb, lu.block_bytes)
    if native != (expected, direction):
        field = selected.length_field if selected is not None else "opcode"
        message = f"{cdb.hex()} announces {(expected, direction)}, the native path says {native}"
        raise Finding(selected, field, message)


def _guilty(row: Command, cdb: bytes, data_out: bytes, lu: LogicalUnit) -> str:
    """Return the field that the Python translation refuses, or that both read differently."""
    _, nexus = make_unit(lu.facts)
    sense = play(engine.run(engine.select(nexus, 0, cdb), data_out), content(b"\0")).sense
    if sense is None or sense.pointer is None:
        return row.length_field
    place = sense.pointer.byte, sense.pointer.bit
    names = (each.name for each in row.structure.fields if each.highest_bit("big") == place)
    return next(names, f"byte {place[0]} bit {place[1]}")


def takes(row: Command, data: st.DataObject) -> None:
    """The native path takes every plain command: it does not just step aside."""
    lu, _ = make_unit(data.draw(strategies.zoned_or_not()))
    assume(lu.zones is None or not row.modifies_medium)
    values, data_out = data.draw(_plain(row, lu, fits=True))
    cdb = row.build(**values)
    if hot.hot_translate(UnitParameters.of(lu), cdb, data_out) is None:
        raise Finding(row, "hot", f"the native path refuses {cdb.hex()}")


@st.composite
def _plain(
    draw: st.DrawFn, row: Command, lu: LogicalUnit, *, fits: bool
) -> tuple[dict[str, int], bytes]:
    """Return the fields of a plain command that the controller can do, and its data.

    Unless an UNMAP `fits`, one Dataset Management may not be able to do it.
    """
    fields = row.structure.by_name
    values: dict[str, int] = {
        name: draw(st.integers(0, fields[name].maximum))
        for name in ("dpo", "fua", "group")
        if name in fields
    }
    if row.hot is Hot.UNMAP:
        assume(lu.provisioned)
        descriptors = draw(_descriptors(lu, fits=fits))
        size = len(descriptors)
        header = UNMAP_HEADER.build(
            unmap_data_length=size + 6, unmap_block_descriptor_data_length=size
        )
        return {**values, row.length_field: size + 8}, header + descriptors
    if "lba" not in fields:
        return values, b""
    assume(row.hot is not Hot.WRITE_ATOMIC or lu.writes_atomically)
    count = draw(_counts(row, lu))
    last = min(fields["lba"].maximum, lu.capacity_blocks - count)
    step = lu.atomic_limits().alignment if row.hot is Hot.WRITE_ATOMIC else 1
    lba = draw(st.integers(0, last // step)) * step
    values |= {"lba": in_zone(lu, lba, count), row.length_field: count}
    if "bytchk" in fields:
        values["bytchk"] = draw(st.sampled_from(checks(row, lu) or (0,)))
        assume(values["bytchk"] in checks(row, lu))
    if row.hot is Hot.WRITE_SAME and lu.provisioned:
        values["unmap"] = draw(st.integers(0, 1))
    size = row.data_bytes(row.structure.parse(row.build(**values)), lu.block_bytes)
    filler = draw(st.sampled_from((b"\0", b"\1")))
    if row.hot is Hot.COMPARE_AND_WRITE:
        return values, filler * (size // 2) + b"\2" * (size // 2)
    return values, filler * size if row.data is Data.OUT else b""


@st.composite
def _descriptors(draw: st.DrawFn, lu: LogicalUnit, *, fits: bool) -> bytes:
    """Return the block descriptors of an UNMAP that one Dataset Management can do, or hardly."""
    limits = lu.unmap_limits
    beyond = 1 if fits else 2
    left = beyond * limits.blocks
    built: list[bytes] = []
    numbers = [n for n in (1, 2, 7, 17, 120, 256) if n <= limits.ranges + beyond - 1]
    number = draw(st.sampled_from(numbers))
    for _ in range(min(number, _DRAWN)):
        most = min(lu.capacity_blocks, beyond * limits.blocks_of_range, left, 0xFFFFFFFF)
        edge = min(most, limits.blocks_of_range + 1)
        count = draw(st.one_of(st.just(edge), st.integers(0, most)))
        lba = draw(st.integers(0, lu.capacity_blocks - count))
        built.append(UNMAP_BLOCK_DESCRIPTOR.build(lba=lba, number_of_blocks=count))
        left -= count
    # More of them are of one block, which counts.
    few = [
        UNMAP_BLOCK_DESCRIPTOR.build(lba=each % lu.capacity_blocks, number_of_blocks=1)
        for each in range(min(number - len(built), left))
    ]
    none = UNMAP_BLOCK_DESCRIPTOR.build()
    return b"".join(built + few) + none * (number - len(built) - len(few))


def _counts(row: Command, lu: LogicalUnit) -> st.SearchStrategy[int]:
    counts = taken_counts(row, lu)
    if isinstance(counts, range):
        return st.integers(counts[0], counts[-1])
    edges = st.sampled_from(counts[:2])
    return st.one_of(edges, st.sampled_from(counts)) if counts else st.nothing()


def in_zone(lu: LogicalUnit, lba: int, count: int) -> int:
    """Return where so many blocks are of one zone, if there are any, near by an LBA."""
    if lu.zones is None:
        return lba
    start = lu.zones.start(lba)
    return start + max(min(lba - start, lu.zones.capacity - count), 0)


def taken_counts(row: Command, lu: LogicalUnit) -> Sequence[int]:
    """Return how many blocks the native path takes of a row; the edges more than once."""
    maximum = row.structure.by_name[row.length_field].maximum
    if row.hot is Hot.COMPARE_AND_WRITE:
        most = min(lu.capacity_blocks, lu.maximum_compare_and_write_blocks)
        taken = [count for count in range(1, most + 1) if _compares(lu, count)]
        return [count for count in taken if 0 <= count - lu.fused_blocks <= 1] + taken
    together = lu.capacity_blocks if lu.zones is None else lu.zones.capacity
    return range(1, min(together, maximum, _most(row, lu)) + 1)


def _compares(lu: LogicalUnit, count: int) -> bool:
    """Whether so many blocks are a fused pair, or can be read behind the data."""
    half = count * lu.block_bytes
    return count <= lu.fused_blocks or 3 * half <= hot.room(2 * half)


def _most(row: Command, lu: LogicalUnit) -> int:
    """Return how many blocks the native path takes of a row, whatever the controller's limits."""
    match row.hot:
        case Hot.READ | Hot.WRITE:
            return lu.maximum_transfer_blocks
        case Hot.WRITE_SAME | Hot.VERIFY | Hot.WRITE_AND_VERIFY:
            return min(lu.maximum_transfer_blocks, 32)  # NVMe commands of one block each
        case Hot.WRITE_ATOMIC:
            return lu.atomic_limits().blocks
    return lu.capacity_blocks


def checks(row: Command, lu: LogicalUnit) -> tuple[int, ...]:
    """Return the values of BYTCHK that the controller can do by itself."""
    compares = (1, 3) if row.hot is Hot.VERIFY else (1,)
    return ((0,) if lu.verify_blocks else ()) + (compares if lu.compares else ())
