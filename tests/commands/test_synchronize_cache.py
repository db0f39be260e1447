"""SYNCHRONIZE CACHE and PRE-FETCH."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import DSM_RANGE
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    PERIPHERAL_DEVICE_WRITE_FAULT,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, make_bench

SYNCHRONIZES = ["SYNCHRONIZE CACHE (10)", "SYNCHRONIZE CACHE (16)"]
PRE_FETCHES = ["PRE-FETCH (10)", "PRE-FETCH (16)"]
OUT_OF_RANGE = Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
WRITE_FAULT = Sense(PERIPHERAL_DEVICE_WRITE_FAULT)


@pytest.fixture
def bench() -> Bench:
    return make_bench(blocks=1000)


@pytest.mark.parametrize("name", SYNCHRONIZES)
def test_a_range_flushes_the_namespace(bench: Bench, name: str) -> None:
    assert bench.do(name, lba=10, number_of_blocks=5) == Result()
    assert [(c.opcode, c.nsid) for c in bench.model.executed] == [(Opcode.FLUSH, 1)]


@pytest.mark.parametrize("name", SYNCHRONIZES)
def test_ranges_are_checked(bench: Bench, name: str) -> None:
    assert bench.do(name, lba=1000) == Result()
    assert bench.do(name, lba=1001) == OUT_OF_RANGE
    assert bench.do(name, lba=999, number_of_blocks=2) == OUT_OF_RANGE
    assert bench.do(name, lba=999, number_of_blocks=2, immed=1) == OUT_OF_RANGE


@pytest.mark.parametrize("name", SYNCHRONIZES)
def test_without_a_volatile_cache_nothing_is_flushed(name: str) -> None:
    bench = make_bench(controller={"vwc": 0})
    assert bench.do(name) == Result()
    assert not bench.model.executed


@pytest.mark.parametrize("name", SYNCHRONIZES)
def test_immediate_status_and_a_flush_in_the_background(bench: Bench, name: str) -> None:
    result = bench.do(name, immed=1)
    assert result.status is Status.GOOD
    assert not bench.model.executed
    assert bench.finish(result) == Result()
    assert bench.model.opcodes() == [Opcode.FLUSH]


def test_a_failed_flush_is_told(bench: Bench) -> None:
    bench.model.faults[Opcode.FLUSH] = [0x280]
    assert bench.do("SYNCHRONIZE CACHE (10)") == Result(Status.CHECK_CONDITION, WRITE_FAULT)


def test_a_flush_that_fails_in_the_background_is_a_deferred_error(bench: Bench) -> None:
    bench.other("b")
    bench.model.faults[Opcode.FLUSH] = [0x280]
    bench.finish(bench.do("SYNCHRONIZE CACHE (10)", immed=1))
    assert bench.do("TEST UNIT READY", nexus=bench.other("b")) == Result()
    told = bench.do("TEST UNIT READY")
    assert told == Result(Status.CHECK_CONDITION, replace(WRITE_FAULT, deferred=True))
    assert told.sense is not None
    assert told.sense.fixed()[0] & 0x7F == 0x71
    assert bench.do("TEST UNIT READY") == Result()


def test_the_data_plane_hears_of_a_deferred_error(bench: Bench) -> None:
    bench.model.faults[Opcode.FLUSH] = [0x280]
    result = bench.do("SYNCHRONIZE CACHE (10)", immed=1)
    seen: list[bool] = []
    bench.lu.on_change = lambda: seen.append(bench.lu.aside(bench.nexus))
    bench.finish(result)
    assert seen[-1:] == [True]


@pytest.mark.parametrize("immed", [0, 1])
@pytest.mark.parametrize("name", PRE_FETCHES)
def test_the_controller_is_told_what_will_be_read(bench: Bench, name: str, immed: int) -> None:
    result = bench.do(name, lba=10, prefetch_length=5, immed=immed)
    assert result.status == Status.GOOD
    assert len(bench.model.executed) == 1 - immed
    assert (bench.finish(result) if immed else result) == Result(Status.GOOD)
    assert bench.do(name, lba=1000, immed=immed) == Result(Status.GOOD)
    assert bench.do(name, lba=1001, immed=immed) == OUT_OF_RANGE
    assert bench.do(name, lba=999, prefetch_length=2, immed=immed) == OUT_OF_RANGE
    hints = [(each.opcode, each.cdw11, each.data_out) for each in bench.model.executed]
    assert hints == [
        (Opcode.DATASET_MANAGEMENT, 1, DSM_RANGE.build(slba=lba, nlb=blocks))
        for lba, blocks in ((10, 5),)
    ]


@pytest.mark.parametrize("name", PRE_FETCHES)
def test_what_comes_of_a_hint_does_not_matter(bench: Bench, name: str) -> None:
    bench.model.faults[Opcode.DATASET_MANAGEMENT] = [StatusCode.INVALID_FIELD]
    assert bench.do(name, lba=10, prefetch_length=5) == Result(Status.GOOD)
    assert len(bench.model.executed) == 1


def test_nothing_is_hinted_that_the_disk_would_refuse() -> None:
    for bench in (make_bench(controller={"oncs": 0}), make_bench()):
        bench.lu.read_only = True
        assert bench.do("PRE-FETCH (10)", lba=10, prefetch_length=5) == Result(Status.GOOD)
        assert not bench.model.executed
