"""READ BUFFER's error history, from telemetry."""

from __future__ import annotations

from typing import Any

import pytest

from scsi2nvme import engine
from scsi2nvme.commands.error_history import DIRECTORY, ENTRY, STATUS_HEADER
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.log_structures import PERSISTENT_EVENT_HEADER
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    ERROR_HISTORY_I_T_NEXUS_CLEARED,
    INVALID_FIELD_IN_CDB,
    OPERATION_IN_PROGRESS,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import Nexus
from tests.support import Bench, code, make_bench, row

CURRENT, SAVED, EVENTS = 0x10, 0x11, 0x12
CLEAR_NEXUS, CLEAR = 0xFE, 0xFF
LENGTH = 3 * 512


def read(bench: Bench, number: int, *, nexus: Nexus | None = None, **fields: int) -> Result:
    fields = {"allocation_length": 8192, **fields}
    return bench.do("READ BUFFER (16), error history", nexus=nexus, buffer_id=number, **fields)


def retrieved(result: Result) -> tuple[int, int]:
    header = DIRECTORY.parse(result.data_in)
    return header.ehs_retrieved, header.ehs_source


def test_initiators_may_not_unless_that_is_configured() -> None:
    bench = make_bench()
    bench.lu.history_allowed = False
    assert code(read(bench, 0)) == INVALID_FIELD_IN_CDB
    assert code(read(make_bench(controller={"lpa": 0x07}), 0)) == INVALID_FIELD_IN_CDB
    assert bench.model.executed == []


def test_the_directory_tells_of_both_logs() -> None:
    data = read(make_bench(), 1).data_in
    entries = [ENTRY.parse(data[at : at + 8]) for at in range(DIRECTORY.size, len(data), 8)]
    assert DIRECTORY.parse(data).directory_length == 16
    assert [
        (each.buffer_id, each.buffer_format, each.maximum_available_length) for each in entries
    ] == [(CURRENT, 1, LENGTH), (SAVED, 2, 1024)]


def test_a_log_that_the_controller_has_not_saved_is_not_there() -> None:
    bench = make_bench()
    bench.model.logs[0x08] = bytes(512)
    assert DIRECTORY.parse(read(bench, 1).data_in).directory_length == 8
    assert code(read(bench, SAVED)) == INVALID_FIELD_IN_CDB


def test_the_data_are_in_spcs_form_from_any_offset() -> None:
    bench = make_bench()
    read(bench, 1)
    whole = read(bench, CURRENT).data_in
    assert len(whole) == LENGTH
    header = STATUS_HEADER.parse(whole)
    assert (header.company_id, header.set_one_length, header.set_three_length) == (0x123456, 1, 2)
    assert whole[512:] == bytes(range(256)) * 4
    for offset, length in ((5, 3), (511, 2), (700, 900), (LENGTH, 1)):
        part = read(bench, CURRENT, buffer_offset=offset, allocation_length=length)
        assert part.data_in == whole[offset : offset + length]
    assert code(read(bench, CURRENT, buffer_offset=LENGTH + 1)) == INVALID_FIELD_IN_CDB


def with_events(length: int = 2048, **fields: int) -> Bench:
    """Return a bench with a controller that has a log of events, of so many bytes."""
    bench = make_bench(controller={"lpa": 0x1F, "pels": 1, **fields})
    head = PERSISTENT_EVENT_HEADER.build(lid=0x0D, total_log_len=length)
    bench.model.logs[0x0D] = head + bytes(index & 0xFF for index in range(length - len(head)))
    return bench


def of_events(bench: Bench) -> list[int]:
    """Return what each command about the log of events was to do."""
    asked = [each for each in bench.model.executed if each.cdw10 & 0xFF == 0x0D]
    return [each.cdw10 >> 8 & 3 for each in asked]


def test_persistent_events_are_read_once_and_kept() -> None:
    bench = with_events(200 * 1024)
    data = read(bench, 1).data_in
    last = ENTRY.parse(data[-8:])
    assert (last.buffer_id, last.buffer_format, last.maximum_available_length) == (
        EVENTS,
        0,
        200 * 1024,
    )
    established, *reads, released = of_events(bench)
    assert (established, set(reads), released) == (1, {0}, 2)
    log = bench.model.logs[0x0D]
    bench.model.logs[0x0D] = bytes(len(log))
    assert read(bench, EVENTS, allocation_length=1 << 20).data_in == log
    assert read(bench, EVENTS, buffer_offset=700, allocation_length=9).data_in == log[700:709]
    assert len(of_events(bench)) == len(reads) + 2
    read(bench, CLEAR)
    assert code(read(bench, EVENTS)) == INVALID_FIELD_IN_CDB


def test_more_events_than_are_kept_are_cut() -> None:
    bench = with_events()
    head = PERSISTENT_EVENT_HEADER.build(lid=0x0D, total_log_len=1 << 60)
    bench.model.logs[0x0D] = head.ljust(2 << 20, b"\x01")
    last = ENTRY.parse(read(bench, 1).data_in[-8:])
    assert last.maximum_available_length == 1 << 20


def test_events_that_another_reads_are_not_there() -> None:
    bench = with_events()
    del bench.model.logs[0x0D]
    data = read(bench, 1).data_in
    assert DIRECTORY.parse(data).directory_length == 16
    assert of_events(bench) == [1]
    assert code(read(bench, EVENTS)) == INVALID_FIELD_IN_CDB


