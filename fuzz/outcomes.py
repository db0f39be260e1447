"""Every CDB ends once, legally, and for the right reason."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume
from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Data
from scsi2nvme.fuzz import parameters, sense_data, strategies
from scsi2nvme.fuzz.controller import content, play, script
from scsi2nvme.fuzz.finding import Finding, Subject
from scsi2nvme.fuzz.situations import Situation, able_unit, make_unit, situations
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    LOGICAL_UNIT_NOT_SUPPORTED,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import Nexus

_SENSE_BYTES = 252


def check_result(subject: Subject | None, result: Result) -> None:
    """Raise a Finding unless SAM and SPC allow a result. Spec: SAM-5 5.3, SPC-4 4.5."""
    if not isinstance(result, Result):
        raise Finding(subject, "", f"ends with {result!r}")
    if (result.status is Status.CHECK_CONDITION) != (result.sense is not None):
        raise Finding(subject, "sense", f"{result.status.name} and sense {result.sense}")
    key = None if result.sense is None else result.sense.key
    good = result.status is Status.GOOD
    # It has ended well all the same. Spec: SPC-4 4.5.6.
    if result.data_in and not good and key is not SenseKey.RECOVERED_ERROR:
        raise Finding(subject, "status", f"{result.status.name} with data")
    # Who is refused while something goes on may be who has it followed.
    if result.background is not None and not good and key is not SenseKey.NOT_READY:
        raise Finding(subject, "status", f"{result.status.name} with work to do")
    if result.sense is not None:
        check_sense(subject, result.sense)


def check_sense(subject: Subject | None, sense: Sense) -> None:
    """Raise a Finding unless sense comes back whole from both formats."""
    for descriptor_format in (False, True):
        data = sense.data(descriptor_format)
        try:
            wrong = sense_data.differences(sense, data)
        except sense_data.MalformedError as error:
            raise Finding(subject, "sense", f"{sense}: {data.hex()}: {error}") from error
        if wrong or len(data) > _SENSE_BYTES:
            raise Finding(subject, wrong[0] if wrong else "sense", f"{sense} becomes {data.hex()}")


def _same(one: Result, other: Result) -> bool:
    return replace(one, background=None) == replace(other, background=None) and (
        (one.background is None) == (other.background is None)
    )


def one_legal_outcome(row: Command, data: st.DataObject) -> None:
    """Any bytes as CDB, in any state, with any controller: one legal outcome, and always the same.

    What goes on in the background comes to an end, too.
    """
    situation = data.draw(situations())
    cdb, data_out = _request(row, situation, data)
    answers = data.draw(st.lists(strategies.completions(), max_size=8))
    seed = data.draw(st.binary(min_size=1, max_size=8))
    lun = data.draw(st.sampled_from((0, 0, 0, 0, 1, None)))
    expected = data.draw(parameters.expectations(data_out))
    results = []
    for _ in range(2):
        _, nexus = situation.make()
        answer = script(iter(answers), seed)
        results.append(play(engine.run(engine.select(nexus, lun, cdb), data_out, expected), answer))
        background = results[-1].background
        if background is not None:
            check_result(row, play(background, answer))
    selected, result = commands.find(cdb), results[0]
    check_result(selected, result)
    if not _same(*results):
        raise Finding(selected, "", f"{cdb.hex()} ends with {results[0]} and with {results[1]}")
    _check_direction(selected, cdb, result)
    _check_reason(selected, situation, lun, cdb, result)


def _request(row: Command, situation: Situation, data: st.DataObject) -> tuple[bytes, bytes]:
    lu, _ = situation.make()
    cdb, data_out = data.draw(
        st.one_of(
            parameters.requests(row, lu),
            st.tuples(strategies.any_cdbs(row), st.binary(max_size=600)),
        )
    )
    selected = commands.find(cdb)
    if selected is not None and len(cdb) >= selected.length:
        assume(strategies.affordable(selected, cdb))
    return cdb, data_out


def _check_direction(selected: Command | None, cdb: bytes, result: Result) -> None:
    """Only a command whose data come in may return some, and no more than it may."""
    if not result.data_in:
        return
    if selected is None or selected.data is not Data.IN:
        raise Finding(selected, "data", f"{cdb.hex()} returns {len(result.data_in)} bytes")
    if selected.transfer.counts_bytes:
        allocated = selected.data_bytes(selected.structure.parse(cdb), 0)
        if len(result.data_in) > allocated:
            message = f"{len(result.data_in)} bytes returned, {allocated} allocated"
            raise Finding(selected, selected.length_field, message)


def _check_reason(
    selected: Command | None, situation: Situation, lun: int | None, cdb: bytes, result: Result
) -> None:
    """The sense must be such that the state and the CDB can explain it."""
    sense = result.sense
    if lun == 0 and selected is None:
        expected = (INVALID_COMMAND_OPERATION_CODE, INVALID_FIELD_IN_CDB)
        if sense is None or sense.code not in expected:
            raise Finding(None, "opcode", f"{cdb.hex()} ends with {result}")
    if sense is None:
        return
    if sense.key is SenseKey.UNIT_ATTENTION and not situation.attention:
        raise Finding(selected, "sense", f"{cdb.hex()} ends with {sense.code}, none is pending")
    pointer = sense.pointer
    if pointer is not None and pointer.in_cdb:
        longest = max(len(cdb), selected.length if selected is not None else 1)
        if pointer.byte > longest or (sense.code is not INVALID_FIELD_IN_CDB and pointer.byte):
            raise Finding(selected, "field pointer", f"{cdb.hex()} ends with {sense}")


def _observe(nexus: Nexus, lun: int, cdb: bytes) -> tuple[Result, list[str]]:
    """Run a CDB that should be refused; return its end and the NVMe commands sent for it."""
    sent: list[str] = []

    def check(group: tuple[NvmeCommand, ...]) -> None:
        sent.extend(command.name for command in group)

    return play(engine.run(engine.select(nexus, lun, cdb), b""), content(b"\0"), check), sent


def reserved_bits(row: Command, data: st.DataObject) -> None:
    """A reserved bit is refused, and the field pointer says which: the first, its highest."""
    _, nexus = able_unit(data, row.supported)
    cdb, byte, bit = data.draw(strategies.damaged_cdbs(row))
    if commands.find(cdb) is not row:
        return  # the service action's own reserved neighbours
    place = f"byte {byte} bit {bit}"
    result, sent = _observe(nexus, 0, cdb)
    sense = result.sense
    if sent or sense is None or sense.code is not INVALID_FIELD_IN_CDB or sense.pointer is None:
        raise Finding(row, place, f"reserved, but {cdb.hex()} ends with {result}, sends {sent}")
    if (sense.pointer.byte, sense.pointer.bit) != (byte, bit) or not sense.pointer.in_cdb:
        raise Finding(row, place, f"reserved, but the field pointer says {sense.pointer}")


def naca(row: Command, data: st.DataObject) -> None:
    """NACA is refused: there is no auto contingent allegiance. Spec: SAM-5 5.2."""
    _, nexus = able_unit(data, row.supported)
    cdb = bytearray(data.draw(strategies.cdbs(row)))
    row.structure.by_name["naca"].write(cdb, 1, "big")
    sense = _observe(nexus, 0, bytes(cdb))[0].sense
    place = row.structure.by_name["naca"].highest_bit("big")
    if sense is None or sense.pointer is None or (sense.pointer.byte, sense.pointer.bit) != place:
        raise Finding(row, "naca", f"{cdb.hex()} ends with {sense}")


def truncated_cdb(row: Command, data: st.DataObject) -> None:
    """A CDB that is too short is refused, and nothing is sent for it."""
    lu, nexus = able_unit(data, row.supported)
    cdb = data.draw(strategies.fitting_cdbs(row, lu.facts))
    length = data.draw(st.integers(1, row.length - 1))
    result, sent = _observe(nexus, 0, cdb[:length])
    if sent or result.sense is None or result.sense.key is not SenseKey.ILLEGAL_REQUEST:
        raise Finding(row, "length", f"{length} bytes end with {result} and send {sent}")


def wrong_logical_unit(row: Command, data: st.DataObject) -> None:
    """Without a logical unit a command is refused, unless its row says otherwise."""
    _, nexus = make_unit(data.draw(strategies.namespaces()))
    cdb = data.draw(strategies.cdbs(row))
    result, sent = _observe(nexus, 7, cdb)
    check_result(row, result)
    refused = result.sense is not None and result.sense.code is LOGICAL_UNIT_NOT_SUPPORTED
    if sent or (row.without_unit is None and not refused):
        raise Finding(row, "lun", f"{cdb.hex()} at LUN 7 ends with {result} and sends {sent}")


def allocation_length(row: Command, data: st.DataObject) -> None:
    """A shorter allocation length yields a prefix of what a longer one yields."""
    facts = data.draw(strategies.namespaces())
    cdb = data.draw(strategies.cdbs(row, facts.capacity_blocks))
    seed = data.draw(st.binary(min_size=1, max_size=8))
    field = row.structure.by_name[row.length_field]
    most = min(field.maximum, 0xFFFF)
    length = data.draw(st.one_of(st.integers(0, min(most, 64)), st.integers(0, most)))
    results = []
    for value in (most, length):
        each = bytearray(cdb)
        field.write(each, value, "big")
        _, nexus = make_unit(facts)
        results.append(play(engine.run(engine.select(nexus, 0, bytes(each)), b""), content(seed)))
    whole, cut = results
    allocated = row.data_bytes(row.structure.parse(bytes(each)), block_bytes=0)
    if whole.status is not Status.GOOD:
        return
    if cut.status is not Status.GOOD:
        # A minimum is a rule of its own, and must be refused at the field itself.
        pointer = cut.sense.pointer if cut.sense is not None else None
        if pointer is None or (pointer.byte, pointer.bit) != field.highest_bit("big"):
            raise Finding(row, row.length_field, f"{length}: {cdb.hex()} ends with {cut.sense}")
    elif cut.data_in != whole.data_in[:allocated]:
        raise Finding(row, row.length_field, f"{length}: {cut.data_in.hex()} is no prefix")
