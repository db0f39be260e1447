"""TEST UNIT READY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.structures import POWER_STATE
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    FieldPointer,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, make_bench, make_lu

# Operational states 0 to 2, then non-operational 3 and 4.
STATES = b"".join(POWER_STATE.build(nops=int(state >= 3)) for state in range(5))
FIVE = {"npss": 4, "psds": STATES}


def start_stop(bench: Bench, **fields: int) -> Result:
    """Run START STOP UNIT."""
    return bench.do("START STOP UNIT", **fields)


def power_states(bench: Bench) -> list[int]:
    """Return what the controller was set to, in order."""
    return [
        command.cdw11
        for command in bench.model.executed
        if command.opcode == AdminOpcode.SET_FEATURES and command.cdw10 == 0x02
    ]


@pytest.mark.parametrize(
    ("power_condition", "modifier", "state"),
    [
        (1, 0, 0),
        (2, 0, 1),
        (2, 1, 2),
        (2, 2, 2),  # there is no third one
        (3, 0, 4),  # standby_z is the deepest
        (3, 1, 3),
        (0xA, 0, 1),
        (0xB, 1, 3),
    ],
)
def test_power_conditions_are_power_states(power_condition: int, modifier: int, state: int) -> None:
    bench = make_bench(controller=FIVE)
    result = start_stop(bench, power_condition=power_condition, power_condition_modifier=modifier)
    assert result.status is Status.GOOD
    assert power_states(bench) == [state]
    assert bench.do("TEST UNIT READY").status is Status.GOOD


@pytest.mark.parametrize(
    ("controller", "idle", "standby", "stopped"),
    [
        ({"npss": 2, "psds": STATES}, 1, 2, 2),  # none is non-operational
        ({"npss": 3, "psds": STATES}, 1, 3, 3),
        ({"npss": 1, "psds": STATES[3 * POWER_STATE.size :]}, 0, 1, 1),  # the first is always one
    ],
)
def test_few_power_states(
    controller: dict[str, int | bytes], idle: int, standby: int, stopped: int
) -> None:
    bench = make_bench(controller=controller)
    start_stop(bench, power_condition=2)
    start_stop(bench, power_condition=3, power_condition_modifier=1)
    start_stop(bench, start=0)
    assert power_states(bench) == [idle, standby, stopped]


def test_the_last_power_state_may_be_operational() -> None:
    bench = make_bench(controller={"npss": 2, "psds": STATES})
    start_stop(bench, power_condition=2, power_condition_modifier=2)
    assert power_states(bench) == [2]


def test_one_power_state_is_not_asked_for() -> None:
    bench = make_bench(controller={"npss": 0, "psds": POWER_STATE.build()})
    bench.model.faults[AdminOpcode.SET_FEATURES] = [0x002] * 3
    for fields in ({"start": 0}, {"start": 1}, {"power_condition": 3}):
        assert start_stop(bench, **fields).status is Status.GOOD
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD


def test_stop_and_start() -> None:
    bench = make_bench(controller=FIVE)
    assert start_stop(bench).status is Status.GOOD
    assert bench.model.opcodes() == [Opcode.FLUSH, AdminOpcode.SET_FEATURES]
    assert bench.lu.aside(bench.nexus)
    for name in ("TEST UNIT READY", "READ (10)", "WRITE (10)"):
        result = bench.do(name)
        assert result.sense is not None
        assert result.sense.code == LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED
    assert start_stop(bench, start=1).status is Status.GOOD
    assert power_states(bench) == [4, 0]
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD
    assert not bench.lu.aside(bench.nexus)


@pytest.mark.parametrize(
    ("fields", "controller", "flushes"),
    [
        ({}, {"vwc": 1}, True),
        ({"power_condition": 2}, {"vwc": 1}, True),
        ({"power_condition": 3}, {"vwc": 1}, True),
        ({"no_flush": 1}, {"vwc": 1}, False),
        ({}, {"vwc": 0}, False),
        ({"start": 1}, {"vwc": 1}, False),
        ({"power_condition": 1}, {"vwc": 1}, False),
    ],
)
def test_the_cache_is_flushed_before_less_power(
    fields: dict[str, int], controller: dict[str, int | bytes], flushes: bool
) -> None:
    bench = make_bench(controller=controller)
    start_stop(bench, **fields)
    assert (bench.model.opcodes()[0] == Opcode.FLUSH) == flushes


def test_a_failed_flush_stops_nothing() -> None:
    bench = make_bench()
    bench.model.faults[Opcode.FLUSH] = [0x280]
    assert start_stop(bench).status is Status.CHECK_CONDITION
    assert bench.lu.readiness is Readiness.READY
    assert power_states(bench) == []


def test_immed_answers_first() -> None:
    bench = make_bench()
    result = start_stop(bench, immed=1)
    assert result.status is Status.GOOD
    assert bench.model.executed == []
    assert bench.finish(result).status is Status.GOOD
    assert bench.lu.readiness is Readiness.STOPPED


def test_medium_access_wakes_the_unit() -> None:
    bench = make_bench(controller=FIVE)
    start_stop(bench, power_condition=3)
    assert bench.lu.aside(bench.nexus)
    bench.do("MODE SENSE (6)", page_code=0x0A, allocation_length=64)
    assert bench.lu.power_condition == 3
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD
    assert power_states(bench) == [4, 0]
    assert bench.lu.power_condition == 0
    assert not bench.lu.aside(bench.nexus)


def test_a_power_state_that_is_refused_keeps_nobody_from_the_medium() -> None:
    bench = make_bench(controller=FIVE)
    start_stop(bench, power_condition=3)
    bench.model.faults[AdminOpcode.SET_FEATURES] = [0x10E]
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD
    assert not bench.lu.aside(bench.nexus)


def test_the_controller_rests_only_when_all_its_units_do() -> None:
    bench = make_bench(controller=FIVE)
    other = make_lu(controller=FIVE, nsid=2)
    other.attach(bench.nexus)
    other.unit_attentions[bench.nexus.key].clear()
    bench.nexus.luns[1] = other
    bench.lu.controller_units = other.controller_units = (bench.lu, other)
    start_stop(bench)
    assert power_states(bench) == [0]
    stop = bytes([0x1B, 0, 0, 0, 0, 0])
    bench.run(stop, lun=1)
    assert power_states(bench) == [0, 4]
    start_stop(bench, start=1)
    assert power_states(bench) == [0, 4, 0]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"loej": 1}, FieldPointer(4, 1)),
        ({"loej": 1, "start": 1}, FieldPointer(4, 1)),
        ({"power_condition": 2, "power_condition_modifier": 3}, FieldPointer(3, 3)),
        ({"power_condition": 3, "power_condition_modifier": 2}, FieldPointer(3, 3)),
        ({"power_condition": 1, "power_condition_modifier": 1}, FieldPointer(3, 3)),
        *(
            ({"power_condition": value}, FieldPointer(4, 7))
            for value in (4, 5, 6, 8, 9, 0xC, 0xD, 0xE, 0xF)
        ),
    ],
)
def test_refusals(fields: dict[str, int], pointer: FieldPointer) -> None:
    bench = make_bench()
    result = start_stop(bench, **fields)
    assert result.sense is not None
    assert result.sense.code == INVALID_FIELD_IN_CDB
    assert result.sense.pointer == pointer
    assert bench.model.executed == []


def test_start_and_loej_do_not_count_with_a_power_condition() -> None:
    bench = make_bench(controller=FIVE)
    assert start_stop(bench, power_condition=2, loej=1).status is Status.GOOD
    assert bench.lu.readiness is Readiness.READY


def test_lu_control_changes_nothing() -> None:
    bench = make_bench()
    assert start_stop(bench, power_condition=7).status is Status.GOOD
    assert bench.model.executed == []


def test_a_format_is_not_stopped() -> None:
    bench = make_bench()
    bench.lu.readiness = Readiness.FORMATTING
    for start in (0, 1):
        result = start_stop(bench, start=start)
        assert result.sense is not None
        assert result.sense.code == LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS
    assert bench.lu.readiness is Readiness.FORMATTING


def test_a_format_that_begins_during_the_flush_is_not_stopped() -> None:
    bench = make_bench()
    result = start_stop(bench, immed=1)

    def flush(command: NvmeCommand) -> None:
        bench.lu.readiness = Readiness.FORMATTING

    bench.model.io[Opcode.FLUSH] = flush
    assert bench.finish(result).status is Status.CHECK_CONDITION
    assert bench.lu.readiness is Readiness.FORMATTING
    assert power_states(bench) == []


def test_prevent_and_allow() -> None:
    bench = make_bench()
    name = "PREVENT ALLOW MEDIUM REMOVAL"
    bench.do(name, prevent=1)
    bench.do(name, prevent=1, nexus=bench.other("b"))
    assert bench.lu.prevented_by == {bench.nexus.key, bench.other("b").key}
    bench.do(name, prevent=0)
    assert bench.lu.prevented_by == {bench.other("b").key}
    bench.lu.detach(bench.other("b"))
    assert bench.lu.prevented_by == set()
    for prevent in (2, 3):
        result = bench.do(name, prevent=prevent)
        assert result.sense is not None
        assert result.sense.pointer == FieldPointer(4, 1)
