"""BACKGROUND CONTROL, and what tells of the operation that it begins."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from scsi2nvme.commands.background_operations import Control
from scsi2nvme.commands.log_pages import self_test_results
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import SELF_TEST_RESULT
from scsi2nvme.scsi.result import GOOD, Progress, Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS,
)
from tests.model_controller import StatusError
from tests.support import Bench, code, make_bench, make_lu, make_nexus

SHORT, REFRESH, ABORT = 1, 3, 0xF
IN_PROGRESS = 0x11D


class Refreshing:
    """A bench whose controller runs one operation at a time, which ends after so many looks."""

    def __init__(self, running: int = 0, looks: int = 1000, results: Iterable[int] = ()) -> None:
        self.bench: Bench = make_bench()
        self.started: list[int] = []
        self.running, self.looks = running, looks
        entries = [SELF_TEST_RESULT.build(code=each) for each in results]
        self._results = b"".join(entries) + SELF_TEST_RESULT.build(result=0xF) * (20 - len(entries))
        admin = self.bench.model.admin
        admin[AdminOpcode.DEVICE_SELF_TEST] = self._start
        get_log_page = admin[AdminOpcode.GET_LOG_PAGE]

        def log(command: NvmeCommand) -> object:
            self.looks -= 1
            if self.looks < 0:
                self.running = 0
            self.bench.model.logs[0x06] = bytes([self.running, 0, 0, 0]) + self._results
            return get_log_page(command)

        admin[AdminOpcode.GET_LOG_PAGE] = log  # type: ignore[assignment]

    def _start(self, command: NvmeCommand) -> None:
        if self.running and command.cdw10 != ABORT:
            raise StatusError(IN_PROGRESS)
        self.running = 0 if command.cdw10 == ABORT else command.cdw10
        self.started.append(command.cdw10)

    def page(self, page: int, subpage: int = 0) -> bytes:
        fields = {"page_code": page, "subpage_code": subpage, "pc": 1, "allocation_length": 0xFFFF}
        return self.bench.do("LOG SENSE", **fields).data_in


def control(disk: Refreshing, bo_ctl: int, bo_time: int = 0) -> object:
    return disk.bench.do("BACKGROUND CONTROL", bo_ctl=bo_ctl, bo_time=bo_time)


def test_it_is_begun_and_ended() -> None:
    disk = Refreshing()
    assert disk.page(0x15, 2)[4:] == bytes.fromhex("0000 03 04 00000000")
    assert control(disk, Control.START) == GOOD
    assert disk.page(0x15, 2)[4:] == bytes.fromhex("0000 03 04 02000000")
    assert control(disk, Control.START) == GOOD  # it is under way
    assert control(disk, Control.NO_CHANGE, bo_time=1) == GOOD
    assert disk.running == REFRESH
    assert control(disk, Control.STOP) == GOOD
    assert control(disk, Control.STOP) == GOOD
    assert disk.started == [REFRESH, ABORT]


def test_it_is_ended_when_its_time_is_over() -> None:
    disk = Refreshing()
    result = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=25)
    assert disk.bench.finish(result) == GOOD
    assert disk.started == [REFRESH, ABORT]


def test_what_has_begun_since_is_not_ended() -> None:
    disk = Refreshing(looks=1)
    first = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=1)
    disk.running, disk.looks = SHORT, 1000
    assert disk.bench.finish(first) == GOOD
    disk.running = 0
    again = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=1)
    assert control(disk, Control.START) == GOOD  # to its end
    assert disk.bench.finish(again) == GOOD
    assert disk.started == [REFRESH, REFRESH]


def test_what_another_logical_unit_wants_is_not_ended() -> None:
    """The operation is of the whole subsystem: the last who asks says for how long."""
    disk = Refreshing()
    other = make_lu()
    disk.bench.lu.controller_units = other.controller_units = (disk.bench.lu, other)
    first = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=1)
    second = Bench(other, disk.bench.model, make_nexus("b", other))
    assert second.do("BACKGROUND CONTROL", bo_ctl=Control.START) == GOOD  # to its end
    assert disk.bench.finish(first) == GOOD
    assert (disk.started, disk.running) == ([REFRESH], REFRESH)


def test_what_another_wants_while_it_is_begun_is_not_ended() -> None:
    disk = Refreshing()
    other = make_lu()
    disk.bench.lu.controller_units = other.controller_units = (disk.bench.lu, other)
    second = Bench(other, disk.bench.model, make_nexus("b", other))
    model = disk.bench.model
    begin = model.admin[AdminOpcode.DEVICE_SELF_TEST]

    def meanwhile(command: NvmeCommand) -> object:
        begun = begin(command)
        model.admin[AdminOpcode.DEVICE_SELF_TEST] = begin
        assert second.do("BACKGROUND CONTROL", bo_ctl=Control.START) == GOOD  # to its end
        return begun

    model.admin[AdminOpcode.DEVICE_SELF_TEST] = meanwhile  # type: ignore[assignment]
    first = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=1)
    assert disk.bench.finish(first) == GOOD
    assert (disk.started, disk.running) == ([REFRESH], REFRESH)


def test_a_self_test_goes_on() -> None:
    disk = Refreshing(running=SHORT)
    assert control(disk, Control.STOP) == GOOD
    result = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START)
    assert code(result) == LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS
    assert (disk.running, disk.started) == (SHORT, [])


def test_it_is_no_self_test() -> None:
    disk = Refreshing(results=(REFRESH, SHORT, REFRESH))
    assert control(disk, Control.START) == GOOD
    result = disk.bench.do("SEND DIAGNOSTIC", self_test_code=4)
    assert code(result) == INVALID_FIELD_IN_CDB
    disk.bench.lu.self_test_running = True  # for all that is known
    sense = disk.bench.do("REQUEST SENSE", desc=1, allocation_length=252).data_in
    assert (sense[2], sense[3]) == (0, 0)
    entries = disk.page(0x10)[4:]
    size = 4 + self_test_results.SELF_TEST.size
    assert len(entries) == 20 * size
    told = [entries[at + 4] >> 5 for at in range(0, len(entries), size)]
    assert told == [SHORT, *[0] * 19]


def test_what_is_reserved_is_refused() -> None:
    assert code(make_bench().do("BACKGROUND CONTROL", bo_ctl=3)) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize("controller", [{"dsto": 1}, {"oacs": 0, "dsto": 3}])
def test_where_the_controller_cannot_there_is_nothing_of_it(controller: dict[str, int]) -> None:
    bench = make_bench(controller=controller)
    assert code(bench.do("BACKGROUND CONTROL", bo_ctl=1)) == INVALID_FIELD_IN_CDB
    for name, fields in (
        ("LOG SENSE", {"page_code": 0x15, "subpage_code": 2, "pc": 1, "allocation_length": 64}),
        ("MODE SENSE (10)", {"page_code": 0x0A, "subpage_code": 6, "allocation_length": 64}),
    ):
        assert code(bench.do(name, **fields)) == INVALID_FIELD_IN_CDB
    page = bench.do("INQUIRY", evpd=1, page_code=0xB1, allocation_length=64).data_in
    assert not page[8] & 4
    page = make_bench().do("INQUIRY", evpd=1, page_code=0xB1, allocation_length=64).data_in
    assert page[8] & 4


def test_the_time_it_has_tells_nothing_of_how_far_a_format_has_come() -> None:
    disk = Refreshing(looks=2)
    result = disk.bench.do("BACKGROUND CONTROL", bo_ctl=Control.START, bo_time=30)
    assert isinstance(result, Result)
    assert result.background is not None
    disk.bench.lu.progress = 4711
    told = next(result.background)
    assert isinstance(told, Progress)
    assert told.fraction == 4711
