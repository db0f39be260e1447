"""FORMAT UNIT: what is refused, what becomes of the logical unit, how progress is told."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.format_unit import LONG_HEADER, SHORT_HEADER
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import SecureErase
from scsi2nvme.nvme.structures import LBA_FORMAT
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    FORMAT_COMMAND_FAILED,
    INQUIRY_DATA_HAS_CHANGED,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    MEDIUM_FORMAT_CORRUPTED,
    FieldPointer,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, make_bench

FORMAT = AdminOpcode.FORMAT_NVM
IMMEDIATE = SHORT_HEADER.build(immed=1)


@pytest.fixture
def bench() -> Bench:
    return make_bench(blocks=4096)


def code(result: Result) -> object:
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    return result.sense.code


def formats(bench: Bench) -> list[NvmeCommand]:
    return [c for c in bench.model.executed if c.admin and c.opcode == FORMAT]


def test_the_current_format_is_kept(bench: Bench) -> None:
    bench.model.fill(0, b"\xff" * 512)
    assert bench.do("FORMAT UNIT") == Result()
    assert [(c.nsid, c.cdw10) for c in formats(bench)] == [(1, 0)]
    assert bench.model.blocks(0) == bytes(512)
    assert bench.lu.readiness is Readiness.READY


def test_what_was_on_the_disk_is_erased_if_that_is_configured() -> None:
    bench = make_bench(controller={"fna": 0b100})
    for erase in SecureErase:
        bench.lu.secure_format = erase
        assert bench.do("FORMAT UNIT") == Result()
    assert [c.cdw10 for c in formats(bench)] == [0, 1 << 9, 2 << 9]


def test_who_is_to_erase_what_the_disk_cannot_does_not_format() -> None:
    bench = make_bench()
    bench.lu.secure_format = SecureErase.CRYPTOGRAPHIC
    assert code(bench.do("FORMAT UNIT")) == INVALID_COMMAND_OPERATION_CODE
    assert not formats(bench)


@pytest.mark.parametrize(
    ("fna", "erase"),
    [(1, SecureErase.NONE), (2, SecureErase.USER_DATA), (1, SecureErase.USER_DATA)],
)
def test_other_namespaces_are_neither_formatted_nor_erased(fna: int, erase: SecureErase) -> None:
    bench = make_bench(controller={"fna": fna})
    bench.model.admin[AdminOpcode.IDENTIFY] = lambda command: b"\1\0\0\0\2".ljust(4096, b"\0")
    bench.lu.secure_format = erase
    assert code(bench.do("FORMAT UNIT")) == INVALID_FIELD_IN_CDB
    assert not formats(bench)


def test_the_block_length_comes_from_mode_select(bench: Bench) -> None:
    bench.lu.mode.pending_block_bytes = 4096
    assert bench.do("FORMAT UNIT") == Result()
    assert (bench.lu.block_bytes, bench.lu.capacity_blocks) == (4096, 512)
    assert bench.lu.mode.pending_block_bytes is None
    assert bench.do("READ CAPACITY (10)").data_in == bytes.fromhex("000001ff00001000")


@pytest.mark.parametrize("header", [b"", IMMEDIATE])
def test_a_part_of_a_namespace_is_not_formatted(bench: Bench, header: bytes) -> None:
    bench.lu.limit = 4095 * 512
    bench.model.fill(4095, b"\xff" * 512)
    result = bench.do("FORMAT UNIT", header, fmtdata=int(bool(header)))
    assert code(result) == INVALID_FIELD_IN_CDB
    assert not formats(bench)
    assert bench.lu.readiness is Readiness.READY
    bench.lu.limit = 4096 * 512
    assert bench.do("FORMAT UNIT") == Result()


def test_other_nexuses_are_told(bench: Bench) -> None:
    other = bench.other()
    bench.do("FORMAT UNIT")
    assert bench.lu.pending_attention(bench.nexus) is None
    told = [code(bench.do("TEST UNIT READY", nexus=other)) for _ in range(2)]
    assert told == [CAPACITY_DATA_HAS_CHANGED, INQUIRY_DATA_HAS_CHANGED]


@pytest.mark.parametrize("last", [1, 17])
def test_every_lba_format_is_considered(last: int) -> None:
    lbafs = b"".join(
        LBA_FORMAT.build(lbads=9 if n < last else 12, ms=0 if n in (0, last) else 8)
        for n in range(last + 1)
    )
    bench = make_bench(namespace={"nlbaf": last, "lbafs": lbafs})
    bench.lu.mode.pending_block_bytes = 4096
    assert bench.do("FORMAT UNIT") == Result()
    assert [c.cdw10 for c in formats(bench)] == [(last & 0xF) | (last >> 4) << 12]
    assert bench.lu.block_bytes == 4096


def test_the_fastest_format_is_taken() -> None:
    lbafs = b"".join(LBA_FORMAT.build(lbads=size, rp=rp) for size, rp in [(9, 0), (12, 2), (12, 1)])
    bench = make_bench(namespace={"nlbaf": 2, "lbafs": lbafs})
    bench.lu.mode.pending_block_bytes = 4096
    bench.do("FORMAT UNIT")
    assert [c.cdw10 for c in formats(bench)] == [2]


@pytest.mark.parametrize(
    ("wanted", "cdw10"),
    [
        (512, 1 | 1 << 4 | 2 << 5 | 1 << 8),  # as it is: extended, type 2, first in the metadata
        (4096, 2),  # there is none with metadata
        (1024, 3 | 1 << 4 | 2 << 5 | 1 << 8),
    ],
)
def test_protection_information_is_kept(wanted: int, cdw10: int) -> None:
    sizes = [(9, 0), (9, 8), (12, 0), (10, 8)]
    lbafs = b"".join(LBA_FORMAT.build(lbads=size, ms=ms) for size, ms in sizes)
    told = {"nlbaf": 3, "lbafs": lbafs, "flbas": 0x11, "dps": 0b1010}
    bench = make_bench(namespace=told)
    bench.lu.mode.pending_block_bytes = wanted
    bench.do("FORMAT UNIT")
    assert [c.cdw10 for c in formats(bench)] == [cdw10]


def test_no_format_of_that_block_length(bench: Bench) -> None:
    bench.lu.mode.pending_block_bytes = 520
    assert code(bench.do("FORMAT UNIT")) == INVALID_FIELD_IN_CDB
    assert bench.lu.readiness is Readiness.READY


def test_immediate_status(bench: Bench) -> None:
    result = bench.do("FORMAT UNIT", IMMEDIATE, fmtdata=1)
    assert result.status is Status.GOOD
    assert not formats(bench)
    not_ready = Sense(LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS, progress=0)
    for name in ("TEST UNIT READY", "READ CAPACITY (10)", "FORMAT UNIT"):
        assert bench.do(name) == Result(Status.CHECK_CONDITION, not_ready)
    assert bench.do("INQUIRY", allocation_length=36).status is Status.GOOD
    assert bench.finish(result) == Result()
    assert bench.do("TEST UNIT READY") == Result()


def test_request_sense_asks_for_progress(bench: Bench) -> None:
    result = bench.do("FORMAT UNIT", IMMEDIATE, fmtdata=1)
    bench.model.formatting_steps = [75]
    data = bench.do("REQUEST SENSE", allocation_length=252).data_in
    assert data[2] & 0xF == SenseKey.NOT_READY
    assert data[15:18] == bytes.fromhex("804000")
    bench.model.faults[AdminOpcode.IDENTIFY] = [0x006]
    data = bench.do("REQUEST SENSE", allocation_length=252).data_in
    assert data[15:18] == bytes.fromhex("804000")
    bench.finish(result)
    assert bench.do("REQUEST SENSE", allocation_length=252).data_in[2] & 0xF == 0


def test_a_format_that_completes_early_is_awaited(bench: Bench) -> None:
    bench.model.formatting_steps = [100, 50, 1]
    assert bench.do("FORMAT UNIT") == Result()
    assert [step.fraction for step in bench.model.progress] == [0, 32768, 64880]
    assert all(step.delay_s > 0 for step in bench.model.progress)


@pytest.mark.parametrize(
    ("status", "key", "asc"), [(0x10A, 0x5, 0x31), (0x020, 0x7, 0x27), (0x002, 0x5, 0x24)]
)
def test_a_refused_format_changes_nothing(bench: Bench, status: int, key: int, asc: int) -> None:
    bench.model.faults[FORMAT] = [status]
    result = bench.do("FORMAT UNIT")
    assert result.sense is not None
    assert (result.sense.key, result.sense.code.asc) == (key, asc)
    assert bench.lu.readiness is Readiness.READY
    assert bench.lu.progress is None


def test_a_failed_format_leaves_no_medium(bench: Bench) -> None:
    bench.model.faults[FORMAT] = [0x006]
    assert code(bench.do("FORMAT UNIT")) == FORMAT_COMMAND_FAILED
    assert code(bench.do("READ (10)", transfer_length=1)) == MEDIUM_FORMAT_CORRUPTED
    assert bench.do("FORMAT UNIT") == Result()
    assert bench.do("TEST UNIT READY") == Result()


def test_a_format_that_fails_in_the_background(bench: Bench) -> None:
    bench.model.faults[FORMAT] = [0x006]
    bench.finish(bench.do("FORMAT UNIT", IMMEDIATE, fmtdata=1))
    told = bench.do("TEST UNIT READY")
    assert told == Result(Status.CHECK_CONDITION, Sense(FORMAT_COMMAND_FAILED, deferred=True))
    assert code(bench.do("TEST UNIT READY")) == MEDIUM_FORMAT_CORRUPTED


def test_a_format_refused_in_the_background_restores_readiness(bench: Bench) -> None:
    bench.model.faults[FORMAT] = [0x10A]
    bench.finish(bench.do("FORMAT UNIT", IMMEDIATE, fmtdata=1))
    assert bench.lu.readiness is Readiness.READY


def test_an_abandoned_format_leaves_no_medium(bench: Bench) -> None:
    result = bench.do("FORMAT UNIT", IMMEDIATE, fmtdata=1)
    assert result.background is not None
    assert isinstance(next(result.background), NvmeCommand)
    result.background.close()
    assert bench.lu.readiness is Readiness.FORMAT_FAILED


def test_capabilities_decide() -> None:
    bench = make_bench(controller={"oacs": 0})
    assert code(bench.do("FORMAT UNIT")) == INVALID_COMMAND_OPERATION_CODE


@pytest.mark.parametrize(("active", "allowed"), [([1], True), ([1, 2], False)])
def test_other_namespaces_are_not_formatted_by_the_way(active: list[int], allowed: bool) -> None:
    bench = make_bench(controller={"fna": 1})
    identify = bench.model.admin[AdminOpcode.IDENTIFY]
    listed = b"".join(nsid.to_bytes(4, "little") for nsid in active).ljust(4096, b"\0")

    def answer(command: NvmeCommand) -> bytes | Completion | None:
        return listed if command.cdw10 == 2 else identify(command)

    bench.model.admin[AdminOpcode.IDENTIFY] = answer
    assert (bench.do("FORMAT UNIT").status is Status.GOOD) == allowed
    assert bool(formats(bench)) == allowed
    assert bench.lu.readiness is Readiness.READY


@pytest.mark.parametrize(
    ("fields", "byte", "bit"),
    [
        ({"fmtpinfo": 2}, 1, 7),
        ({"fmtpinfo": 1, "fmtdata": 1}, 1, 7),
        ({"ffmt": 3}, 4, 1),
        ({"defect_list_format": 4}, 1, 2),
    ],
)
def test_cdb_fields_are_refused(bench: Bench, fields: dict[str, int], byte: int, bit: int) -> None:
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    result = bench.do("FORMAT UNIT", bytes(8), **fields)
    assert result == Result(Status.CHECK_CONDITION, sense)


@pytest.mark.parametrize("ffmt", [0, 1, 2])
def test_fast_formats(bench: Bench, ffmt: int) -> None:
    assert bench.do("FORMAT UNIT", ffmt=ffmt) == Result()


@pytest.mark.parametrize(
    ("long", "fields", "byte", "bit"),
    [
        (0, {"protection_fields_usage": 1}, 0, 2),
        (0, {"ip": 1}, 1, 3),
        (0, {"dcrt": 1}, 1, 5),
        (0, {"stpf": 1}, 1, 4),
        (0, {"dpry": 1}, 1, 6),
        (0, {"defect_list_length": 8}, 2, 7),
        (1, {"defect_list_length": 8}, 4, 7),
        (1, {"protection_interval_exponent": 1}, 3, 3),
        (1, {"p_i_information": 1}, 3, 7),
    ],
)
def test_parameters_are_refused(
    bench: Bench, long: int, fields: dict[str, int], byte: int, bit: int
) -> None:
    header = (LONG_HEADER if long else SHORT_HEADER).build(**fields)
    result = bench.do("FORMAT UNIT", header, fmtdata=1, longlist=long)
    sense = Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=FieldPointer(byte, bit, in_cdb=False))
    assert result == Result(Status.CHECK_CONDITION, sense)
    assert not formats(bench)


@pytest.mark.parametrize("long", [0, 1])
def test_options_without_effect(bench: Bench, long: int) -> None:
    header = (LONG_HEADER if long else SHORT_HEADER).build(fov=1, dpry=1, dcrt=1, stpf=1)
    assert bench.do("FORMAT UNIT", header, fmtdata=1, longlist=long, cmplst=1) == Result()
