"""FORMAT UNIT with an initialization pattern: what is asked for, written, and left of it."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.format_unit import LONG_HEADER, SHORT_HEADER
from scsi2nvme.commands.initialization_pattern import PATTERN_DESCRIPTOR
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    FORMAT_COMMAND_FAILED,
    INVALID_FIELD_IN_PARAMETER_LIST,
    MEDIUM_FORMAT_CORRUPTED,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, make_bench, protected_bench

BLOCKS = 4100
REPEAT = 1


def pattern(data: bytes = b"\xab\xcd\xef", kind: int = REPEAT, *, si: int = 0) -> bytes:
    return PATTERN_DESCRIPTOR.build(si=si, pattern_type=kind, pattern_length=len(data)) + data


def format_unit(bench: Bench, descriptor: bytes, *, immed: int = 0, long: int = 0) -> Result:
    header = (LONG_HEADER if long else SHORT_HEADER).build(fov=1, ip=1, immed=immed)
    return bench.do("FORMAT UNIT", header + descriptor, fmtdata=1, longlist=long)


def code(result: Result) -> object:
    return result.sense.code if result.sense is not None else None


def sent(bench: Bench, opcode: int, *, admin: bool = False) -> list[NvmeCommand]:
    return [c for c in bench.model.executed if (c.admin, c.opcode) == (admin, opcode)]


@pytest.mark.parametrize("long", [0, 1])
def test_it_fills_every_block_from_its_beginning(long: int) -> None:
    bench = make_bench(blocks=BLOCKS, controller={"vwc": 1})
    assert format_unit(bench, pattern(), long=long) == Result()
    block = (b"\xab\xcd\xef" * 171)[:512]
    assert bench.model.blocks(0, BLOCKS) == block * BLOCKS
    written = [lba for c in sent(bench, Opcode.WRITE) for lba in range(c.slba, c.slba + c.blocks)]
    assert written == list(range(BLOCKS))
    io = [c.opcode for c in bench.model.executed]
    assert io.index(AdminOpcode.FORMAT_NVM) < io.index(Opcode.WRITE)
    assert io[-1] == Opcode.FLUSH
    assert bench.lu.readiness is Readiness.READY
    assert not bench.lu.initialization.begun


def test_blocks_of_another_length() -> None:
    bench = make_bench(blocks=BLOCKS)
    bench.lu.mode.pending_block_bytes = 4096
    assert format_unit(bench, pattern(bytes(range(250)) * 16)) == Result()
    assert bench.lu.block_bytes == 4096
    block = bytes(range(250)) * 16 + bytes(range(96))
    last = bench.lu.capacity_blocks - 1
    assert bench.model.blocks(0) == bench.model.blocks(last) == block


def test_the_default_is_what_a_format_leaves() -> None:
    bench = make_bench(blocks=BLOCKS)
    assert format_unit(bench, pattern(b"", 0)) == Result()
    assert not sent(bench, Opcode.WRITE)
    assert [c.cdw10 for c in sent(bench, AdminOpcode.FORMAT_NVM, admin=True)] == [0]


def test_security_initialize_erases() -> None:
    bench = make_bench(blocks=BLOCKS)
    for descriptor in (pattern(b"", 0, si=1), pattern(si=1)):
        assert format_unit(bench, descriptor) == Result()
    assert [c.cdw10 for c in sent(bench, AdminOpcode.FORMAT_NVM, admin=True)] == [1 << 9, 1 << 9]


def test_tuples_are_those_of_blocks_that_nobody_wrote() -> None:
    bench = protected_bench(1, blocks=BLOCKS)
    header = SHORT_HEADER.build(fov=1, ip=1)
    result = bench.do("FORMAT UNIT", header + pattern(b"\x5a"), fmtdata=1, fmtpinfo=2)
    assert result == Result()
    assert {bench.model.tuples[lba] for lba in range(BLOCKS)} == {b"\xff" * 8}
    read = bench.do("READ (16)", lba=7, transfer_length=1, rdprotect=3).data_in
    assert read == b"\x5a" * 512 + b"\xff" * 8


@pytest.mark.parametrize(
    ("descriptor", "byte", "bit"),
    [
        (pattern(kind=2), 5, 7),
        (pattern(kind=0x80), 5, 7),
        (pattern(b""), 6, 7),
        (pattern(bytes(513)), 6, 7),
        (pattern(kind=0), 6, 7),
    ],
)
def test_what_is_refused(descriptor: bytes, byte: int, bit: int) -> None:
    bench = make_bench(blocks=BLOCKS)
    result = format_unit(bench, descriptor)
    pointer = FieldPointer(byte, bit, in_cdb=False)
    assert result.sense == Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    assert not sent(bench, AdminOpcode.FORMAT_NVM, admin=True)
    assert bench.lu.readiness is Readiness.READY


@pytest.mark.parametrize("descriptor", [b"", pattern()[:3], pattern()[:-1]])
def test_a_list_that_is_cut_off(descriptor: bytes) -> None:
    bench = make_bench(blocks=BLOCKS)
    assert code(format_unit(bench, descriptor)) == PARAMETER_LIST_LENGTH_ERROR


def test_progress_has_two_halves() -> None:
    bench = make_bench(blocks=BLOCKS)
    result = format_unit(bench, pattern(), immed=1)
    assert result.status is Status.GOOD
    assert result.background is not None
    bench.model.formatting_steps = [50]
    data = bench.do("REQUEST SENSE", allocation_length=252).data_in
    assert data[2] & 0xF == SenseKey.NOT_READY
    assert data[15:18] == bytes.fromhex("804000")  # half of the first
    bench.model.formatting_steps = [50]
    assert bench.finish(result) == Result()
    assert [step.fraction for step in bench.model.progress] == [16384]
    assert bench.lu.progress is None


def restarted(bench: Bench) -> LogicalUnit:
    """Return what another process finds."""
    return LogicalUnit(bench.lu.facts, bench.lu.store)


def test_what_was_not_written_to_the_end_is_no_medium() -> None:
    """Nor after a restart, until it is formatted again."""
    bench = make_bench(blocks=BLOCKS)
    result = format_unit(bench, pattern(), immed=1)
    assert result.background is not None
    next(result.background)
    assert restarted(bench).readiness is Readiness.FORMAT_FAILED  # the process has ended
    bench.model.faults[Opcode.WRITE] = [0x280]
    result.background.close()
    assert code(format_unit(bench, pattern())) == FORMAT_COMMAND_FAILED
    assert code(bench.do("TEST UNIT READY")) == MEDIUM_FORMAT_CORRUPTED
    assert restarted(bench).readiness is Readiness.FORMAT_FAILED
    assert bench.do("FORMAT UNIT") == Result()
    assert restarted(bench).readiness is Readiness.READY


def test_a_format_that_the_disk_refuses_leaves_all_as_it_was() -> None:
    bench = make_bench(blocks=BLOCKS)
    bench.model.faults[AdminOpcode.FORMAT_NVM] = [0x10A]
    assert code(format_unit(bench, pattern())) is not None
    assert bench.lu.readiness is Readiness.READY
    assert not bench.lu.pattern_follows
    assert restarted(bench).readiness is Readiness.READY
