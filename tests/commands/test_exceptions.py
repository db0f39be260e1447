"""Informational exceptions, by each method of mode page 1Ch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scsi2nvme.fields import Structure
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    INVALID_FIELD_IN_PARAMETER_LIST,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.error_recovery import READ_WRITE_ERROR_RECOVERY
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from scsi2nvme.unit.mode_pages.page import ModePage
from tests.support import Bench, make_bench, make_nexus

SPARE, HOT = 1 << 0, 1 << 1
SPARE_CODE, HOT_CODE, FALSE_CODE = (0x5D, 0x03), (0x0B, 0x01), (0x5D, 0xFF)
READ = {"lba": 3, "transfer_length": 1}


@dataclass
class Clock:
    """What `InformationalExceptions.later` was asked for."""

    asked: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, delay_s: float, what: Callable[[], None]) -> Handle:
        self.asked.append((delay_s, what))
        return Handle(self)

    def ring(self) -> float:
        delay_s, what = self.asked.pop()
        what()
        return delay_s


@dataclass
class Handle:
    clock: Clock

    def cancel(self) -> None:
        self.clock.asked.clear()


def select(
    bench: Bench, page: ModePage = INFORMATIONAL_EXCEPTIONS_CONTROL, /, **fields: int
) -> Result:
    layout: Structure = page.layout
    values: dict[str, int] = {**page.defaults(bench.lu.facts), **fields}
    data = bytes(4) + page.with_header(layout.build(**values), saveable=False)
    return bench.do("MODE SELECT (6)", data, pf=1, sp=1, parameter_list_length=len(data))


def triple(result: Result) -> tuple[int, int, int] | None:
    sense = result.sense
    return None if sense is None else (sense.key, sense.code.asc, sense.code.ascq)


def requested(bench: Bench) -> tuple[int, int, int]:
    data = bench.do("REQUEST SENSE", allocation_length=18).data_in
    return data[2], data[12], data[13]


def test_a_unit_attention_is_for_everyone() -> None:
    bench = make_bench()
    other = bench.other()
    assert select(bench, mrie=2).status is Status.GOOD
    bench.lu.take_attention(other)  # of the mode page
    bench.lu.exceptions.observe(SPARE)
    for nexus in (bench.nexus, other):
        result = bench.do("READ (10)", nexus=nexus, **READ)
        assert triple(result) == (6, *SPARE_CODE)
        assert bench.do("READ (10)", nexus=nexus, **READ).status is Status.GOOD
    bench.lu.exceptions.observe(SPARE)  # goes on
    assert bench.do("READ (10)", **READ).status is Status.GOOD
    bench.lu.exceptions.observe(0)
    bench.lu.exceptions.observe(SPARE | HOT)
    assert triple(bench.do("READ (10)", **READ)) == (6, *SPARE_CODE)
    assert triple(bench.do("READ (10)", **READ)) == (6, *HOT_CODE)


@pytest.mark.parametrize(("mrie", "per", "key"), [(3, 1, 1), (4, 0, 1), (5, 0, 0)])
def test_a_command_that_has_ended_well_reports(mrie: int, per: int, key: int) -> None:
    bench = make_bench()
    assert select(bench, READ_WRITE_ERROR_RECOVERY, per=per).status is Status.GOOD
    assert select(bench, mrie=mrie).status is Status.GOOD
    bench.model.fill(3, bytes(range(256)) * 2)
    bench.lu.exceptions.observe(SPARE)
    assert bench.lu.aside(bench.nexus)  # the hot path knows of nothing to report
    assert requested(bench) == (0, 0, 0)
    assert bench.do("INQUIRY", allocation_length=36).status is Status.GOOD
    failed = bench.do("READ (10)", lba=1 << 30, transfer_length=1)
    assert triple(failed) == (5, 0x21, 0x00)
    result = bench.do("READ (10)", **READ)
    assert (result.status, triple(result)) == (Status.CHECK_CONDITION, (key, *SPARE_CODE))
    assert result.data_in == bytes(range(256)) * 2
    assert not bench.lu.aside(bench.nexus)
    assert bench.do("READ (10)", **READ).status is Status.GOOD


def test_who_is_none_of_its_nexuses_takes_no_report_from_them() -> None:
    """Somebody who sends a command by hand."""
    bench = make_bench()
    select(bench, mrie=5)
    bench.lu.exceptions.observe(SPARE)
    stranger = make_nexus("s")
    stranger.luns[0] = bench.lu
    assert bench.do("TEST UNIT READY", nexus=stranger).status is Status.GOOD
    assert triple(bench.do("TEST UNIT READY")) == (0, *SPARE_CODE)


def test_recovered_errors_are_reported_where_that_is_allowed() -> None:
    bench = make_bench()
    select(bench, mrie=3)
    bench.lu.exceptions.observe(SPARE)
    assert bench.do("TEST UNIT READY").status is Status.GOOD


def test_data_that_would_get_lost_are_not_put_at_stake() -> None:
    bench = make_bench()
    bench.nexus.tells_residual = False
    select(bench, mrie=4)
    bench.lu.exceptions.observe(SPARE)
    assert bench.do("READ (10)", **READ).status is Status.GOOD
    write = bench.do("WRITE (10)", bytes(512), **READ)
    assert triple(write) == (1, *SPARE_CODE)
    assert bench.model.blocks(3) == bytes(512)


@pytest.mark.parametrize("fields", [{"ewasc": 0}, {"dexcpt": 1}, {"test": 1}])
def test_what_is_not_reported_is_logged(fields: dict[str, int]) -> None:
    """Without a method to report it these bits are ignored. Spec: SBC-4 6.5.8."""
    bench = make_bench()
    bench.model.logs[0x02] = SMART_LOG.build(critical_warning=SPARE)
    assert select(bench, mrie=0, **fields).status is Status.GOOD
    page = bench.do("LOG SENSE", pc=1, page_code=0x2F, allocation_length=64).data_in
    assert (page[8], page[9]) == SPARE_CODE
    assert requested(bench) == (0, 0, 0)


@pytest.mark.parametrize("mrie", [0, 6])
def test_nothing_is_reported_unasked(mrie: int) -> None:
    bench = make_bench()
    select(bench, mrie=mrie)
    bench.lu.exceptions.observe(SPARE)
    bench.model.logs[0x02] = SMART_LOG.build(critical_warning=SPARE)
    assert bench.do("TEST UNIT READY").status is Status.GOOD
    assert requested(bench) == ((0, *SPARE_CODE) if mrie == 6 else (0, 0, 0))


@pytest.mark.parametrize(
    ("fields", "warning", "failure"),
    [
        ({}, True, True),
        ({"ewasc": 0}, False, True),
        ({"dexcpt": 1}, True, False),
        ({"ewasc": 0, "dexcpt": 1}, False, False),
    ],
)
def test_warnings_and_failures_are_reported_if_enabled(
    fields: dict[str, int], warning: bool, failure: bool
) -> None:
    for bits, code, reported in ((HOT, HOT_CODE, warning), (SPARE, SPARE_CODE, failure)):
        bench = make_bench()
        values: dict[str, Any] = {"mrie": 2, **fields}
        select(bench, **values)
        bench.lu.exceptions.observe(bits)
        assert triple(bench.do("TEST UNIT READY")) == ((6, *code) if reported else None)


def test_it_is_repeated_as_often_as_wanted() -> None:
    bench, clock = make_bench(), Clock()
    bench.lu.exceptions.later = clock.later
    select(bench, mrie=4, interval_timer=50, report_count=3)
    bench.lu.exceptions.observe(SPARE)
    for again in (True, True, False):
        assert triple(bench.do("TEST UNIT READY")) == (1, *SPARE_CODE)
        assert bench.do("TEST UNIT READY").status is Status.GOOD
        assert bool(clock.asked) == again
        if again:
            assert clock.ring() == 5.0


def test_what_has_passed_is_repeated_no_more() -> None:
    bench, clock = make_bench(), Clock()
    bench.lu.exceptions.later = clock.later
    select(bench, mrie=2, interval_timer=1)
    bench.lu.exceptions.observe(SPARE)
    assert clock.asked
    bench.lu.exceptions.observe(0)
    assert not clock.asked


def test_a_test_reports_a_false_failure() -> None:
    bench = make_bench()
    assert select(bench, mrie=4, test=1).status is Status.GOOD
    assert triple(bench.do("TEST UNIT READY")) == (1, *FALSE_CODE)
    assert bench.do("TEST UNIT READY").status is Status.GOOD
    assert select(bench, mrie=6, test=1).status is Status.GOOD
    assert requested(bench) == (0, *FALSE_CODE)
    bench.lu.reset(None)  # TEST is not saved
    assert bench.lu.mode.field(INFORMATIONAL_EXCEPTIONS_CONTROL, "mrie") == 6
    assert requested(bench) == (0, 0, 0)


@pytest.mark.parametrize("mrie", [2, 4])
def test_a_reset_loses_no_warning(mrie: int) -> None:
    bench = make_bench()
    clock = Clock()
    bench.lu.exceptions.later = clock.later
    assert select(bench, mrie=mrie, interval_timer=6000).status is Status.GOOD
    bench.lu.exceptions.observe(SPARE)
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    assert len(clock.asked) == 1
    assert triple(bench.do("READ (10)", **READ)) == (6, 0x29, 0x03)
    key = 6 if mrie == 2 else 1
    assert triple(bench.do("READ (10)", **READ)) == (key, *SPARE_CODE)
    assert bench.do("READ (10)", **READ).status is Status.GOOD


@pytest.mark.parametrize(
    ("fields", "byte", "bit"),
    [
        *(({"mrie": mrie}, 4 + 3, 3) for mrie in (1, 7, 15)),
        ({"test": 1, "dexcpt": 1}, 4 + 2, 2),
        ({"logerr": 1}, 4 + 2, 0),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], byte: int, bit: int) -> None:
    pointer = FieldPointer(byte, bit, in_cdb=False)
    expected = Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    assert select(make_bench(), **fields).sense == expected
