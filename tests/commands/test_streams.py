"""Streams of writes: told, opened, closed, and named by groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.commands.streams import ASSIGNED
from scsi2nvme.commands.vpd_pages.block_limits_extension import BLOCK_LIMITS_EXTENSION
from scsi2nvme.commands.vpd_pages.extended_inquiry import EXTENDED_INQUIRY
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.directives import Streams
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INQUIRY_DATA_HAS_CHANGED,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    MAXIMUM_NUMBER_OF_STREAMS_OPEN,
    MODE_PARAMETERS_CHANGED,
    STREAM_NOT_OPEN,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import Nexus
from tests.commands.vectors import block
from tests.support import (
    FOUR_ZONES,
    SEVEN_STREAMS,
    Bench,
    code,
    make_bench,
    protected_bench,
    row,
)

NAMES = "STREAM CONTROL", "GET STREAM STATUS", "WRITE STREAM (16)"
NOT_THERE = INVALID_COMMAND_OPERATION_CODE, INVALID_FIELD_IN_CDB
OPEN, CLOSE = 1, 2


def streaming(count: int = 7) -> Bench:
    return make_bench(streams=replace(SEVEN_STREAMS, count=count))


def refused(byte: int, bit: int = 7) -> Result:
    return Result(
        Status.CHECK_CONDITION, Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    )


NOT_OPEN = Result(Status.CHECK_CONDITION, Sense(STREAM_NOT_OPEN))


def opened(bench: Bench) -> int:
    result = bench.do("STREAM CONTROL", str_ctl=OPEN, allocation_length=8)
    return ASSIGNED.parse(result.data_in).assigned_str_id


def attentions(bench: Bench, nexus: Nexus) -> list[SenseCode]:
    """Return what a nexus is told of, and have it heard."""
    found = [each.code for each in bench.lu.unit_attentions[nexus.key]]
    bench.lu.unit_attentions[nexus.key].clear()
    return found


def status(bench: Bench, first: int = 0) -> list[tuple[bool, int, int]]:
    """Return whether each open stream is permanent, its number and its lifetime."""
    data = bench.do("GET STREAM STATUS", starting_str_id=first, allocation_length=999).data_in
    assert int.from_bytes(data[:4], "big") == len(data) - 8
    entries = [data[at : at + 8] for at in range(8, len(data), 8)]
    return [(bool(each[0] >> 7), int.from_bytes(each[2:4], "big"), each[4]) for each in entries]


def of_streams(commands: list[NvmeCommand]) -> list[tuple[int, int]]:
    return [(command.cdw12 >> 20 & 0xF, command.cdw13 >> 16) for command in commands]


@pytest.mark.parametrize(
    "bench", [make_bench(), make_bench(zones=FOUR_ZONES, streams=SEVEN_STREAMS)]
)
def test_without_streams_nothing_is_told_of_them(bench: Bench) -> None:
    for name in NAMES:
        assert code(bench.run(row(name).build())) in NOT_THERE
    if bench.lu.zones is None:
        limits = bench.do("INQUIRY", evpd=1, page_code=0xB7, allocation_length=255).data_in
        assert not any(limits[4:16])
    data = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=255).data_in
    assert not EXTENDED_INQUIRY.parse(data).group_sup
    page = bench.do("MODE SENSE (10)", page_code=0x0A, subpage_code=5, allocation_length=255)
    assert code(page) == INVALID_FIELD_IN_CDB


def test_what_is_told() -> None:
    bench = streaming()
    data = bench.do("INQUIRY", evpd=1, page_code=0xB7, allocation_length=255).data_in
    limits = BLOCK_LIMITS_EXTENSION.parse(data)
    assert (limits.rscs, limits.maximum_streams) == (1, 7)
    assert (limits.optimal_stream_write, limits.stream_granularity) == (128, 16)
    data = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=255).data_in
    assert EXTENDED_INQUIRY.parse(data).group_sup


@pytest.mark.parametrize(("count", "groups"), [(7, 6), (5, 6), (3, 4), (1, 2)])
def test_groups_that_are_streams_as_linux_reads_them(count: int, groups: int) -> None:
    """Those follow each other from the first descriptor on, and their streams are permanent."""
    bench = streaming(count)
    page = bench.do(
        "MODE SENSE (10)", dbd=1, page_code=0x0A, subpage_code=5, allocation_length=520
    ).data_in[8:]
    assert page[:4] == bytes.fromhex("CA 05 040C")  # of 64 groups
    enabled = [page[at] >> 2 & 1 for at in range(16, len(page), 16)]
    assert enabled == [1] * groups + [0] * (31 - groups)
    for stream in range(groups):
        assert status(bench, stream)[0] == (True, stream, stream)


def test_streams_are_opened_and_closed() -> None:
    bench = streaming()
    assert status(bench) == [(True, n, n) for n in range(6)]
    assert (opened(bench), opened(bench)) == (6, 7)
    full = bench.do("STREAM CONTROL", str_ctl=OPEN, allocation_length=8)
    assert code(full) == MAXIMUM_NUMBER_OF_STREAMS_OPEN
    assert status(bench, 5) == [(True, 5, 5), (False, 6, 0), (False, 7, 0)]
    assert not bench.model.executed
    closed = bench.do("STREAM CONTROL", str_ctl=CLOSE, str_id=6, allocation_length=8)
    assert closed == Result(data_in=bytes([7, *bytes(7)]))
    assert [each.sqe()[44:48] for each in bench.model.executed] == [bytes([1, 1, 6, 0])]
    assert opened(bench) == 6
    bench.lu.reset(None)
    assert status(bench, 6) == []


def test_a_stream_stays_open_that_the_controller_does_not_release() -> None:
    bench = streaming()
    assert opened(bench) == 6
    bench.model.faults[AdminOpcode.DIRECTIVE_SEND] = [StatusCode.INTERNAL_ERROR]
    failed = bench.do("STREAM CONTROL", str_ctl=CLOSE, str_id=6, allocation_length=8)
    assert failed.status is Status.CHECK_CONDITION
    assert status(bench, 6) == [(False, 6, 0)]
    assert bench.do("STREAM CONTROL", str_ctl=CLOSE, str_id=6).status is Status.GOOD
    assert status(bench, 6) == []


@pytest.mark.parametrize("name", ["FORMAT UNIT", "SANITIZE, BLOCK ERASE"])
def test_a_format_closes_what_was_opened(name: str) -> None:
    bench = streaming()
    assert opened(bench) == 6
    assert bench.do(name) == Result()
    assert status(bench, 6) == []


def test_no_more_is_told_than_there_is_room_for() -> None:
    bench = streaming()
    fields = {"str_ctl": OPEN, "allocation_length": 6}
    assert bench.do("STREAM CONTROL", **fields).data_in == bytes([7, 0, 0, 0, 0, 6])
    data = bench.do("GET STREAM STATUS", allocation_length=4).data_in
    assert data == (7 * 8).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("STREAM CONTROL", {"str_ctl": 0}, refused(1, 6)),
        ("STREAM CONTROL", {"str_ctl": 3}, refused(1, 6)),
        ("STREAM CONTROL", {"str_ctl": CLOSE, "str_id": 5}, refused(4)),  # it is permanent
        ("STREAM CONTROL", {"str_ctl": CLOSE, "str_id": 6}, NOT_OPEN),
        ("GET STREAM STATUS", {"starting_str_id": 8, "allocation_length": 8}, refused(4)),
    ],
)
def test_what_is_wrong_is_refused(name: str, fields: dict[str, int], expected: Result) -> None:
    bench = streaming()
    assert bench.do(name, **fields) == expected
    assert not bench.model.executed


def test_where_all_streams_are_permanent_none_is_opened() -> None:
    result = streaming(5).do("STREAM CONTROL", str_ctl=OPEN, allocation_length=8)
    assert code(result) in NOT_THERE


@pytest.mark.parametrize(
    ("group", "stream"),
    [(0, (0, 0)), (1, (1, 1)), (5, (1, 5)), (6, (0, 0)), (63, (0, 0))],
)
@pytest.mark.parametrize("name", ["WRITE (10)", "WRITE (12)", "WRITE (16)"])
def test_a_write_of_a_group(name: str, group: int, stream: tuple[int, int]) -> None:
    """One that no stream has is no hint."""
    bench = streaming()
    assert bench.do(name, block(1) * 40, lba=5, transfer_length=40, group=group) == Result()
    assert of_streams(bench.model.executed) == [stream] * 2  # as much as MDTS lets through


def test_a_write_of_a_group_with_a_long_cdb() -> None:
    bench = protected_bench(2, streams=SEVEN_STREAMS)
    fields = {"additional_cdb_length": 24, "transfer_length": 1, "group": 4}
    assert bench.do("WRITE (32)", block(1), **fields) == Result()
    assert of_streams(bench.model.executed) == [(1, 4)]


def test_a_write_of_a_stream() -> None:
    """What it names goes before its group."""
    bench = streaming()
    one = opened(bench)
    fields = {"lba": 5, "transfer_length": 1, "group": 2}
    for stream in (one, 0):
        assert bench.do("WRITE STREAM (16)", block(7), **fields, str_id=stream) == Result()
    assert of_streams(bench.model.executed) == [(1, one), (1, 2)]
    assert bench.model.blocks(5) == block(7)
    assert bench.do("WRITE STREAM (16)", block(7), **fields, str_id=7) == NOT_OPEN


@pytest.mark.parametrize(
    ("name", "fields"), [("WRITE (16)", {"group": 2}), ("WRITE STREAM (16)", {"str_id": 2})]
)
def test_a_stream_that_the_controller_refuses_keeps_nobody_from_writing(
    name: str, fields: dict[str, int]
) -> None:
    """It is a hint, which a reset may have taken from the controller."""
    bench = streaming()
    bench.model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD] * 2
    failed = bench.do(name, block(7), lba=5, transfer_length=1, **fields)
    assert code(failed) == INVALID_FIELD_IN_CDB
    bench.model.faults[Opcode.WRITE] = [StatusCode.WRITE_FAULT]
    failed = bench.do(name, block(7), lba=5, transfer_length=1, **fields)
    assert failed.status is Status.CHECK_CONDITION
    assert len(bench.model.executed) == 3
    bench.model.executed.clear()
    bench.model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD]
    assert bench.do(name, block(7), lba=5, transfer_length=1, **fields) == Result()
    assert of_streams(bench.model.executed) == [(1, 2), (0, 0)]
    assert bench.model.blocks(5) == block(7)


def test_a_controller_that_refuses_streams_is_asked_once() -> None:
    """Until it tells of the namespace anew: then there are some again."""
    bench = streaming()
    facts, told = bench.lu.facts, []
    bench.lu.on_streams_refused = lambda: told.append(bench.lu.streams)
    other = bench.other()
    bench.lu.take_attention(other)
    bench.model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD]
    fields = {"lba": 5, "transfer_length": 1, "group": 2}
    assert bench.do("WRITE (16)", block(7), **fields) == Result()
    assert of_streams(bench.model.executed) == [(1, 2), (0, 0)]
    assert told == [0]
    assert attentions(bench, bench.nexus) == [MODE_PARAMETERS_CHANGED, INQUIRY_DATA_HAS_CHANGED]
    assert bench.do("WRITE (16)", block(8), **fields) == Result()
    assert of_streams(bench.model.executed)[2:] == [(0, 0)]
    assert attentions(bench, other) == [MODE_PARAMETERS_CHANGED, INQUIRY_DATA_HAS_CHANGED]
    assert code(bench.do("GET STREAM STATUS")) in NOT_THERE
    bench.lu.become(facts)
    bench.lu.take_attention(bench.nexus)
    bench.lu.take_attention(bench.nexus)
    assert attentions(bench, other) == [MODE_PARAMETERS_CHANGED, INQUIRY_DATA_HAS_CHANGED]
    assert status(bench)[:2] == [(True, 0, 0), (True, 1, 1)]


def test_other_streams_are_told_of() -> None:
    """As a reset, firmware or a format may bring about."""
    bench = streaming(7)
    other = bench.other()
    bench.lu.take_attention(other)
    bench.lu.become(replace(bench.lu.facts, streams=replace(SEVEN_STREAMS, count=6)))
    assert attentions(bench, other) == [INQUIRY_DATA_HAS_CHANGED]  # no group has another
    bench.lu.become(replace(bench.lu.facts, streams=replace(SEVEN_STREAMS, count=3)))
    assert attentions(bench, other) == [MODE_PARAMETERS_CHANGED, INQUIRY_DATA_HAS_CHANGED]
    bench.lu.become(bench.lu.facts)
    assert attentions(bench, other) == []


@pytest.mark.parametrize(("streams", "bits"), [(None, 0), (Streams(3), 0x3F)])
def test_the_usage_map_has_what_is_looked_at(streams: Streams | None, bits: int) -> None:
    bench = make_bench(streams=streams)
    name = "REPORT SUPPORTED OPERATION CODES"
    fields = {"reporting_options": 1, "allocation_length": 255}
    usage = bench.do(name, **fields, requested_opcode=0x2A).data_in[4:]
    assert usage[6] == bits
    assert bench.do(name, **fields, requested_opcode=0x28).data_in[10] == bits
