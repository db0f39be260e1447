"""REQUEST SENSE: the sense is data, and the status GOOD."""

from __future__ import annotations

import pytest

from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    INTERNAL_TARGET_FAILURE,
    RESERVATIONS_RELEASED,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, make_bench


def sense(bench: Bench, *, desc: int = 0, lun: int = 0, allocation_length: int = 252) -> bytes:
    """Run REQUEST SENSE and return what it brings."""
    cdb = bytes([0x03, desc, 0, 0, allocation_length, 0])
    result = bench.run(cdb, lun=lun)
    assert result.status is Status.GOOD
    assert result.sense is None
    return result.data_in


def triple(data: bytes) -> tuple[int, int, int]:
    """Return key, ASC and ASCQ of fixed format sense data."""
    assert data[0] & 0x7F in (0x70, 0x71)
    return data[2] & 0xF, data[12], data[13]


def test_nothing_to_say() -> None:
    bench = make_bench()
    assert sense(bench) == bytes.fromhex("70000000000000 0a 00000000 0000 00000000")
    assert sense(bench, desc=1) == bytes.fromhex("7200000000000000")


def test_attentions_are_returned_once_and_in_order() -> None:
    bench = make_bench()
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    bench.lu.establish_attention(RESERVATIONS_RELEASED)
    assert triple(sense(bench)) == (6, 0x2A, 0x09)
    assert sense(bench, desc=1)[:4] == bytes.fromhex("72 06 2a 04")
    assert triple(sense(bench)) == (0, 0, 0)
    assert bench.do("TEST UNIT READY").status is Status.GOOD


def test_a_deferred_error_says_so() -> None:
    bench = make_bench()
    deferred = Sense(INTERNAL_TARGET_FAILURE, deferred=True)
    bench.lu.unit_attentions[bench.nexus.key].append(deferred)
    data = sense(bench)
    assert data[0] == 0x71
    assert triple(data) == (4, 0x44, 0)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 17, 18, 252])
def test_the_allocation_length_truncates(length: int) -> None:
    bench = make_bench()
    assert len(sense(bench, allocation_length=length)) == min(length, 18)


def test_no_logical_unit() -> None:
    assert triple(sense(make_bench(), lun=7)) == (5, 0x25, 0)
    assert sense(make_bench(), lun=7, desc=1) == bytes.fromhex("72052500 00000000")


def test_a_format_tells_its_progress() -> None:
    bench = make_bench()
    bench.lu.readiness, bench.lu.progress = Readiness.FORMATTING, 0x8000
    data = sense(bench)
    assert triple(data) == (2, 0x04, 0x04)
    assert data[15:18] == bytes.fromhex("808000")
    described = sense(bench, desc=1)
    assert described == bytes.fromhex("72020404 00000008 02060000 808000 00")


@pytest.mark.parametrize(
    ("readiness", "expected"),
    [
        (Readiness.STOPPED, (2, 0x04, 0x02)),
        (Readiness.FORMAT_FAILED, (3, 0x31, 0x00)),
        (Readiness.FAILED, (5, 0x25, 0x00)),
    ],
)
def test_why_it_is_not_ready(readiness: Readiness, expected: tuple[int, int, int]) -> None:
    bench = make_bench()
    bench.lu.readiness, bench.lu.progress = readiness, 0x8000
    data = sense(bench)
    assert triple(data) == expected
    assert data[15:18] == bytes(3)  # no progress of what is over


@pytest.mark.parametrize(
    ("power_condition", "modifier", "expected"),
    [
        (2, 0, (0, 0x5E, 0x03)),
        (2, 1, (0, 0x5E, 0x06)),
        (2, 2, (0, 0x5E, 0x08)),
        (3, 0, (0, 0x5E, 0x04)),
        (3, 1, (0, 0x5E, 0x0A)),
        (1, 0, (0, 0, 0)),
    ],
)
def test_power_conditions(
    power_condition: int, modifier: int, expected: tuple[int, int, int]
) -> None:
    bench = make_bench()
    bench.do("START STOP UNIT", power_condition=power_condition, power_condition_modifier=modifier)
    assert triple(sense(bench)) == expected
    assert bench.do("TEST UNIT READY").status is Status.GOOD


def test_a_self_test_tells_its_progress_until_it_is_over() -> None:
    bench = make_bench()
    log = bytearray(bench.model.logs[0x06])
    log[0], log[1] = 0x1, 25
    bench.model.logs[0x06] = bytes(log)
    bench.lu.self_test_running = True
    data = sense(bench)
    assert triple(data) == (2, 0x04, 0x09)
    assert data[15:18] == bytes.fromhex("804000")
    log[0] = 0
    bench.model.logs[0x06] = bytes(log)
    assert triple(sense(bench)) == (0, 0, 0)
    bench.model.executed.clear()
    sense(bench)
    logs = {command.cdw10 & 0xFF for command in bench.model.executed}
    assert 0x06 not in logs  # nobody asks any more


def warn(bench: Bench, critical_warning: int) -> None:
    smart = bytearray(bench.model.logs[0x02])
    smart[0] = critical_warning
    bench.model.logs[0x02] = bytes(smart)


@pytest.mark.parametrize(
    ("critical_warning", "expected"),
    [
        (1 << 0, (0, 0x5D, 0x03)),
        (1 << 1, (0, 0x0B, 0x01)),
        (1 << 2, (0, 0x5D, 0x10)),
        (1 << 3, (0, 0x5D, 0x02)),
        (1 << 4, (0, 0x0B, 0x06)),
        (0b110, (0, 0x5D, 0x10)),  # the gravest
    ],
)
def test_warnings_of_the_controller_are_told(
    critical_warning: int, expected: tuple[int, int, int]
) -> None:
    bench = make_bench()
    warn(bench, critical_warning)
    assert triple(sense(bench)) == expected
    assert triple(sense(bench)) == expected  # as long as it holds
    warn(bench, 0)
    assert triple(sense(bench)) == (0, 0, 0)


def test_a_warning_waits_for_what_is_more_urgent() -> None:
    bench = make_bench()
    warn(bench, 1 << 2)
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    assert triple(sense(bench)) == (6, 0x2A, 0x09)
    bench.lu.readiness = Readiness.STOPPED
    assert triple(sense(bench)) == (2, 0x04, 0x02)


def test_dexcpt_disables_warnings() -> None:
    bench = make_bench()
    warn(bench, 1 << 2)
    page = bench.do("MODE SENSE (6)", page_code=0x1C, dbd=1, allocation_length=255).data_in
    parameters = bytearray(b"\0" + page[1:])
    parameters[4] &= 0x7F  # PS is reserved
    parameters[4 + 2] |= 0x08
    length = len(parameters)
    selected = bench.do("MODE SELECT (6)", bytes(parameters), pf=1, parameter_list_length=length)
    assert selected.status is Status.GOOD
    assert triple(sense(bench)) == (0, 0, 0)


def test_a_controller_without_the_log_warns_of_nothing() -> None:
    bench = make_bench()
    del bench.model.logs[0x02]
    assert triple(sense(bench)) == (0, 0, 0)
