"""Unit attentions: who is told, how often, and in which order. Spec: SAM-5 5.14."""

from __future__ import annotations

from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    CAPACITY_DATA_HAS_CHANGED,
    I_T_NEXUS_LOSS_OCCURRED,
    MODE_PARAMETERS_CHANGED,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    RESERVATIONS_RELEASED,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import Nexus
from tests.support import code, make_bench, make_nexus


def test_a_new_nexus_learns_of_power_on() -> None:
    bench = make_bench()
    newcomer = Nexus(make_nexus("z").initiator, bench.nexus.target, {0: bench.lu})
    bench.lu.attach(newcomer)
    assert bench.lu.aside(newcomer)
    result = bench.do("TEST UNIT READY", nexus=newcomer)
    assert code(result) == POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
    assert bench.do("TEST UNIT READY", nexus=newcomer).status is Status.GOOD
    assert not bench.lu.aside(newcomer)


def test_a_reset_is_told_to_everyone_and_replaces_the_rest() -> None:
    bench = make_bench()
    nexuses = (bench.nexus, bench.other("b"))
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    for nexus in nexuses:
        told = bench.do("TEST UNIT READY", nexus=nexus)
        assert code(told) == BUS_DEVICE_RESET_FUNCTION_OCCURRED
        assert bench.do("TEST UNIT READY", nexus=nexus).status is Status.GOOD


def test_a_lost_nexus_learns_of_it() -> None:
    bench = make_bench()
    bench.lu.detach(bench.nexus, I_T_NEXUS_LOSS_OCCURRED)
    bench.lu.establish_attention(RESERVATIONS_RELEASED, only=bench.nexus.key)
    bench.lu.attach(bench.nexus)
    assert code(bench.do("TEST UNIT READY")) == I_T_NEXUS_LOSS_OCCURRED
    assert code(bench.do("TEST UNIT READY")) == RESERVATIONS_RELEASED
    assert bench.do("TEST UNIT READY").status is Status.GOOD


def test_an_attention_waits_once() -> None:
    bench = make_bench()
    for _ in range(3):
        bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    assert code(bench.do("TEST UNIT READY")) == CAPACITY_DATA_HAS_CHANGED
    assert bench.do("TEST UNIT READY").status is Status.GOOD


def test_a_reset_is_told_before_what_is_older_and_less() -> None:
    bench = make_bench()
    for established in (
        CAPACITY_DATA_HAS_CHANGED,
        I_T_NEXUS_LOSS_OCCURRED,
        MODE_PARAMETERS_CHANGED,
        POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    ):
        bench.lu.establish_attention(established)
    assert [code(bench.do("TEST UNIT READY")) for _ in range(5)] == [
        POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
        I_T_NEXUS_LOSS_OCCURRED,
        CAPACITY_DATA_HAS_CHANGED,
        MODE_PARAMETERS_CHANGED,
        None,
    ]
