"""EXTENDED COPY and the RECEIVE COPY family. Spec: SPC-4 5.17, 6.4."""

from __future__ import annotations

from typing import Any

import pytest

from scsi2nvme.commands.copy_operations import STATUS_LID4
from scsi2nvme.commands.copy_parameters import (
    BLOCKS_TO_BLOCKS,
    CSCD,
    LID1_HEADER,
    LID4_HEADER,
    MOST_CSCDS,
    MOST_SEGMENTS,
    OFFSET_TO_OFFSET,
    SEGMENT_HEADER,
)
from scsi2nvme.commands.copy_results import FAILURE_DETAILS, OPERATING_PARAMETERS, STATUS_LID1
from scsi2nvme.commands.copy_targets import designators
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import FieldPointer, Forwarded
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import MOST_RESULTS, Copies, Move, Moved
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.model_controller import ModelController
from tests.model_mover import move_on_models
from tests.support import Bench, make_bench, make_lu, make_nexus

UNRECOVERED_READ = 0x281
NAA, EUI_64, T10 = 3, 2, 1

Outcome = tuple[int, int, int] | Status


def told(result: Result) -> Outcome:
    """Return how a command ended: sense key, ASC and ASCQ, or its status."""
    if result.sense is None:
        return result.status
    code = result.sense.code
    return int(code.key), code.asc, code.ascq


def cscd(lu: LogicalUnit, kind: int = NAA, **values: int) -> bytes:
    """Return an identification descriptor CSCD descriptor of a logical unit."""
    code_set, _, name = next(each for each in designators(lu) if each[1] == kind)
    fields: dict[str, Any] = {
        "type_code": 0xE4,
        "code_set": code_set,
        "designator_type": kind,
        "designator_length": min(len(name), 20),
        "designator": name[:20],
    }
    return CSCD.build(**{**fields, **values})


def segment(
    lba: int, to: int, count: int, source: int = 0, destination: int = 0, **values: int
) -> bytes:
    """Return a segment descriptor of type 02h, or of 0Ah where `values` say so."""
    code = values.pop("type_code", 0x02)
    layout, number = BLOCKS_TO_BLOCKS, "number_of_blocks"
    if code == 0x0A:
        layout, number = OFFSET_TO_OFFSET, "number_of_bytes"
    own = {name: values.pop(name) for name in [*values] if name in layout.by_name}
    data = bytearray(
        layout.build(**{number: count, "source_lba": lba, "destination_lba": to, **own})
    )
    head = {"descriptor_length": layout.size - 4, "source": source, "destination": destination}
    SEGMENT_HEADER.write(data, **{"type_code": code, **head, **values})
    return bytes(data)


def parameters(
    cscds: list[bytes], segments: list[bytes], *, long: bool = False, **values: int
) -> bytes:
    """Return a parameter list."""
    descriptors, rest = b"".join(cscds), b"".join(segments)
    lengths = {"cscd_list_length": len(descriptors), "segment_list_length": len(rest)}
    layout = LID4_HEADER if long else LID1_HEADER
    if long:
        lengths |= {"parameter_list_format": 1, "header_cscd_list_length": 32}
        lengths |= {"header_cscd_type": 0xFF}
    return layout.build(**{**lengths, **values}) + descriptors + rest


def copy(bench: Bench, data: bytes, nexus: Any = None) -> Result:
    """Run EXTENDED COPY (LID1)."""
    return bench.do("EXTENDED COPY (LID1)", data, nexus=nexus, parameter_list_length=len(data))


@pytest.fixture
def bench() -> Bench:
    bench = make_bench()
    for lba in range(64):
        bench.model.fill(lba, bytes([lba]) * 512)
    return bench