def test_who_comes_after_one_that_was_aborted_reads_events_anew() -> None:
    """The controller would else wait for the former for good."""
    bench = with_events()
    for steps in (1, 2):
        cdb = row("READ BUFFER (16), error history").build(buffer_id=1, allocation_length=8192)
        reading = engine.run(engine.select(bench.nexus, 0, cdb))
        asked = next(reading)
        while steps:
            assert isinstance(asked, NvmeCommand)
            steps -= asked.cdw10 & 0xFF == 0x0D
            if steps:
                asked = reading.send(bench.model.execute(asked)[0])
        reading.close()
        bench.model.executed.clear()
        assert DIRECTORY.parse(read(bench, 1).data_in).directory_length == 24
        assert of_events(bench) == [2, 1, 0, 2]
        bench.model.executed.clear()
        read(bench, 1)
        assert of_events(bench) == [1, 0, 2]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_release_that_fails_is_tried_again(failing: int) -> None:
    bench = with_events()
    log = bench.model.admin[AdminOpcode.GET_LOG_PAGE]

    def answered(command: NvmeCommand) -> Any:
        nonlocal failing
        if command.cdw10 & 0xFF == 0x0D and command.cdw10 >> 8 & 3 == 2 and failing:
            failing -= 1
            return Completion(StatusCode.INTERNAL_ERROR)
        return log(command)

    bench.model.admin[AdminOpcode.GET_LOG_PAGE] = answered
    for wanted in [[1, 0, 2], *[[2, 1, 0, 2]] * failing, [1, 0, 2]]:
        bench.model.executed.clear()
        assert DIRECTORY.parse(read(bench, 1).data_in).directory_length == 24
        assert of_events(bench) == wanted


def test_a_controller_may_have_events_alone() -> None:
    bench = with_events(lpa=0x14)
    data = read(bench, 1).data_in
    assert DIRECTORY.parse(data).directory_length == 8
    assert read(bench, EVENTS).data_in == bench.model.logs[0x0D]


def test_it_is_one_nexuses_until_another_takes_it() -> None:
    bench = make_bench()
    other = bench.other()
    assert retrieved(read(bench, 0)) == (0b10, 0b01)
    assert retrieved(read(bench, 0)) == (0b10, 0b10)
    for number in (0, 1, CURRENT, CLEAR_NEXUS, CLEAR):
        assert code(read(bench, number, nexus=other)) == OPERATION_IN_PROGRESS
    assert retrieved(read(bench, 2, nexus=other)) == (0b10, 0b10)
    assert code(read(bench, CURRENT)) == ERROR_HISTORY_I_T_NEXUS_CLEARED
    assert code(read(bench, CURRENT)) == OPERATION_IN_PROGRESS
    assert read(bench, CURRENT, nexus=other).status is Status.GOOD


def test_it_is_given_back() -> None:
    bench = make_bench()
    read(bench, 1)
    assert read(bench, CLEAR_NEXUS).data_in == b""
    assert retrieved(read(bench, 0, nexus=bench.other())) == (0b01, 0b10)  # the same snapshot
    read(bench, CLEAR, nexus=bench.other())
    assert code(read(bench, CURRENT)) == INVALID_FIELD_IN_CDB
    assert retrieved(read(bench, 0)) == (0b10, 0b01)


@pytest.mark.parametrize("ends", ["reset", "nexus"])
def test_it_ends_with_its_nexus_and_a_reset(ends: str) -> None:
    bench = make_bench()
    read(bench, 1)
    if ends == "reset":
        bench.lu.reset(None)
    else:
        bench.lu.detach(bench.nexus)
    assert retrieved(read(bench, 0, nexus=bench.other())) == (0b10, 0b01)


def test_a_snapshot_that_is_made_anew_elsewhere_is_of_no_use() -> None:
    bench = make_bench()
    read(bench, 1)
    log = bench.model.logs[0x07]
    bench.model.logs[0x07] = log[:381] + b"\x77" + log[382:]
    assert code(read(bench, CURRENT)) == COMMAND_SEQUENCE_ERROR
    assert code(read(bench, CURRENT)) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (4, {}),
        (0xF0, {}),
        (0x12, {}),
        (0, {"buffer_offset": 4}),
        (0, {"mode_specific": 2}),
        (CURRENT, {"mode_specific": 1}),
    ],
)
def test_what_there_is_not_is_a_wrong_field(number: int, fields: dict[str, int]) -> None:
    bench = make_bench()
    read(bench, 1)
    cdb = row("READ BUFFER (10), error history").build(buffer_id=number, **fields)
    assert code(bench.run(cdb)) == INVALID_FIELD_IN_CDB


def test_no_data_are_of_two_snapshots() -> None:
    bench = make_bench()
    other = bench.other()
    read(bench, 1)
    cdb = row("READ BUFFER (16), error history").build(buffer_id=CURRENT, allocation_length=8192)
    reading = engine.run(engine.select(bench.nexus, 0, cdb))
    asked = next(reading)
    assert isinstance(asked, NvmeCommand)
    part = bench.model.execute(asked)[0]
    assert retrieved(read(bench, 3, nexus=other)) == (0b10, 0b01)
    asked = reading.send(part)
    assert isinstance(asked, NvmeCommand)
    with pytest.raises(StopIteration) as ended:
        reading.send(bench.model.execute(asked)[0])
    assert code(ended.value.value) == COMMAND_SEQUENCE_ERROR
    assert len(read(bench, CURRENT, nexus=other).data_in) == LENGTH
