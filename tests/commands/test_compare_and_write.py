"""COMPARE AND WRITE, fused and not, and ORWRITE."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme import engine
from scsi2nvme.commands.read_write import FUA
from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    NO_ADDITIONAL_SENSE_INFORMATION,
    PERIPHERAL_DEVICE_WRITE_FAULT,
    FieldPointer,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of
from tests.support import Bench, make_bench, row

BLOCK = 512
FUSED = [Opcode.COMPARE, Opcode.WRITE]
OUT_OF_RANGE = Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))


def refused_at(byte: int, bit: int) -> Result:
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    return Result(Status.CHECK_CONDITION, sense)


def miscompare_at(offset: int) -> Result:
    sense = Sense(MISCOMPARE_DURING_VERIFY_OPERATION, information=offset)
    return Result(Status.CHECK_CONDITION, sense)


@pytest.fixture(params=[1, 0], ids=["fused", "not fused"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return make_bench(maximum_transfer_bytes=8 * BLOCK, controller={"fuses": request.param})


def swap(bench: Bench, lba: int, old: bytes, new: bytes, **fields: int) -> Result:
    blocks = len(old) // BLOCK
    return bench.do("COMPARE AND WRITE", old + new, lba=lba, number_of_blocks=blocks, **fields)


@pytest.mark.parametrize("blocks", [1, 8, 9, 255])
def test_equal_blocks_are_replaced(bench: Bench, blocks: int) -> None:
    old, new = b"\x11" * BLOCK * blocks, b"\x22" * BLOCK * blocks
    bench.model.fill(40, old)
    assert swap(bench, 40, old, new) == Result()
    assert bench.model.blocks(39, blocks + 2) == bytes(BLOCK) + new + bytes(BLOCK)


@given(offset=st.integers(0, 20 * BLOCK - 1), fuses=st.booleans(), blocks=st.integers(1, 20))
def test_a_difference_is_located_and_nothing_is_written(
    offset: int, fuses: bool, blocks: int
) -> None:
    bench = make_bench(maximum_transfer_bytes=8 * BLOCK, controller={"fuses": int(fuses)})
    offset %= blocks * BLOCK
    old = bytearray(b"\x11" * BLOCK * blocks)
    bench.model.fill(40, bytes(old))
    old[offset] ^= 0x80
    result = swap(bench, 40, bytes(old), b"\x22" * BLOCK * blocks)
    assert result == miscompare_at(offset)
    assert bench.model.blocks(40, blocks) == b"\x11" * BLOCK * blocks


def test_a_fused_pair_stands_side_by_side() -> None:
    bench = make_bench()
    assert swap(bench, 3, bytes(BLOCK), b"\1" * BLOCK, fua=1) == Result()
    compare, write = bench.model.executed
    assert (compare.opcode, compare.fuse) == (Opcode.COMPARE, Fuse.FIRST)
    assert (write.opcode, write.fuse) == (Opcode.WRITE, Fuse.SECOND)
    assert write.cdw12 & FUA
    assert not compare.cdw12 & FUA


@pytest.mark.parametrize(
    ("controller", "namespace", "maximum", "fused"),
    [
        ({"acwu": 7}, {}, 8 * BLOCK, True),
        ({"acwu": 6}, {}, 8 * BLOCK, False),
        ({"acwu": 7}, {}, 7 * BLOCK, False),
        ({"acwu": 7}, {"nsfeat": 2, "nacwu": 0}, 8 * BLOCK, True),
        ({"acwu": 7}, {"nsfeat": 2, "nacwu": 3}, 8 * BLOCK, False),
        ({"acwu": 7}, {"nsfeat": 0, "nacwu": 3}, 8 * BLOCK, True),
        ({"fuses": 0}, {}, 8 * BLOCK, False),
        ({"oncs": 0xFE}, {}, 8 * BLOCK, False),
    ],
)
def test_pairs_are_fused_within_the_atomic_unit(
    controller: dict[str, int], namespace: dict[str, int], maximum: int, fused: bool
) -> None:
    bench = make_bench(controller=controller, namespace=namespace, maximum_transfer_bytes=maximum)
    assert swap(bench, 3, bytes(8 * BLOCK), b"\1" * 8 * BLOCK) == Result()
    assert (bench.model.opcodes() == FUSED) == fused


def test_a_write_that_fails_within_the_pair_is_told() -> None:
    bench = make_bench()
    bench.model.faults[Opcode.WRITE] = [0x280]
    sense = Sense(PERIPHERAL_DEVICE_WRITE_FAULT, information=3)
    assert swap(bench, 3, bytes(BLOCK), bytes(BLOCK)) == Result(Status.CHECK_CONDITION, sense)


# A pair of which a reset of the controller has lost the completions

OLD, NEW, OTHER = b"\x11", b"\x22", b"\x33"
RESET = StatusCode.ABORTED_SQ_DELETION
ABORTED = Result(
    Status.CHECK_CONDITION,
    Sense(replace(NO_ADDITIONAL_SENSE_INFORMATION, key=SenseKey.ABORTED_COMMAND)),
)


def losing(
    bench: Bench, medium: bytes, statuses: tuple[int, int] = (RESET, RESET), times: int = 1
) -> Bench:
    """Have the next pairs end with `statuses`, and leave `medium` behind, a byte for each block."""
    execute = bench.model.execute
    left = iter(range(times))

    def lose(*commands: NvmeCommand) -> tuple[Completion, ...]:
        if commands[0].fuse is Fuse.NORMAL or next(left, None) is None:
            return execute(*commands)
        bench.model.executed += commands
        bench.model.fill(3, b"".join(bytes([each]) * BLOCK for each in medium))
        return tuple(Completion(status=status) for status in statuses)

    bench.model.execute = lose  # type: ignore[method-assign]
    return bench


def test_a_lost_pair_that_was_not_done_is_repeated() -> None:
    bench = losing(make_bench(), OLD * 2, times=4)
    assert swap(bench, 3, OLD * 2 * BLOCK, NEW * 2 * BLOCK) == Result()
    assert bench.model.blocks(3, 2) == NEW * 2 * BLOCK
    assert bench.model.opcodes() == [*[*FUSED, Opcode.READ] * 4, *FUSED]
    bench = losing(make_bench(), OLD * 2, times=5)
    assert swap(bench, 3, OLD * 2 * BLOCK, NEW * 2 * BLOCK) == ABORTED
    assert bench.model.blocks(3, 2) == OLD * 2 * BLOCK


@pytest.mark.parametrize(
    "status", [StatusCode.COMMAND_INTERRUPTED, StatusCode.TRANSIENT_TRANSPORT_ERROR]
)
def test_a_pair_whose_write_was_interrupted_is_repeated_if_it_was_not_done(status: int) -> None:
    bench = losing(make_bench(), OLD, (StatusCode.FAILED_FUSED, status))
    assert swap(bench, 3, OLD * BLOCK, NEW * BLOCK) == Result()
    assert bench.model.blocks(3) == NEW * BLOCK


def test_a_repeated_pair_compares_again() -> None:
    """A host that has the disk by another way may write in between."""
    bench = losing(make_bench(), OLD)
    execute = bench.model.execute

    def interfere(*commands: NvmeCommand) -> tuple[Completion, ...]:
        completions = execute(*commands)
        if commands[0].opcode == Opcode.READ and bench.model.opcodes().count(Opcode.READ) == 1:
            bench.model.fill(3, OTHER * BLOCK)
        return completions

    bench.model.execute = interfere  # type: ignore[method-assign]
    assert swap(bench, 3, OLD * BLOCK, NEW * BLOCK) == miscompare_at(0)
    assert bench.model.blocks(3) == OTHER * BLOCK


@pytest.mark.parametrize(
    ("medium", "at"), [(OTHER * 2, 0), (OLD + OTHER, 1), (NEW + OTHER, 0), (OTHER + NEW, 0)]
)
def test_a_lost_pair_that_met_something_else_miscompares(medium: bytes, at: int) -> None:
    bench = losing(make_bench(), medium)
    assert swap(bench, 3, OLD * 2 * BLOCK, NEW * 2 * BLOCK) == miscompare_at(at * BLOCK)
    assert bench.model.opcodes() == [*FUSED, Opcode.READ]


@pytest.mark.parametrize("medium", [NEW * 2, OLD + NEW, NEW + OLD])
@pytest.mark.parametrize(
    "statuses",
    [
        (RESET, RESET),
        (StatusCode.FAILED_FUSED, RESET),
        (StatusCode.FAILED_FUSED, StatusCode.COMMAND_INTERRUPTED),
        (StatusCode.TRANSIENT_TRANSPORT_ERROR, StatusCode.FAILED_FUSED),
    ],
)
def test_a_lost_pair_is_not_taken_for_done(medium: bytes, statuses: tuple[int, int]) -> None:
    """Another initiator may have counted from the same value, before it."""
    bench = losing(make_bench(), medium, statuses)
    assert swap(bench, 3, OLD * 2 * BLOCK, NEW * 2 * BLOCK) == ABORTED
    assert bench.model.opcodes() == [*FUSED, Opcode.READ]


def test_a_lost_pair_whose_compare_failed_miscompares() -> None:
    bench = losing(make_bench(), OTHER, (StatusCode.COMPARE_FAILURE, RESET))
    assert swap(bench, 3, OLD * BLOCK, NEW * BLOCK) == miscompare_at(0)


def test_a_lost_pair_that_changes_nothing_is_repeated() -> None:
    bench = losing(make_bench(), OLD)
    assert swap(bench, 3, OLD * BLOCK, OLD * BLOCK) == Result()
    assert bench.model.opcodes() == [*FUSED, Opcode.READ, *FUSED]


# What the hot path has begun, and an NVMe command of which failed

UNCERTAIN = {RESET, StatusCode.COMMAND_INTERRUPTED, StatusCode.TRANSIENT_TRANSPORT_ERROR}
NOT_READY = StatusCode.NAMESPACE_NOT_READY
RETRYABLE = {*UNCERTAIN, StatusCode.ABORT_REQUESTED, NOT_READY}


def go_on(bench: Bench, opcode: Opcode, phase: int, completion: Completion) -> Result:
    cdb = row("COMPARE AND WRITE").build(lba=3, number_of_blocks=1)
    failure = NvmeError(NvmeCommand(opcode, cdw10=3), completion)
    request = engine.select(bench.nexus, 0, cdb)
    data = OLD * BLOCK + NEW * BLOCK
    return bench.model.play(engine.go_on(request, data, phase, failure))


def left_of(
    opcode: Opcode, phase: int, completion: Completion, whole: list[Opcode]
) -> list[Opcode] | None:
    """Return what is done of a command, one block of which is as expected; None: it fails."""
    status = completion.status
    again = status in RETRYABLE and not completion.dnr
    if phase:  # it has compared
        return [Opcode.WRITE] if again else None
    if opcode == Opcode.READ or status == NOT_READY:  # it has not
        return whole if again else None
    return [Opcode.READ, *FUSED] if status in UNCERTAIN else None


@pytest.mark.parametrize("dnr", [False, True])
@pytest.mark.parametrize(
    ("opcode", "phase"),
    [(Opcode.COMPARE, 0), (Opcode.WRITE, 0), (Opcode.READ, 0), (Opcode.WRITE, 1)],
)
def test_what_the_hot_path_has_done_is_not_done_again(
    opcode: Opcode, phase: int, dnr: bool
) -> None:
    fused = phase == 0 and opcode != Opcode.READ
    whole = FUSED if fused else [Opcode.READ, Opcode.WRITE]
    for status in set(StatusCode) - {StatusCode.SUCCESS, StatusCode.COMPARE_FAILURE}:
        bench = make_bench(controller={"fuses": int(fused)})
        bench.model.fill(3, OLD * BLOCK)
        completion = Completion(status, dnr=dnr)
        result = go_on(bench, opcode, phase, completion)
        left = left_of(opcode, phase, completion, whole)
        assert bench.model.opcodes() == (left or []), status.name
        failed = result_of(NvmeError(NvmeCommand(opcode, cdw10=3), completion), 3)
        result = replace(result, background=None)  # which follows a sanitize operation
        assert result == (failed if left is None else Result()), status.name
        assert bench.model.blocks(3) == (OLD if left is None else NEW) * BLOCK


def test_what_the_hot_path_has_compared_is_not_compared_again() -> None:
    bench = make_bench(controller={"fuses": 0})
    bench.model.fill(3, OTHER * BLOCK)  # half written, before the Write failed
    assert go_on(bench, Opcode.WRITE, 1, Completion(RESET)) == Result()
    assert bench.model.blocks(3) == NEW * BLOCK


def test_where_a_pair_of_the_hot_path_differs_is_told() -> None:
    bench = make_bench()
    bench.model.fill(3, OLD * 100 + OTHER * 412)
    failed = Completion(StatusCode.COMPARE_FAILURE, dnr=True)
    assert go_on(bench, Opcode.COMPARE, 0, failed) == miscompare_at(100)
    assert bench.model.opcodes() == [Opcode.READ]


def test_limits(bench: Bench) -> None:
    assert bench.do("COMPARE AND WRITE", lba=4096) == Result()
    assert bench.do("COMPARE AND WRITE", lba=4097) == OUT_OF_RANGE
    assert swap(bench, 4095, bytes(2 * BLOCK), bytes(2 * BLOCK)) == OUT_OF_RANGE
    assert swap(bench, 0, bytes(BLOCK), bytes(BLOCK), wrprotect=1) == refused_at(1, 7)
    assert not bench.model.executed


def test_the_largest_number_of_blocks() -> None:
    bench = make_bench(blocks=600, block_bytes=4096)
    assert bench.lu.maximum_compare_and_write_blocks == 255
    data = bytes(255 * 4096) + b"\1" * 255 * 4096
    assert bench.do("COMPARE AND WRITE", data, lba=9, number_of_blocks=255) == Result()
    assert bench.model.blocks(9, 255) == b"\1" * 255 * 4096


@pytest.mark.parametrize("expected", [0, 2 * BLOCK, 4 * BLOCK - 1, 4 * BLOCK + 1, 6 * BLOCK])
def test_another_length_than_the_cdb_says_is_refused(bench: Bench, expected: int) -> None:
    cdb = row("COMPARE AND WRITE").build(number_of_blocks=2)
    assert bench.run(cdb, bytes(expected), expected=expected) == refused_at(13, 7)
    assert bench.run(cdb, bytes(expected)) == refused_at(13, 7)
    assert bench.model.executed == []


@pytest.mark.parametrize(
    ("name", "fields", "announced"),
    [
        ("COMPARE AND WRITE", {"number_of_blocks": 2}, 4 * BLOCK),
        ("ORWRITE (16)", {"transfer_length": 2}, 2 * BLOCK),
    ],
)
@pytest.mark.parametrize("missing", [1, BLOCK])
def test_data_that_never_came_change_nothing(
    bench: Bench, name: str, fields: dict[str, int], announced: int, missing: int
) -> None:
    cdb = row(name).build(**fields)
    sense = Sense(INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)
    result = bench.run(cdb, b"\1" * (announced - missing), expected=announced)
    assert result == Result(Status.CHECK_CONDITION, sense)
    assert bench.model.executed == []


def test_orwrite_is_never_partial(bench: Bench) -> None:
    cdb = row("ORWRITE (16)").build(transfer_length=2)
    sense = Sense(INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)
    result = bench.run(cdb, b"\1" * BLOCK, expected=BLOCK)
    assert result == Result(Status.CHECK_CONDITION, sense)
    assert bench.model.executed == []


def test_what_reads_and_writes_runs_alone() -> None:
    assert row("COMPARE AND WRITE").exclusive
    assert row("ORWRITE (16)").exclusive


@given(old=st.binary(min_size=BLOCK, max_size=BLOCK), new=st.binary(min_size=BLOCK, max_size=BLOCK))
def test_orwrite_joins(old: bytes, new: bytes) -> None:
    bench = make_bench(maximum_transfer_bytes=8 * BLOCK)
    bench.model.fill(5, old * 20)
    assert bench.do("ORWRITE (16)", new * 20, lba=5, transfer_length=20) == Result()
    assert bench.model.blocks(5, 20) == bytes(a | b for a, b in zip(old, new, strict=True)) * 20


def test_orwrite_limits() -> None:
    bench = make_bench(blocks=20000)
    most = bench.lu.maximum_transfer_blocks
    name = "ORWRITE (16)"
    assert bench.do(name, lba=20000) == Result()
    assert bench.do(name, lba=20001) == OUT_OF_RANGE
    assert bench.do(name, bytes(BLOCK), lba=20000, transfer_length=1) == OUT_OF_RANGE
    assert bench.do(name, bytes(BLOCK), transfer_length=1, orprotect=2) == refused_at(1, 7)
    too_much = bytes((most + 1) * BLOCK)
    assert bench.do(name, too_much, transfer_length=most + 1) == refused_at(10, 7)
    assert not bench.model.executed
    assert bench.do(name, bytes(BLOCK), transfer_length=1, fua=1) == Result()
    assert [bool(c.cdw12 & FUA) for c in bench.model.executed] == [False, True]
