"""A logical unit reset, as far as the controller takes part in it."""

from __future__ import annotations

from scsi2nvme.commands.unit_reset import reset
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, Result
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    MODE_PARAMETERS_CHANGED,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.caching import CACHING
from scsi2nvme.unit.readiness import Readiness
from tests.commands.test_mode import changed, select
from tests.support import Bench, make_bench, make_lu, make_nexus

WCE, POWER = 0x06, 0x02
STOP = bytes([0x1B, 0, 0, 0, 0, 0])
STANDBY = bytes([0x1B, 0, 0, 0, 0x30, 0])


def run_reset(bench: Bench) -> Result:
    bench.model.executed.clear()
    return bench.model.play(reset(bench.lu, BUS_DEVICE_RESET_FUNCTION_OCCURRED))


def test_the_write_cache_returns_to_its_default() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CACHING, wce=0)).status is Status.GOOD
    assert run_reset(bench) == GOOD
    assert bench.model.features[WCE] == 1


def test_the_write_cache_returns_to_what_was_saved() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CACHING, wce=0), save=1).status is Status.GOOD
    assert select(bench, changed(bench, CACHING, wce=1)).status is Status.GOOD
    assert run_reset(bench) == GOOD
    assert bench.model.features[WCE] == 0
    assert bench.model.opcodes()[-1] == Opcode.FLUSH


def test_what_is_as_it_should_be_is_not_set() -> None:
    bench = make_bench()
    assert run_reset(bench) == GOOD
    assert set(bench.model.opcodes()) == {AdminOpcode.GET_FEATURES}


def test_a_controller_that_has_only_current_values_keeps_them() -> None:
    bench = make_bench(controller={"oncs": 0xEF})
    bench.model.features[WCE] = 0
    assert run_reset(bench) == GOOD
    assert bench.model.executed == []


def test_neighbours_hear_of_their_cache() -> None:
    bench = make_bench()
    neighbour = make_lu(nsid=2)
    bench.nexus.luns[1] = neighbour
    bench.lu.controller_units = (bench.lu, neighbour)
    make_nexus("b", bench.lu, neighbour)
    select(bench, changed(bench, CACHING, wce=0))
    for queue in neighbour.unit_attentions.values():
        queue.clear()
    run_reset(bench)
    told = [[sense.code for sense in queue] for queue in neighbour.unit_attentions.values()]
    assert told == [[MODE_PARAMETERS_CHANGED]]
    own = [[sense.code for sense in queue] for queue in bench.lu.unit_attentions.values()]
    assert own == [[BUS_DEVICE_RESET_FUNCTION_OCCURRED]] * 2


def test_a_stopped_unit_is_active() -> None:
    bench = make_bench()
    assert bench.run(STOP) == GOOD
    assert bench.model.features[POWER] == 1
    assert run_reset(bench) == GOOD
    assert bench.lu.readiness is Readiness.READY
    assert bench.model.features[POWER] == 0


def test_a_resting_unit_is_active() -> None:
    bench = make_bench()
    assert bench.run(STANDBY) == GOOD
    assert bench.model.features[POWER] == 1
    assert run_reset(bench) == GOOD
    assert bench.lu.power_condition == 0
    assert bench.model.features[POWER] == 0


def test_a_format_goes_on() -> None:
    bench = make_bench()
    bench.lu.readiness = Readiness.FORMATTING
    run_reset(bench)
    assert bench.lu.readiness is Readiness.FORMATTING


def test_what_fails_keeps_nothing_else_from_being_reset() -> None:
    bench = make_bench()
    bench.run(STOP)
    bench.model.faults[AdminOpcode.GET_FEATURES] = [StatusCode.INTERNAL_ERROR] * 9
    assert run_reset(bench).status is Status.CHECK_CONDITION
    assert bench.model.features[POWER] == 0
    assert bench.lu.readiness is Readiness.READY