def pair() -> tuple[Bench, Bench]:
    """Return two logical units of one target, which the first one's nexus sees as LUN 0 and 1."""
    first = make_bench()
    second_lu = make_lu(nsid=2, namespace={"nguid": b"\2" * 16, "eui64": b"\3" * 8})
    second = Bench(second_lu, ModelController(second_lu.facts), first.nexus)
    first.nexus.luns[1] = second_lu
    second_lu.attach(first.nexus)
    second_lu.unit_attentions[first.nexus.key].clear()
    move_on_models({first.lu: first.model, second_lu: second.model})
    first.model.fill(5, b"\x55" * 512)
    return first, second


# What is copied


def test_one_descriptor_may_be_both_ends(bench: Bench) -> None:
    data = parameters([cscd(bench.lu)], [segment(3, 40, 4), segment(10, 50, 1)])
    assert copy(bench, data).status is Status.GOOD
    assert bench.model.blocks(40, 4) == bench.model.blocks(3, 4) != bytes(2048)
    assert bench.model.blocks(50) == bytes([10]) * 512
    assert bench.model.opcodes() == [Opcode.COPY] * 2


@pytest.mark.parametrize("kind", [NAA, EUI_64])
def test_blocks_go_from_one_logical_unit_to_another(kind: int) -> None:
    first, second = pair()
    units = [cscd(first.lu, kind), cscd(second.lu, kind)]
    assert copy(first, parameters(units, [segment(5, 9, 1, 0, 1)])).status is Status.GOOD
    assert second.model.blocks(9) == b"\x55" * 512
    assert first.model.opcodes() == [Opcode.READ]
    assert second.model.opcodes() == [Opcode.WRITE]


def test_the_logical_unit_itself_needs_no_descriptor(bench: Bench) -> None:
    data = parameters([], [segment(3, 40, 1, 0xFFFF, 0xFFFF)])
    assert copy(bench, data).status is Status.GOOD
    assert bench.model.blocks(40) == bytes([3]) * 512


def test_a_number_of_bytes_may_be_copied(bench: Bench) -> None:
    data = parameters([cscd(bench.lu)], [segment(3, 40, 1024, type_code=0x0A)])
    assert copy(bench, data).status is Status.GOOD
    assert bench.model.blocks(40, 2) == bench.model.blocks(3, 2)


@pytest.mark.parametrize("field", [{}, {"source_offset": 1}, {"destination_offset": 256}])
def test_parts_of_blocks_are_not_copied(bench: Bench, field: dict[str, int]) -> None:
    count = 512 if field else 700
    data = parameters([cscd(bench.lu)], [segment(3, 40, count, type_code=0x0A, **field)])
    assert told(copy(bench, data)) == (0xA, 0x26, 0x0A)


def test_nothing_is_no_error(bench: Bench) -> None:
    assert bench.do("EXTENDED COPY (LID1)").status is Status.GOOD
    assert copy(bench, parameters([], [])).status is Status.GOOD
    assert copy(bench, parameters([cscd(bench.lu)], [segment(4096, 0, 0)])).status is Status.GOOD
    assert bench.model.executed == []


# What is refused before anything is copied


@pytest.mark.parametrize(
    ("cscds", "segments", "values", "code"),
    [
        (MOST_CSCDS + 1, 1, {}, (5, 0x26, 0x06)),
        (1, MOST_SEGMENTS + 1, {}, (5, 0x26, 0x08)),
        (1, 200, {}, (5, 0x1A, 0x00)),
        (1, 1, {"inline_data_length": 4}, (5, 0x1A, 0x00)),
        (1, 1, {"list_id_usage": 1}, (5, 0x26, 0x00)),
        (1, 1, {"list_id_usage": 3, "list_identifier": 1}, (5, 0x26, 0x00)),
    ],
)
def test_limits(
    bench: Bench, cscds: int, segments: int, values: dict[str, Any], code: Outcome
) -> None:
    data = parameters([cscd(bench.lu)] * cscds, [segment(0, 40, 1)] * segments, **values)
    assert told(copy(bench, data)) == code
    assert bench.model.executed == []


def test_inline_data_are_refused(bench: Bench) -> None:
    data = parameters([cscd(bench.lu)], [segment(0, 40, 1)], inline_data_length=4) + bytes(4)
    assert told(copy(bench, data)) == (5, 0x26, 0x0B)


