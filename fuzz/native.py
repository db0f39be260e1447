"""The native hot path and the Python translation agree byte for byte."""

from __future__ import annotations

from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.fuzz import strategies
from scsi2nvme.fuzz.controller import content, play
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_unit
from scsi2nvme.native import hot
from scsi2nvme.native.plane import UnitParameters
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit

_DIRECTIONS = {Data.NONE: 0, Data.IN: 1, Data.OUT: 2}


def parameters_of(lu: LogicalUnit) -> UnitParameters:
    """Return what the hot path knows of a logical unit."""
    return UnitParameters(
        lu.nsid,
        lu.block_bytes,
        lu.capacity_blocks,
        lu.nvme_maximum_blocks,
        lu.optimal_boundary_blocks,
        lu.volatile_write_cache,
    )


def _cdb(row: Command, lu: LogicalUnit, data: st.DataObject) -> bytes:
    choices = [
        strategies.fitting_cdbs(row, lu.facts),
        strategies.cdbs(row, lu.capacity_blocks),
        strategies.any_cdbs(row),
    ]
    if strategies.reserved_bits(row):
        choices.append(strategies.damaged_cdbs(row).map(lambda each: each[0]))
    cdb = data.draw(st.one_of(choices))
    if len(cdb) < row.length or data.draw(st.integers(0, 7)):
        return cdb
    with_naca = bytearray(cdb)
    row.structure.by_name["naca"].write(with_naca, 1, "big")
    return bytes(with_naca)


def agrees(row: Command, data: st.DataObject) -> None:
    """Whatever the native path takes, the Python translation does, with the same SQEs."""
    lu, nexus = make_unit(data.draw(strategies.namespaces()))
    cdb = _cdb(row, lu, data)
    selected = commands.find(cdb)
    if selected is not None and len(cdb) < selected.length:
        selected = None
    _check_data(selected, cdb, lu)
    native = hot.hot_translate(parameters_of(lu), cdb)
    if native is None:
        return
    if selected is None:
        raise Finding(None, "opcode", f"the native path takes {cdb.hex()}")
    sent: list[NvmeCommand] = []
    size = selected.data_bytes(selected.structure.parse(cdb), lu.block_bytes)
    data_out = bytes(size) if selected.data is Data.OUT else b""
    result = play(engine.run(engine.select(nexus, 0, cdb), data_out), content(b"\0"), sent.extend)
    sqes = [command.sqe() for command in sent]
    if result.status is Status.GOOD and sqes == [op.sqe for op in native]:
        return
    field = _guilty(selected, cdb, lu)
    answer = [sqe.hex() for sqe in sqes]
    end = result.sense or result.status.name
    raise Finding(selected, field, f"{cdb.hex()}: native {native}, Python {end} with {answer}")


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


def _guilty(row: Command, cdb: bytes, lu: LogicalUnit) -> str:
    """Return the field that the Python translation refuses, or that both read differently."""
    _, nexus = make_unit(lu.facts)
    data = row.data_bytes(row.structure.parse(cdb), lu.block_bytes)
    sense = play(engine.run(engine.select(nexus, 0, cdb), bytes(data)), content(b"\0")).sense
    if sense is None or sense.pointer is None:
        return row.length_field
    place = sense.pointer.byte, sense.pointer.bit
    names = (each.name for each in row.structure.fields if each.highest_bit("big") == place)
    return next(names, f"byte {place[0]} bit {place[1]}")


def takes(row: Command, data: st.DataObject) -> None:
    """The native path takes every plain command: it does not just step aside."""
    facts = data.draw(strategies.namespaces())
    lu, _ = make_unit(facts)
    if row.hot is Hot.READY:
        if hot.hot_translate(parameters_of(lu), row.build()) != []:
            raise Finding(row, "hot", "the native path steps aside where nothing is to be sent")
        return
    count_field, lba_field = row.structure.by_name[row.length_field], row.structure.by_name["lba"]
    most = min(facts.capacity_blocks, count_field.maximum)
    if row.hot in (Hot.READ, Hot.WRITE):
        most = min(most, lu.maximum_transfer_blocks)
    count = data.draw(st.integers(1, most))
    lba = data.draw(st.integers(0, min(lba_field.maximum, facts.capacity_blocks - count)))
    flags: dict[str, int] = {
        name: data.draw(st.integers(0, row.structure.by_name[name].maximum))
        for name in ("dpo", "fua", "group")
        if name in row.structure.by_name
    }
    values: dict[str, int] = {"lba": lba, row.length_field: count, **flags}
    cdb = row.build(**values)
    if hot.hot_translate(parameters_of(lu), cdb) is None:
        raise Finding(row, "hot", f"the native path refuses {cdb.hex()}")
