"""INFORMATION: the first block that failed, where that is known and all before it were moved."""

from __future__ import annotations

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command, Data, Transfer
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.error_log import first_failing_block, get_error_log
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from tests.support import Bench, make_bench, make_lu

BLOCK = 512
PIECE = 8  # blocks of one NVMe command
UNRECOVERED_READ, WRITE_FAULT = 0x281, 0x280

MOVING = [
    command
    for command in commands.COMMANDS
    if command.transfer in (Transfer.BLOCKS, Transfer.BYTCHK)
    and command.supported(make_lu())
    and not command.name.startswith("WRITE ATOMIC")  # one NVMe command, or refused
]
# What the controller is asked to read; the others may leave a command half written.
READING = [
    command for command in MOVING if command.data is Data.IN or command.name.startswith("VERIFY")
]
# What is read of them is written then.
CHANGING = [command for command in MOVING if command.exclusive]
TELLING = [command for command in MOVING if command not in CHANGING]
WRITING = [command for command in TELLING if command not in READING]


@pytest.fixture
def bench() -> Bench:
    return make_bench(blocks=4096, maximum_transfer_bytes=PIECE * BLOCK)


def run(bench: Bench, command: Command, lba: int, blocks: int) -> Result:
    bytchk = {"bytchk": 1} if command.transfer is Transfer.BYTCHK else {}
    cdb = command.build(lba=lba, **{command.length_field: blocks}, **bytchk)
    data = bytes(blocks * BLOCK) if command.data is Data.OUT else b""
    return bench.run(cdb, data, expected=blocks * BLOCK)


def information(result: Result) -> int | None:
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    assert not result.data_in
    return result.sense.information


@pytest.mark.parametrize("command", READING, ids=lambda command: command.name)
@pytest.mark.parametrize(("bad", "first"), [((100,), 100), ((109, 103), 103), ((90,), 90)])
def test_the_error_log_tells_within_a_piece(
    bench: Bench, command: Command, bad: tuple[int, ...], first: int
) -> None:
    bench.model.bad_blocks = dict.fromkeys(bad, UNRECOVERED_READ)
    assert information(run(bench, command, 90, 20)) == first


@pytest.mark.parametrize("command", MOVING, ids=lambda command: command.name)
def test_without_an_entry_it_is_not_known(bench: Bench, command: Command) -> None:
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    bench.model.logs_errors = False
    assert information(run(bench, command, 90, 20)) is None


@pytest.mark.parametrize("command", TELLING, ids=lambda command: command.name)
def test_of_one_block_it_is_that_block(bench: Bench, command: Command) -> None:
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    bench.model.logs_errors = False
    assert information(run(bench, command, 92, 9)) == 100


@pytest.mark.parametrize("command", WRITING, ids=lambda command: command.name)
def test_a_write_that_failed_half_way_has_no_block(bench: Bench, command: Command) -> None:
    bench.model.bad_blocks = {100: WRITE_FAULT}
    assert information(run(bench, command, 96, 20)) is None
    assert information(run(bench, command, 92, 20)) == 100  # the first of a piece
    assert bench.model.bad_blocks


@pytest.mark.parametrize("command", CHANGING, ids=lambda command: command.name)
def test_what_is_read_to_be_changed_was_not_written_before(bench: Bench, command: Command) -> None:
    """Each piece is read before any is written: only the first block has nothing before it."""
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    assert information(run(bench, command, 90, 20)) is None
    assert information(run(bench, command, 92, 9)) is None
    assert information(run(bench, command, 100, 20)) == 100
    bench.model.bad_blocks = {100: WRITE_FAULT}
    assert information(run(bench, command, 92, 20)) is None  # of the Read


@pytest.mark.parametrize("blocks", [8, 20])
def test_compare_and_write_tells_only_the_first_block_that_it_reads(blocks: int) -> None:
    bench = make_bench(maximum_transfer_bytes=PIECE * BLOCK, controller={"fuses": 0})
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    for lba, told in ((100, 100), (99, None), (93, None)):
        fields = {"lba": lba, "number_of_blocks": blocks}
        assert (
            information(bench.do("COMPARE AND WRITE", bytes(2 * blocks * BLOCK), **fields)) == told
        )


@pytest.mark.parametrize("name", ["WRITE SAME (10)", "WRITE SAME (16)"])
@pytest.mark.parametrize("byte", [b"\0", b"\1"])
def test_write_same_tells_as_a_write_does(bench: Bench, name: str, byte: bytes) -> None:
    bench.model.bad_blocks = {100: WRITE_FAULT}
    assert information(bench.do(name, byte * BLOCK, lba=100, number_of_blocks=20)) == 100
    assert information(bench.do(name, byte * BLOCK, lba=99, number_of_blocks=6)) is None


def test_what_cannot_take_the_residual_away_tells_none_of_a_read(bench: Bench) -> None:
    bench.nexus.tells_residual = False
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    for command in MOVING:
        told = information(run(bench, command, 100, 1))
        assert told == (None if command.data is Data.IN else 100), command.name


def test_a_log_that_cannot_be_read_tells_nothing(bench: Bench) -> None:
    bench.model.bad_blocks = {100: UNRECOVERED_READ}
    del bench.model.admin[AdminOpcode.GET_LOG_PAGE]
    assert information(bench.do("READ (10)", lba=98, transfer_length=4)) is None


READ = NvmeCommand(Opcode.READ, nsid=1, cdw10=96, cdw12=7)
FAILED = Completion(UNRECOVERED_READ, more=True, sqid=3, cid=7)
ENTRY = {
    "error_count": 9, "sqid": 3, "cmdid": 7, "nsid": 1, "lba": 100, "status_field": UNRECOVERED_READ
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "lba"),
    [
        ({}, 100),
        ({"status_field": 0x4000 | UNRECOVERED_READ}, 100),  # with DNR
        ({"sqid": 4}, None),
        ({"cmdid": 8}, None),
        ({"nsid": 2}, None),
        ({"status_field": WRITE_FAULT}, None),
        ({"lba": 95}, None),
        ({"lba": 104}, None),
        ({"error_count": 0}, None),
    ],
)
def test_only_the_commands_own_entry_is_believed(fields: dict[str, int], lba: int | None) -> None:
    other = ERROR_LOG_ENTRY.build(**{**ENTRY, "cmdid": 1, "lba": 97})
    log = other + ERROR_LOG_ENTRY.build(**{**ENTRY, **fields}) + bytes(64)
    assert first_failing_block(log, READ, FAILED) == lba


@pytest.mark.parametrize(("elpe", "entries"), [(0, 1), (63, 64), (255, 64)])
def test_no_more_of_the_log_is_read_than_there_is(elpe: int, entries: int) -> None:
    command = get_error_log(elpe)
    assert command.data_in == 64 * entries
    assert command.cdw10 == 0x8001 | (16 * entries - 1) << 16  # RAE, NUMDL