@pytest.mark.parametrize("length", [1, 15, 16, 47, 75])
def test_a_list_that_is_cut_short_is_refused(bench: Bench, length: int) -> None:
    data = parameters([cscd(bench.lu)], [segment(0, 40, 1)])
    assert told(copy(bench, data[:length])) == (5, 0x1A, 0x00)


@pytest.mark.parametrize(
    ("descriptors", "segments", "code", "byte", "bit"),
    [
        ({"type_code": 0xE0}, {}, (5, 0x26, 0x07), 16, None),
        ({"association": 1}, {}, (5, 0x26, 0x00), 16 + 5, 5),
        ({"designator_length": 21}, {}, (5, 0x26, 0x00), 16 + 7, None),
        ({}, {"type_code": 0x03}, (5, 0x26, 0x09), 76, None),
        ({}, {"descriptor_length": 0x1C}, (5, 0x26, 0x00), 76 + 2, 7),
        ({}, {"type_code": 0x0A, "number_of_bytes": (256 << 20) + 512}, (5, 0x26, 0), 76 + 8, 7),
    ],
)
def test_descriptors_that_are_wrong(
    bench: Bench,
    descriptors: dict[str, int],
    segments: dict[str, int],
    code: Outcome,
    byte: int,
    bit: int | None,
) -> None:
    good = segment(0, 40, 1)
    data = parameters([cscd(bench.lu, **descriptors)], [good, segment(0, 41, 1, **segments)])
    result = copy(bench, data)
    assert told(result) == code
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(byte, bit, in_cdb=False)
    assert bench.model.executed == []


# What ends a copy


@pytest.mark.parametrize(
    ("descriptor", "source", "code"),
    [
        ({}, 1, (0xA, 0x08, 0x04)),  # there is no such descriptor
        ({}, 0xC000, (0xA, 0x08, 0x04)),
        ({"nul": 1}, 0, (0xA, 0x08, 0x04)),
        ({"designator_length": 0}, 0, (0xA, 0x08, 0x04)),
        ({"code_set": 2}, 0, (0xA, 0x08, 0x04)),
        ({"peripheral_device_type": 5}, 0, (0xA, 0x0D, 0x03)),
        ({"disk_block_length": 4096}, 0, (0xA, 0x0D, 0x03)),
    ],
)
def test_what_names_no_logical_unit(
    bench: Bench, descriptor: dict[str, int], source: int, code: Outcome
) -> None:
    units = [cscd(bench.lu, **descriptor)]
    good = segment(1, 40, 1, 0xFFFF, 0xFFFF)
    result = copy(bench, parameters(units, [good, segment(2, 41, 1, source, 0xFFFF)]))
    assert told(result) == code
    assert result.sense is not None
    assert result.sense.segment == 1
    assert result.sense.pointer is not None
    assert result.sense.pointer.byte == 16 + 32 + 28
    assert bench.model.blocks(40) == bytes([1]) * 512  # what went before is done


def test_what_the_initiator_does_not_see_is_not_copied() -> None:
    first, second = pair()
    stranger = first.other("b")  # who sees the first logical unit alone
    units = [cscd(first.lu), cscd(second.lu)]
    for ends in ((1, 0), (0, 1)):
        data = parameters(units, [segment(0, 9, 1, *ends)])
        assert told(copy(first, data, stranger)) == (0xA, 0x08, 0x04)
    assert second.model.executed == []


def test_blocks_of_unlike_length_are_not_copied() -> None:
    first, second = pair()
    names = {"nguid": b"\2" * 16, "eui64": b"\3" * 8}
    second.lu.facts = make_lu(block_bytes=4096, nsid=2, namespace=names).facts
    data = parameters([cscd(first.lu), cscd(second.lu)], [segment(0, 9, 1, 0, 1)])
    assert told(copy(first, data)) == (0xA, 0x0D, 0x03)


