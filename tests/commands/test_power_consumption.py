"""What an active logical unit takes: VPD page 8Dh and mode page 1Ah/01h."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.unit_reset import reset
from scsi2nvme.nvme.structures import POWER_STATE
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.page import PageControl
from scsi2nvme.unit.mode_pages.power_consumption import POWER_CONSUMPTION
from tests.commands.test_mode import changed, select
from tests.commands.test_power import power_states, start_stop
from tests.support import Bench, code, make_bench, make_lu

STATES = {
    "npss": 4,
    "psds": POWER_STATE.build(mp=9000)
    + POWER_STATE.build(mp=4601, mxps=1)
    + POWER_STATE.build(mp=280)
    + POWER_STATE.build(mp=45, nops=1)
    + POWER_STATE.build(mp=5, nops=1),
}


def page(bench: Bench) -> bytes:
    return bench.do("INQUIRY", evpd=1, page_code=0x8D, allocation_length=255).data_in


def test_the_operational_states_are_told() -> None:
    assert page(make_bench(controller=STATES)).hex(" ", 4) == (
        "008d000c 0003005a 010401cd 02040af0"  # 90 W; 460.1 mW rounded up; 2.8 W
    )


@pytest.mark.parametrize(
    "controller",
    [{}, {**STATES, "psds": POWER_STATE.build() + STATES["psds"][32:]}],  # type: ignore[index]
)
def test_without_a_choice_or_numbers_there_are_no_pages(controller: dict[str, int]) -> None:
    bench = make_bench(controller=controller)
    assert code(bench.do("INQUIRY", evpd=1, page_code=0x8D)) == INVALID_FIELD_IN_CDB
    sense = bench.do("MODE SENSE (10)", page_code=0x1A, subpage_code=1, allocation_length=64)
    assert code(sense) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"power_consumption_identifier": 2}, 2),
        ({"power_consumption_identifier": 1}, 1),
        ({"active_level": 1, "power_consumption_identifier": 2}, 0),
        ({"active_level": 2}, 1),
        ({"active_level": 3, "power_consumption_identifier": 77}, 2),
    ],
)
def test_a_level_is_a_power_state(fields: dict[str, int], state: int) -> None:
    bench = make_bench(controller=STATES)
    assert select(bench, changed(bench, POWER_CONSUMPTION, **fields)).status is Status.GOOD
    assert power_states(bench) == [state]


@pytest.mark.parametrize("identifier", [3, 5, 0xFF])
def test_what_is_no_level_is_refused(identifier: int) -> None:
    bench = make_bench(controller=STATES)
    wrong = changed(bench, POWER_CONSUMPTION, power_consumption_identifier=identifier)
    refused = select(bench, wrong)
    assert code(refused) == INVALID_FIELD_IN_PARAMETER_LIST
    assert power_states(bench) == []


def test_less_is_taken_at_rest_and_no_more_after_it() -> None:
    bench = make_bench(controller=STATES)
    select(bench, changed(bench, POWER_CONSUMPTION, power_consumption_identifier=2))
    start_stop(bench, power_condition=2)  # idle_a, which would take more
    start_stop(bench, power_condition=3)
    bench.do("READ (10)", transfer_length=1)
    assert power_states(bench) == [2, 2, 4, 2]


def test_nobody_elses_limit_is_passed() -> None:
    bench = make_bench(controller=STATES)
    other = make_lu(nsid=2, controller=STATES)
    bench.lu.controller_units = other.controller_units = (bench.lu, other)
    other.mode.change(POWER_CONSUMPTION, POWER_CONSUMPTION.layout.build(active_level=3))
    select(bench, changed(bench, POWER_CONSUMPTION, power_consumption_identifier=1))
    assert power_states(bench) == [2]


def test_nothing_is_saved_and_a_reset_ends_it() -> None:
    bench = make_bench(controller=STATES)
    data = bench.do(
        "MODE SENSE (10)", page_code=0x1A, subpage_code=1, dbd=1, allocation_length=64
    ).data_in
    assert data[8:12].hex() == "5a01000c"  # no PS
    select(bench, changed(bench, POWER_CONSUMPTION, active_level=3), save=1)
    saved = bench.lu.mode.values(POWER_CONSUMPTION, PageControl.SAVED)
    assert POWER_CONSUMPTION.layout.parse(saved).active_level == 0
    assert bench.model.play(reset(bench.lu, BUS_DEVICE_RESET_FUNCTION_OCCURRED)) == GOOD
    assert power_states(bench) == [2, 0]
