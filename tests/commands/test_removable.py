"""A medium that is ejected and comes back."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    MEDIUM_NOT_PRESENT,
    MEDIUM_REMOVAL_PREVENTED,
    NOT_READY_TO_READY_CHANGE,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, code, make_bench

WRITE_FAULT = 0x280


@pytest.fixture
def bench() -> Bench:
    bench = make_bench()
    bench.lu.removable = True
    return bench


def eject(bench: Bench, **fields: int) -> Result:
    return bench.do("START STOP UNIT", loej=1, start=0, **fields)


def load(bench: Bench) -> Result:
    return bench.do("START STOP UNIT", loej=1, start=1)


def is_there(bench: Bench) -> bool:
    result = bench.do("TEST UNIT READY")
    assert code(result) in (None, MEDIUM_NOT_PRESENT)
    return result.status is Status.GOOD


def test_it_is_told(bench: Bench) -> None:
    assert bench.do("INQUIRY", allocation_length=36).data_in[1] == 0x80
    assert make_bench().do("INQUIRY", allocation_length=36).data_in[1] == 0


def test_nothing_is_there_until_it_is_loaded_again(bench: Bench) -> None:
    other = bench.other()
    assert eject(bench) == Result()
    assert bench.model.opcodes() == [Opcode.FLUSH]
    for name, fields in (
        ("TEST UNIT READY", {}),
        ("READ (10)", {"transfer_length": 1}),
        ("READ CAPACITY (10)", {}),
        ("READ CAPACITY (16)", {"allocation_length": 32}),
        ("SYNCHRONIZE CACHE (10)", {}),
        ("START STOP UNIT", {"start": 1}),
    ):
        assert code(bench.do(name, **fields)) == MEDIUM_NOT_PRESENT
    assert bench.do("INQUIRY", allocation_length=36).status is Status.GOOD
    assert eject(bench) == Result()
    assert load(bench) == Result()
    assert is_there(bench)
    assert code(bench.do("TEST UNIT READY", nexus=other)) == NOT_READY_TO_READY_CHANGE
    assert load(bench) == Result()
    assert bench.do("TEST UNIT READY", nexus=other) == Result()


def test_who_prevents_it_keeps_everybody_from_it(bench: Bench) -> None:
    bench.do("PREVENT ALLOW MEDIUM REMOVAL", prevent=1, nexus=bench.other())
    assert code(eject(bench)) == MEDIUM_REMOVAL_PREVENTED
    assert is_there(bench)
    bench.do("PREVENT ALLOW MEDIUM REMOVAL", prevent=0, nexus=bench.other())
    assert eject(bench, no_flush=1) == Result()
    assert not bench.model.executed
    assert not is_there(bench)
    bench.do("PREVENT ALLOW MEDIUM REMOVAL", prevent=1)
    assert code(load(bench)) == MEDIUM_REMOVAL_PREVENTED
    assert eject(bench) == Result()
    bench.do("PREVENT ALLOW MEDIUM REMOVAL", prevent=0)
    assert load(bench) == Result()


def test_what_cannot_be_flushed_stays(bench: Bench) -> None:
    bench.model.faults[Opcode.FLUSH] = [WRITE_FAULT]
    assert eject(bench).status is Status.CHECK_CONDITION
    assert is_there(bench)


def test_it_goes_at_once_with_immed(bench: Bench) -> None:
    result = eject(bench, immed=1)
    assert result.status is Status.GOOD
    assert not is_there(bench)
    assert bench.finish(result) == Result()
    assert not is_there(bench)


def test_a_stopped_unit_is_ejected_and_loaded(bench: Bench) -> None:
    bench.do("START STOP UNIT", start=0)
    assert eject(bench) == Result()
    assert load(bench) == Result()
    assert is_there(bench)


def test_it_stays_away_while_the_controller_does(bench: Bench) -> None:
    assert eject(bench) == Result()
    bench.lu.fail()
    bench.lu.recover()
    assert bench.lu.readiness is Readiness.EJECTED


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("state", [Readiness.FAILED, Readiness.FORMATTING])
def test_what_cannot_be_reached_is_neither_loaded_nor_ejected(
    bench: Bench, state: Readiness, start: int
) -> None:
    bench.lu.readiness = state
    result = bench.do("START STOP UNIT", loej=1, start=start)
    assert bench.lu.not_ready is not None
    assert result.sense == bench.lu.not_ready
    assert bench.lu.readiness is state


@pytest.mark.parametrize("start", [0, 1])
def test_a_medium_that_is_not_removable(start: int) -> None:
    bench = make_bench()
    result = bench.do("START STOP UNIT", loej=1, start=start)
    assert result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(4, 1))
    assert is_there(bench)