@pytest.mark.parametrize(("lba", "to"), [(4095, 0), (0, 4095)])
def test_blocks_beyond_the_end(bench: Bench, lba: int, to: int) -> None:
    result = copy(bench, parameters([cscd(bench.lu)], [segment(lba, to, 2)]))
    assert told(result) == (0xA, 0x0D, 0x02)


def test_what_a_logical_unit_has_told_is_forwarded() -> None:
    first, second = pair()
    first.model.bad_blocks[5] = UNRECOVERED_READ
    data = parameters([cscd(first.lu), cscd(second.lu)], [segment(5, 9, 1, 0, 1)])
    result = copy(first, data)
    assert told(result) == (0xA, 0x0D, 0x01)
    assert result.sense is not None
    assert result.sense.forwarded is not None
    assert not result.sense.forwarded.by_destination
    assert result.sense.forwarded.data[:4] == bytes([0x72, 3, 0x11, 0])
    fixed = result.sense.data(False)
    assert (fixed[8], fixed[9], fixed[18]) == (18, 0, Status.CHECK_CONDITION)
    assert fixed[19:23] == bytes([0x72, 3, 0x11, 0])
    assert fixed[7] == len(fixed) - 8
    described = result.sense.data(True)
    assert described[7] == len(described) - 8
    assert bytes([0x0C]) in described


def test_long_sense_data_are_cut() -> None:
    told = Forwarded(True, 2, bytes(100)).descriptor()
    assert told[:4] == bytes([0x0C, 34, 0x82, 2])
    assert len(told) == 36


# Results


def test_results_are_kept_by_nexus_and_identifier(bench: Bench) -> None:
    data = parameters([cscd(bench.lu)], [segment(0, 40, 3)], list_identifier=7, list_id_usage=2)
    assert copy(bench, data).status is Status.GOOD
    fields = {"list_identifier": 7, "allocation_length": 64}
    name = "RECEIVE COPY STATUS (LID1)"
    assert told(bench.do(name, nexus=bench.other(), **fields)) == (5, 0x24, 0x00)
    assert told(bench.do(name, list_identifier=8, allocation_length=64)) == (5, 0x24, 0x00)
    status = STATUS_LID1.parse(bench.do(name, **fields).data_in)
    assert (status.copy_command_status, status.segments_processed) == (1, 1)
    assert (status.transfer_count_units, status.transfer_count) == (0, 3 * 512)


def test_nothing_is_kept_without_identifier(bench: Bench) -> None:
    assert copy(bench, parameters([], [], list_id_usage=3)).status is Status.GOOD
    result = bench.do("RECEIVE COPY STATUS (LID1)", list_identifier=0, allocation_length=64)
    assert told(result) == (5, 0x24, 0x00)


def test_an_identifier_may_be_used_again(bench: Bench) -> None:
    for count in (1, 2):
        data = parameters([cscd(bench.lu)], [segment(0, 40, count)], list_identifier=7)
        assert copy(bench, data).status is Status.GOOD
    result = bench.do("RECEIVE COPY STATUS (LID1)", list_identifier=7, allocation_length=64)
    assert STATUS_LID1.parse(result.data_in).transfer_count == 1024


@pytest.mark.parametrize("reset", [True, False])
def test_a_reset_or_the_end_of_the_nexus_forgets_results(bench: Bench, reset: bool) -> None:
    data = parameters([cscd(bench.lu)], [segment(0, 40, 1)], list_identifier=7)
    assert copy(bench, data).status is Status.GOOD
    if reset:
        bench.lu.reset(None)
    else:
        bench.lu.release(bench.nexus)
    result = bench.do("RECEIVE COPY STATUS (LID1)", list_identifier=7, allocation_length=64)
    assert told(result) == (5, 0x24, 0x00)


def test_results_are_not_kept_without_bound(bench: Bench) -> None:
    for identifier in range(200):
        data = parameters([], [], list_identifier=identifier)
        assert copy(bench, data).status is Status.GOOD
    assert len(bench.lu.copies._operations) <= 65


