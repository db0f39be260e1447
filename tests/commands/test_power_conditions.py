"""Power conditions as pages and REQUEST SENSE tell of them, and as timers enter them."""

from __future__ import annotations

import pytest

from scsi2nvme.commands import power
from scsi2nvme.commands.vpd_pages.power_condition import POWER_CONDITION as RECOVERY
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.structures import POWER_STATE
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.power_timers import enabled
from scsi2nvme.unit.mode_pages.power_condition import POWER_CONDITION
from scsi2nvme.unit.power_conditions import CONDITIONS, RestingCondition
from tests.commands.test_power import FIVE, power_states, start_stop
from tests.support import Bench, make_bench

ONE = {"npss": 0, "psds": POWER_STATE.build()}
by_condition = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda each: each.name)


def asked(bench: Bench) -> tuple[int, int]:
    """Return ASC and ASCQ that REQUEST SENSE tells."""
    data = bench.do("REQUEST SENSE", allocation_length=18).data_in
    return data[12], data[13]


def transitions(bench: Bench) -> dict[int, int]:
    """Return the counts of log page 1Ah that are not zero."""
    data = bench.do("LOG SENSE", pc=1, page_code=0x1A, allocation_length=255).data_in
    counts = {}
    for at in range(4, len(data), 8):
        counts[int.from_bytes(data[at : at + 2], "big")] = int.from_bytes(
            data[at + 4 : at + 8], "big"
        )
    assert list(counts) == [1, 2, 3, 4, 8, 9]
    return {code: count for code, count in counts.items() if count}


def rest(bench: Bench, condition: RestingCondition) -> None:
    assert bench.model.play(power.rest(bench.lu, condition)) == GOOD


@by_condition
def test_by_command_or_by_timer(condition: RestingCondition) -> None:
    bench = make_bench(controller=FIVE)
    fields = {
        "power_condition": condition.condition,
        "power_condition_modifier": condition.modifier,
    }
    start_stop(bench, **fields)
    by_command = asked(bench)
    start_stop(bench, power_condition=1)
    rest(bench, condition)
    by_timer = asked(bench)
    assert by_command == (0x5E, condition.by_command.ascq)
    assert by_timer == (0x5E, condition.by_timer.ascq)
    assert by_command != by_timer
    first, _, second = power_states(bench)
    assert first == second
    assert transitions(bench) == {1: 1, condition.code: 2}
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD
    assert transitions(bench) == {1: 2, condition.code: 2}
    assert asked(bench) == (0, 0)


def test_the_cache_is_flushed_before_a_rest() -> None:
    bench = make_bench(controller=FIVE)
    rest(bench, CONDITIONS[-1])
    assert bench.model.opcodes() == [Opcode.FLUSH, AdminOpcode.SET_FEATURES]


def test_a_flush_that_fails_keeps_it_awake() -> None:
    bench = make_bench(controller=FIVE)
    bench.model.faults[Opcode.FLUSH] = [0x280]
    result = bench.model.play(power.rest(bench.lu, CONDITIONS[0]))
    assert result.status is Status.CHECK_CONDITION
    assert not bench.lu.resting


def test_what_is_stopped_meanwhile_does_not_rest() -> None:
    bench = make_bench(controller=FIVE)
    resting = power.rest(bench.lu, CONDITIONS[0])
    next(resting)
    start_stop(bench)
    with pytest.raises(StopIteration):
        resting.send(None)
    assert bench.lu.resting_condition is None


def select(bench: Bench, **fields: int) -> None:
    page = POWER_CONDITION.with_header(POWER_CONDITION.layout.build(**fields), saveable=False)
    data = bytes(8) + page
    selected = bench.do("MODE SELECT (10)", data, pf=1, sp=1, parameter_list_length=len(data))
    assert selected == GOOD


def test_timers_are_set_by_mode_select_and_stopped_by_start_stop_unit() -> None:
    bench = make_bench(controller=FIVE)
    select(bench, idle_a=1, idle_a_timer=50, standby_z=1, standby_z_timer=600, idle_b_timer=7)
    both = [(5.0, "idle_a"), (60.0, "standby_z")]

    def running() -> list[tuple[float, str]]:
        return [(seconds, condition.name) for seconds, condition in enabled(bench.lu)]

    assert running() == both
    for fields in ({"power_condition": 1}, {"power_condition": 2}):
        start_stop(bench, **fields)
        assert running() == []
    start_stop(bench, power_condition=7)
    assert running() == both[1:]  # it is idle
    bench.do("READ (10)", transfer_length=1)
    assert running() == both
    start_stop(bench, power_condition=0xA)  # now, and the timers go on
    assert running() == both[1:]
    start_stop(bench, power_condition=1)
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    assert running() == both  # they were saved


def test_how_long_it_takes_to_come_back() -> None:
    states = (
        POWER_STATE.build(),
        POWER_STATE.build(enlat=1, exlat=1),
        POWER_STATE.build(enlat=600, exlat=401),
        POWER_STATE.build(nops=1, enlat=2000, exlat=5000),
        POWER_STATE.build(nops=1, enlat=1 << 31, exlat=1 << 31),
    )
    bench = make_bench(controller={"npss": 4, "psds": b"".join(states)})
    data = bench.do("INQUIRY", evpd=1, page_code=0x8A, allocation_length=255).data_in
    assert (len(data), data[:4]) == (18, bytes([0, 0x8A, 0, 14]))
    page = RECOVERY.parse(data)
    assert all(page[each.name] for each in CONDITIONS)
    recoveries = [page[f"{each.name}_recovery_ms"] for each in CONDITIONS]
    assert recoveries == [1, 2, 2, 7, 0xFFFF]
    assert page.stopped_recovery_ms == 0xFFFF


def test_one_power_state_is_nothing_to_tell_of() -> None:
    bench = make_bench(controller=ONE)
    for name, fields in (
        ("INQUIRY", {"evpd": 1, "page_code": 0x8A}),
        ("LOG SENSE", {"pc": 1, "page_code": 0x1A}),
    ):
        refused = bench.do(name, **fields, allocation_length=255)
        assert refused.status is Status.CHECK_CONDITION
