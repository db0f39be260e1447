"""VERIFY and WRITE AND VERIFY: every BYTCHK, with and without the controller's help."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.read_write import FUA
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    UNRECOVERED_READ_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, make_bench

BLOCK = 512
VERIFIES = ["VERIFY (10)", "VERIFY (12)", "VERIFY (16)"]
WRITES = ["WRITE AND VERIFY (10)", "WRITE AND VERIFY (12)", "WRITE AND VERIFY (16)"]
DATA = bytes(range(256)) * 2 * 20
MISCOMPARE = Result(Status.CHECK_CONDITION, Sense(MISCOMPARE_DURING_VERIFY_OPERATION))
OUT_OF_RANGE = Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))


def refused_at(byte: int, bit: int) -> Result:
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    return Result(Status.CHECK_CONDITION, sense)


@pytest.fixture(params=[0xFF, 0x7E], ids=["native", "emulated"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return make_bench(
        blocks=20000, maximum_transfer_bytes=8 * BLOCK, controller={"oncs": request.param}
    )


@pytest.mark.parametrize("name", VERIFIES)
def test_verify_of_the_medium(name: str) -> None:
    bench = make_bench(maximum_transfer_bytes=8 * BLOCK)
    assert bench.do(name, lba=3, verification_length=20) == Result()
    assert [(c.opcode, c.slba, c.blocks) for c in bench.model.executed] == [
        (Opcode.VERIFY, 3, 8),
        (Opcode.VERIFY, 11, 8),
        (Opcode.VERIFY, 19, 4),
    ]


def test_verify_reads_where_there_is_no_verify() -> None:
    bench = make_bench(controller={"oncs": 0x7F})
    assert bench.do("VERIFY (10)", lba=3, verification_length=20) == Result()
    assert set(bench.model.opcodes()) == {Opcode.READ}


def test_verify_is_split_by_the_verify_size_limit() -> None:
    bench = make_bench(nvm_controller={"vsl": 1})  # 8192 bytes
    bench.do("VERIFY (10)", verification_length=40)
    assert [command.blocks for command in bench.model.executed] == [16, 16, 8]


def test_verify_of_the_medium_has_no_length_limit(bench: Bench) -> None:
    blocks = bench.lu.maximum_transfer_blocks + 1
    assert bench.do("VERIFY (12)", verification_length=blocks) == Result()
    assert sum(command.blocks for command in bench.model.executed) == blocks


def test_verify_reports_a_medium_error(bench: Bench) -> None:
    bench.model.faults = {Opcode.VERIFY: [0x281], Opcode.READ: [0x281]}
    result = bench.do("VERIFY (16)", lba=40, verification_length=1)
    sense = Sense(UNRECOVERED_READ_ERROR, information=40)
    assert result == Result(Status.CHECK_CONDITION, sense)


@pytest.mark.parametrize("name", VERIFIES)
def test_verify_compares_all_blocks(bench: Bench, name: str) -> None:
    bench.model.fill(50, DATA)
    assert bench.do(name, DATA, lba=50, verification_length=20, bytchk=1) == Result()
    wrong = DATA[:-1] + b"\0"
    assert bench.do(name, wrong, lba=50, verification_length=20, bytchk=1) == MISCOMPARE


@pytest.mark.parametrize("name", VERIFIES)
def test_verify_compares_each_block_with_one(bench: Bench, name: str) -> None:
    bench.model.fill(50, b"\x5a" * BLOCK * 20)
    block = b"\x5a" * BLOCK
    assert bench.do(name, block, lba=50, verification_length=20, bytchk=3) == Result()
    assert bench.do(name, block, lba=50, verification_length=21, bytchk=3) == MISCOMPARE


def test_verify_of_each_block_has_no_length_limit(bench: Bench) -> None:
    blocks = bench.lu.maximum_transfer_blocks + 1
    arguments = {"verification_length": blocks, "bytchk": 3}
    assert bench.do("VERIFY (12)", bytes(BLOCK), **arguments) == Result()
    bench.model.fill(blocks - 1, b"\1")
    assert bench.do("VERIFY (12)", bytes(BLOCK), **arguments) == MISCOMPARE


def test_verify_of_all_blocks_keeps_the_maximum_transfer_length(bench: Bench) -> None:
    blocks = bench.lu.maximum_transfer_blocks + 1
    result = bench.do("VERIFY (12)", bytes(blocks * BLOCK), verification_length=blocks, bytchk=1)
    assert result == refused_at(6, 7)


@pytest.mark.parametrize("bytchk", [0, 1])
def test_write_and_verify_keeps_the_maximum_transfer_length(bench: Bench, bytchk: int) -> None:
    blocks = bench.lu.maximum_transfer_blocks + 1
    data = bytes(blocks * BLOCK)
    result = bench.do("WRITE AND VERIFY (12)", data, transfer_length=blocks, bytchk=bytchk)
    assert result == refused_at(6, 7)
    assert not bench.model.executed


@pytest.mark.parametrize("bytchk", [0, 1, 3])
@pytest.mark.parametrize("name", VERIFIES)
def test_verify_of_nothing(bench: Bench, name: str, bytchk: int) -> None:
    assert bench.do(name, lba=20000, bytchk=bytchk) == Result()
    assert bench.do(name, lba=20001, bytchk=bytchk) == OUT_OF_RANGE
    assert not bench.model.executed


@pytest.mark.parametrize("name", VERIFIES)
def test_verify_refuses(bench: Bench, name: str) -> None:
    assert bench.do(name, bytchk=2) == refused_at(1, 2)
    assert bench.do(name, vrprotect=1) == refused_at(1, 7)
    assert bench.do(name, lba=19999, verification_length=2) == OUT_OF_RANGE


@pytest.mark.parametrize("bytchk", [0, 1])
@pytest.mark.parametrize("name", WRITES)
def test_write_and_verify(bench: Bench, name: str, bytchk: int) -> None:
    assert bench.do(name, DATA, lba=60, transfer_length=20, bytchk=bytchk) == Result()
    assert bench.model.blocks(60, 20) == DATA
    writes = [c for c in bench.model.executed if c.opcode == Opcode.WRITE]
    assert all(command.cdw12 & FUA for command in writes)
    checks = bench.model.opcodes()[len(writes) :]
    assert checks
    assert Opcode.WRITE not in checks


def test_write_and_verify_tells_a_miscompare() -> None:
    bench = make_bench()
    bench.model.faults[Opcode.COMPARE] = [0x285]
    result = bench.do("WRITE AND VERIFY (10)", DATA, transfer_length=20, bytchk=1)
    assert result == MISCOMPARE


@pytest.mark.parametrize("bytchk", [2, 3])
@pytest.mark.parametrize("name", WRITES)
def test_write_and_verify_refuses(bench: Bench, name: str, bytchk: int) -> None:
    arguments = {"transfer_length": 1}
    assert bench.do(name, DATA, **arguments, bytchk=bytchk) == refused_at(1, 2)
    assert bench.do(name, DATA, **arguments, wrprotect=1) == refused_at(1, 7)
    assert bench.do(name, DATA, **arguments, lba=20000) == OUT_OF_RANGE
    assert not bench.model.executed