def test_the_oldest_results_of_a_nexus_go(bench: Bench) -> None:
    """Neither another's, nor what is under way."""
    name, other = "RECEIVE COPY STATUS (LID1)", bench.other()
    assert copy(bench, parameters([], [], list_identifier=3), other).status is Status.GOOD
    running = bench.lu.copies.begin(bench.nexus, 250, 0, long=False)
    for identifier in range(200):
        assert copy(bench, parameters([], [], list_identifier=identifier)).status is Status.GOOD
    kept = [
        each
        for each in range(256)
        if bench.do(name, list_identifier=each, allocation_length=64).status is Status.GOOD
    ]
    assert kept == [*range(200 - MOST_RESULTS - 1, 200), 250]
    assert bench.lu.copies.find(bench.nexus, 250, long=False) is running
    told = bench.do(name, nexus=other, list_identifier=3, allocation_length=64)
    assert told.status is Status.GOOD


def test_details_of_a_failure_are_told_once(bench: Bench) -> None:
    data = parameters([cscd(bench.lu)], [segment(0, 4096, 1)], list_identifier=7)
    assert copy(bench, data).status is Status.CHECK_CONDITION
    fields = {"list_identifier": 7, "allocation_length": 256}
    status = STATUS_LID1.parse(bench.do("RECEIVE COPY STATUS (LID1)", **fields).data_in)
    assert (status.copy_command_status, status.segments_processed) == (2, 0)
    name = "RECEIVE COPY FAILURE DETAILS (LID1)"
    data = bench.do(name, **fields).data_in
    details = FAILURE_DETAILS.parse(data)
    assert details.available_data == len(data) - 4
    assert details.extended_copy_command_status == Status.CHECK_CONDITION
    assert data[60 + 12 : 60 + 14] == bytes([0x0D, 0x02])
    assert told(bench.do(name, **fields)) == (5, 0x24, 0x00)


def test_there_are_no_details_of_success(bench: Bench) -> None:
    assert copy(bench, parameters([], [], list_identifier=7)).status is Status.GOOD
    name, fields = "RECEIVE COPY FAILURE DETAILS (LID1)", {"allocation_length": 256}
    assert bench.do(name, list_identifier=7, **fields).data_in[:4] == bytes(4)


def test_the_limits_that_are_told_can_be_told_apart(bench: Bench) -> None:
    """One more of either kind is within the longest list: libiscsi's tests want to know which."""
    data = bench.do("RECEIVE COPY OPERATING PARAMETERS", allocation_length=1024).data_in
    told = OPERATING_PARAMETERS.parse(data)
    most = told.maximum_descriptor_list_length
    assert most >= 32 * (told.maximum_cscd_count + 1) + 28
    assert most >= 32 + 28 * (told.maximum_segment_count + 1)
    assert data[44:] == bytes([0x02, 0x0A, 0xE4])
    assert 1 << told.data_segment_granularity == bench.lu.block_bytes
    assert told.available_data == len(data) - 4


def test_what_is_not_served_copies_nothing() -> None:
    lu, ended = make_lu(), list[Moved]()
    Copies().mover(Move(make_nexus("a"), lu, 0, lu, 1, 1)).start(ended.append)
    (moved,) = ended
    assert moved.fault is not None
    assert (moved.blocks, moved.fault.reachable) == (0, False)
    assert moved.fault.result.status is Status.BUSY


def test_a_reservation_of_another_stops_it(bench: Bench) -> None:
    bench.lu.reservations.reserved_by = bench.other().key
    assert copy(bench, parameters([], [])).status is Status.RESERVATION_CONFLICT


# With long list identifiers


def copy_long(bench: Bench, data: bytes) -> Result:
    return bench.do("EXTENDED COPY (LID4)", data, parameter_list_length=len(data))


def status_long(bench: Bench, identifier: int) -> Any:
    name, fields = "RECEIVE COPY STATUS (LID4)", {"allocation_length": 256}
    data = bench.do(name, list_identifier=identifier, **fields).data_in
    status = STATUS_LID4.parse(data)
    assert status.available_data == len(data) - 4
    return status


def test_a_list_with_a_long_identifier(bench: Bench) -> None:
    number = 0x12345678
    segments = [segment(3, 40, 4), segment(10, 50, 1)]
    data = parameters([cscd(bench.lu)], segments, long=True, list_identifier=number)
    assert copy_long(bench, data).status is Status.GOOD
    assert bench.model.blocks(40, 4) == bench.model.blocks(3, 4) != bytes(2048)
    status = status_long(bench, number)
    assert (status.response_to_service_action, status.copy_operation_status) == (1, 1)
    assert (status.transfer_count_units, status.transfer_count) == (0, 5 * 512)
    assert status.segments_processed == 2
    short = {"list_identifier": 0x78, "allocation_length": 64}
    assert told(bench.do("RECEIVE COPY STATUS (LID1)", **short)) == (5, 0x24, 0)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"parameter_list_format": 0}, (5, 0x26, 0)),
        ({"header_cscd_list_length": 31}, (5, 0x26, 0)),
        ({"header_cscd_type": 0xE4}, (5, 0x26, 0)),
        ({"g_sense": 1}, (5, 0x26, 0)),
        ({"list_id_usage": 3, "list_identifier": 1}, (5, 0x26, 0)),
        ({"list_id_usage": 3, "immed": 1}, (5, 0x26, 0)),
        ({"segment_list_length": 27}, (5, 0x1A, 0)),
    ],
)
def test_long_lists_that_are_wrong(bench: Bench, values: dict[str, int], code: Outcome) -> None:
    data = parameters([cscd(bench.lu)], [segment(3, 40, 1)], long=True, **values)
    assert told(copy_long(bench, data)) == code
    assert told(copy_long(bench, data[:47])) == (5, 0x1A, 0)
    assert bench.model.executed == []


def test_a_copy_goes_on_in_the_background(bench: Bench) -> None:
    values = {"immed": 1, "list_identifier": 5}
    data = parameters([cscd(bench.lu)], [segment(3, 40, 1)], long=True, **values)
    result = copy_long(bench, data)
    assert result.status is Status.GOOD
    status = status_long(bench, 5)
    assert (status.copy_operation_status, status.segments_processed) == (0x12, 0)
    assert status.estimated_status_update_delay > 0
    assert told(copy_long(bench, data)) == (5, 0x00, 0x16)
    assert bench.finish(result).status is Status.GOOD
    assert bench.model.blocks(40) == bytes([3]) * 512
    assert status_long(bench, 5).copy_operation_status == 1


def test_a_copy_that_is_aborted(bench: Bench) -> None:
    values = {"immed": 1, "list_identifier": 5}
    data = parameters([cscd(bench.lu)], [segment(3, 40, 1)], long=True, **values)
    result, name = copy_long(bench, data), "COPY OPERATION ABORT"
    assert told(bench.do(name, nexus=bench.other(), list_identifier=5)) == (5, 0x24, 0)
    assert bench.do(name, list_identifier=5).status is Status.GOOD
    assert bench.finish(result).status is Status.TASK_ABORTED
    assert status_long(bench, 5).copy_operation_status == 0x60
    assert told(bench.do(name, list_identifier=5)) == (5, 0x24, 0)
    assert bench.model.executed == []


def test_how_a_copy_in_the_background_has_failed(bench: Bench) -> None:
    values = {"immed": 1, "list_identifier": 5}
    data = parameters([cscd(bench.lu)], [segment(3, 4096, 1)], long=True, **values)
    bench.finish(copy_long(bench, data))
    name, fields = "RECEIVE COPY STATUS (LID4)", {"allocation_length": 256}
    data = bench.do(name, list_identifier=5, **fields).data_in
    status = STATUS_LID4.parse(data)
    assert (status.copy_operation_status, status.completion_status) == (2, 2)
    assert len(data) == 32 + status.sense_data_field_length
    assert data[32 + 12 : 32 + 14] == bytes([0x0D, 0x02])
