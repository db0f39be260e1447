"""SANITIZE: who may, what becomes of all logical units meanwhile, and how it ends."""

from __future__ import annotations

import pytest

from scsi2nvme import engine
from scsi2nvme.command import Command
from scsi2nvme.commands import COMMANDS
from scsi2nvme.commands.sanitize import OVERWRITE_HEADER
from scsi2nvme.commands.sanitize_status import MOST_FAILURES, pick_up
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import RESERVATION_CONFLICT, Result, Translation
from scsi2nvme.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS,
    SANITIZE_COMMAND_FAILED,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    FieldPointer,
    Sense,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.sanitizing import Phase
from tests.model_controller import StatusError
from tests.support import Bench, code, make_bench, make_facts, make_nexus, row

BLOCK_ERASE, CRYPTO_ERASE = "SANITIZE, BLOCK ERASE", "SANITIZE, CRYPTOGRAPHIC ERASE"
OVERWRITE, EXIT = "SANITIZE, OVERWRITE", "SANITIZE, EXIT FAILURE MODE"
EVERY = (OVERWRITE, BLOCK_ERASE, CRYPTO_ERASE, EXIT)
AUSE, NDAS = 1 << 3, 1 << 9
# Spec: SBC-4 4.11.2.
ALLOWED = {
    "INQUIRY",
    "LOG SENSE",
    "MODE SENSE (10)",
    "MODE SENSE (6)",
    "PERSISTENT RESERVE IN, READ FULL STATUS",
    "PERSISTENT RESERVE IN, READ KEYS",
    "PERSISTENT RESERVE IN, READ RESERVATION",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES",
    "REPORT LUNS",
    "REPORT SUPPORTED OPERATION CODES",
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
    "REPORT TARGET PORT GROUPS",
    "REQUEST SENSE",
    *EVERY,
}


@pytest.fixture
def bench() -> Bench:
    bench = make_bench(blocks=64)
    bench.model.fill(3, b"\x5a" * 512)
    return bench


def neighbour(bench: Bench) -> Bench:
    """Return another logical unit of the same controller."""
    lu = LogicalUnit(make_facts(blocks=64, nsid=2))
    lu.sanitizing = bench.lu.sanitizing
    bench.lu.controller_units = lu.controller_units = (bench.lu, lu)
    return Bench(lu, bench.model, make_nexus("a", lu))


def sanitizes(bench: Bench) -> list[NvmeCommand]:
    return [one for one in bench.model.executed if one.opcode == AdminOpcode.SANITIZE]


def overwriting(pattern: bytes, **fields: int) -> bytes:
    fields = {"overwrite_count": 1, "initialization_pattern_length": len(pattern)} | fields
    return OVERWRITE_HEADER.build(**fields) + pattern


def do_overwrite(bench: Bench, data: bytes, **fields: int) -> Result:
    return bench.do(OVERWRITE, data, **{"parameter_list_length": len(data)} | fields)


# ---- who may ----


@pytest.mark.parametrize("name", EVERY)
def test_nobody_may_unless_the_configuration_says_so(bench: Bench, name: str) -> None:
    bench.lu.may_be_sanitized = False
    assert code(bench.do(name)) == INVALID_COMMAND_OPERATION_CODE
    assert not bench.model.executed


@pytest.mark.parametrize(
    ("sanicap", "names"),
    [
        (0b001, {CRYPTO_ERASE, EXIT}),
        (0b010, {BLOCK_ERASE, EXIT}),
        (0b100, {OVERWRITE, EXIT}),
        (0b100 | 1 << 29, set()),  # nobody could read the pattern
        (0, set()),
    ],
)
def test_what_the_controller_has_is_offered(sanicap: int, names: set[str]) -> None:
    lu = make_bench(controller={"sanicap": sanicap}).lu
    assert {one.name for one in COMMANDS if one.opcode == 0x48 and one.supported(lu)} == names


@pytest.mark.parametrize("name", [OVERWRITE, BLOCK_ERASE, CRYPTO_ERASE])
def test_what_another_logical_unit_is_kept_from_stops_it(bench: Bench, name: str) -> None:
    data = overwriting(bytes(4)) if name == OVERWRITE else b""
    length = {"parameter_list_length": len(data)}
    other = neighbour(bench)
    other.lu.mode.change(CONTROL, CONTROL.layout.build(swp=1))
    assert code(bench.do(name, data, **length)) == SOFTWARE_WRITE_PROTECTED
    other.lu.mode.change(CONTROL, CONTROL.layout.build(swp=0))
    other.lu.read_only = True
    assert code(bench.do(name, data, **length)) == WRITE_PROTECTED
    other.lu.read_only = False
    other.lu.reservations.reserved_by = "somebody else"
    assert bench.do(name, data, **length) == RESERVATION_CONFLICT
    other.lu.reservations.reserved_by = None
    other.nexus.lets_all_pass = lambda: True
    assert bench.do(name, data, **length) == RESERVATION_CONFLICT
    other.nexus.lets_all_pass = lambda: False
    other.lu.readiness = Readiness.FORMATTING
    assert code(bench.do(name, data, **length)) == LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS
    other.lu.readiness = Readiness.STOPPED  # it is not what is asked to work
    assert not sanitizes(bench)
    assert bench.do(name, data, **length) == Result()


def test_who_was_stopped_erases_nothing(bench: Bench) -> None:
    bench.lu.readiness = Readiness.STOPPED
    stopped = LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED
    assert code(bench.do(BLOCK_ERASE)) == stopped
    assert not sanitizes(bench)


@pytest.mark.parametrize("name", EVERY)
def test_there_are_no_zones_to_keep(bench: Bench, name: str) -> None:
    data = overwriting(bytes(4))
    length = len(data) if name == OVERWRITE else 0
    result = bench.do(name, data[:length], znr=1, parameter_list_length=length)
    assert result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(1, 6))


@pytest.mark.parametrize("name", [BLOCK_ERASE, CRYPTO_ERASE, EXIT])
def test_no_parameters_where_there_are_none(bench: Bench, name: str) -> None:
    result = bench.do(name, parameter_list_length=8)
    assert result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(7, 7))


# ---- patterns ----


@pytest.mark.parametrize(
    "pattern",
    [b"\x11\x22\x33\x44", b"\xaa" * 512, b"\x12\x34", b"\xaa" * 3, b"\x01\x02\x03\x04" * 64, b"z"],
)
def test_a_pattern_fills_every_block(bench: Bench, pattern: bytes) -> None:
    assert do_overwrite(bench, overwriting(pattern)) == Result()
    (command,) = sanitizes(bench)
    assert command.cdw10 == 3 | 1 << 4 | NDAS
    assert bench.model.blocks(3) == (pattern * 512)[:512]


@pytest.mark.parametrize(("count", "invert"), [(2, 0), (15, 1), (16, 1)])
def test_passes_and_inversion(bench: Bench, count: int, invert: int) -> None:
    data = overwriting(bytes(4), overwrite_count=count, invert=invert)
    assert do_overwrite(bench, data) == Result()
    assert [one.cdw10 for one in sanitizes(bench)] == [3 | count % 16 << 4 | invert << 8 | NDAS]


@pytest.mark.parametrize("length", [0, 4, 517, 1000])
def test_a_parameter_list_holds_a_block_at_most(bench: Bench, length: int) -> None:
    result = do_overwrite(bench, overwriting(bytes(length))[:length], parameter_list_length=length)
    assert result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(7, 7))


@pytest.mark.parametrize(
    ("data", "byte", "bit"),
    [
        (overwriting(bytes(4), overwrite_count=0), 0, 4),
        (overwriting(bytes(4), overwrite_count=17), 0, 4),
        (overwriting(bytes(4), test=1), 0, 6),
        (overwriting(bytes(4), initialization_pattern_length=0), 2, 7),
        (overwriting(bytes(4), initialization_pattern_length=5), 2, 7),
        (overwriting(bytes(4), initialization_pattern_length=513), 2, 7),
        (overwriting(b"\1\2\3"), 4, None),
        (overwriting(b"\1\2\3\4\1\2\3\5"), 4, None),
        (overwriting(b"\1\2\3\4\1"), 4, None),
    ],
)
def test_what_is_wrong_with_parameters(bench: Bench, data: bytes, byte: int, bit: int) -> None:
    result = do_overwrite(bench, data)
    pointer = FieldPointer(byte, bit, in_cdb=False)
    assert result.sense == Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    assert bench.lu.sanitizing.phase is Phase.NONE
    assert not bench.model.executed


# ---- meanwhile ----


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_is_done_meanwhile(command: Command) -> None:
    assert command.while_sanitizing == (command.name in ALLOWED)
    bench = make_bench(blocks=64)
    other = neighbour(bench)
    bench.model.sanitizing_steps = [0x4000, 0x4000]
    begun = bench.do(BLOCK_ERASE, immed=1)
    assert begun.status is Status.GOOD
    refused = Sense(LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS, progress=0)
    for each in (bench, other):
        if not command.supported(each.lu):
            continue
        bench.model.executed.clear()
        length = command.data_bytes(command.structure.parse(command.build()), 512)
        result = each.run(command.build(), bytes(length) if command.data.value == "out" else b"")
        if command.opcode == 0x48:
            assert not sanitizes(bench)
        elif command.while_sanitizing:
            assert result.sense is None or result.sense.key is SenseKey.ILLEGAL_REQUEST
        else:
            assert result.sense == refused
            assert not bench.model.executed


def test_progress_is_told(bench: Bench) -> None:
    bench.model.sanitizing_steps = [0x4000, 0x8000]
    begun = bench.do(CRYPTO_ERASE, immed=1)
    assert begun.status is Status.GOOD
    assert bench.do("REQUEST SENSE", allocation_length=18).data_in == bytes.fromhex(
        "70 00 02 00000000 0a 00000000 04 1b 00 80 4000"
    )
    not_ready = LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS
    assert bench.do("TEST UNIT READY").sense == Sense(not_ready, progress=0x4000)
    assert bench.finish(begun) == Result()
    assert [one.fraction for one in bench.model.progress] == [0x8000]
    assert bench.do("TEST UNIT READY") == Result()
    assert bench.model.blocks(3) == bytes(512)


def test_all_logical_units_are_told_aside_and_back(bench: Bench) -> None:
    other = neighbour(bench)
    told: list[tuple[bool, bool]] = []
    for each in (bench, other):
        each.lu.on_change = lambda: told.append(
            (bench.lu.aside(bench.nexus), other.lu.aside(other.nexus))
        )
    assert bench.do(BLOCK_ERASE) == Result()
    assert told == [(True, True)] * 2 + [(False, False)] * 2


def test_what_the_controller_refuses_has_not_begun(bench: Bench) -> None:
    bench.model.faults[AdminOpcode.SANITIZE] = [StatusCode.NAMESPACE_WRITE_PROTECTED]
    result = bench.do(BLOCK_ERASE, immed=1)
    assert code(result) == SOFTWARE_WRITE_PROTECTED
    assert bench.do("TEST UNIT READY") == Result()


def test_what_a_reset_interrupts_may_have_begun(bench: Bench) -> None:
    bench.model.sanitize_log(state=2)
    bench.model.sanitizing_steps = [1]
    bench.model.faults[AdminOpcode.SANITIZE] = [StatusCode.ABORTED_SQ_DELETION]
    assert bench.do(BLOCK_ERASE) == Result()
    bench.model.faults[AdminOpcode.SANITIZE] = [StatusCode.ABORTED_SQ_DELETION]
    assert bench.do(BLOCK_ERASE).status is Status.CHECK_CONDITION
    assert bench.do("TEST UNIT READY") == Result()


def test_the_log_is_asked_again_if_it_cannot_be_read(bench: Bench) -> None:
    bench.model.faults[AdminOpcode.GET_LOG_PAGE] = [StatusCode.INTERNAL_ERROR] * 3
    assert bench.do(BLOCK_ERASE) == Result()
    assert len(bench.model.progress) == 3


def test_only_failures_in_turn_count(bench: Bench) -> None:
    look, fails = bench.model.admin[AdminOpcode.GET_LOG_PAGE], [0, *[1] * (MOST_FAILURES - 1)] * 2
    bench.model.sanitizing_steps = [1]

    def sometimes(command: NvmeCommand) -> bytes | Completion | None:
        if fails.pop():
            raise StatusError(StatusCode.INTERNAL_ERROR)
        return look(command)

    bench.model.admin[AdminOpcode.GET_LOG_PAGE] = sometimes
    assert (bench.do(BLOCK_ERASE), fails) == (Result(), [])


def test_a_log_that_is_never_read_is_asked_for_by_initiators_alone(bench: Bench) -> None:
    bench.model.faults[AdminOpcode.GET_LOG_PAGE] = [StatusCode.INTERNAL_ERROR] * MOST_FAILURES
    assert code(bench.do(BLOCK_ERASE)) == INTERNAL_TARGET_FAILURE
    assert code(bench.do("TEST UNIT READY")) == LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS
    bench.do("REQUEST SENSE", allocation_length=18)
    assert bench.do("TEST UNIT READY") == Result()


def test_a_controller_that_is_gone_is_not_asked_again(bench: Bench) -> None:
    bench.model.sanitizing_steps = [1]
    begun = bench.do(BLOCK_ERASE, immed=1)
    bench.lu.fail()
    bench.model.executed.clear()
    assert bench.finish(begun).status is Status.CHECK_CONDITION
    assert not bench.model.executed
    bench.lu.recover()
    bench.lu.take_attention(bench.nexus)  # the deferred error
    assert code(bench.do("TEST UNIT READY")) == LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS
    assert bench.model.play(pick_up(bench.lu)) == Result()
    assert bench.do("TEST UNIT READY") == Result()


# ---- others' operations ----


def test_the_operation_of_another_is_followed(bench: Bench) -> None:
    bench.model.sanitize_log(state=2, sprog=0x1234)
    bench.model.sanitizing_steps = [0x2000, 0x3000]
    assert bench.model.play(pick_up(bench.lu)) == Result()
    assert [one.fraction for one in bench.model.progress] == [0x3000]


@pytest.mark.parametrize("name", ["READ (10)", BLOCK_ERASE])
def test_who_meets_the_operation_of_another_has_it_followed(bench: Bench, name: str) -> None:
    bench.model.sanitize_log(state=2)
    bench.model.sanitizing_steps = [0x2000, 0x3000]
    fields = {"transfer_length": 1} if name == "READ (10)" else {}
    result = bench.do(name, **fields)
    assert code(result) == LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS
    assert bench.finish(result) == Result()
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD


def test_two_do_not_follow_the_same(bench: Bench) -> None:
    bench.model.sanitizing_steps = [1, 2, 3]
    begun = bench.do(BLOCK_ERASE, immed=1)
    assert begun.background is not None
    next(begun.background)
    assert bench.model.play(pick_up(bench.lu)) == Result()
    assert not bench.model.progress


# ---- failures ----


def failing(*cdw10: int) -> Bench:
    bench = make_bench(blocks=64)
    bench.model.unsanitary = set(cdw10)
    return bench


def test_what_failed_is_told_until_it_is_mended() -> None:
    bench = failing(2)
    other = neighbour(bench)
    assert code(bench.do(BLOCK_ERASE)) == SANITIZE_COMMAND_FAILED
    for each in (bench, other):
        for name in ("TEST UNIT READY", "READ CAPACITY (10)", "READ (10)", "START STOP UNIT"):
            assert code(each.do(name)) == SANITIZE_COMMAND_FAILED
        assert each.do("INQUIRY", allocation_length=36).status is Status.GOOD
        sense = each.do("REQUEST SENSE", allocation_length=18).data_in
        assert (sense[2], sense[12:14]) == (3, b"\x31\x03")
    assert bench.do(EXIT).sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(1, 4))
    refused = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(1, 5))
    assert bench.do(CRYPTO_ERASE, ause=1).sense == refused
    assert bench.do(CRYPTO_ERASE) == Result()
    assert bench.do("TEST UNIT READY") == other.do("TEST UNIT READY") == Result()


def test_what_failed_may_be_left_if_that_was_allowed() -> None:
    bench = failing(4 | AUSE)
    assert bench.do(EXIT) == Result()
    assert not bench.model.executed
    assert code(bench.do(CRYPTO_ERASE, ause=1)) == SANITIZE_COMMAND_FAILED
    assert code(bench.do(CRYPTO_ERASE, ause=1)) == SANITIZE_COMMAND_FAILED
    assert bench.do(EXIT) == Result()
    assert bench.do("TEST UNIT READY") == Result()


def test_a_failure_after_the_status_is_a_deferred_error() -> None:
    bench = failing(2)
    assert code(bench.finish(bench.do(BLOCK_ERASE, immed=1))) == SANITIZE_COMMAND_FAILED
    deferred = bench.do("READ (10)").sense
    assert deferred == Sense(SANITIZE_COMMAND_FAILED, deferred=True)


@pytest.mark.parametrize("left", [False, True])
def test_a_failure_of_old_is_told_from_one_that_was_left(bench: Bench, left: bool) -> None:
    bench.model.sanitize_log(state=3, cdw10_info=2 | AUSE)
    if left:
        bench.model._check_sanitized = lambda: None  # type: ignore[method-assign]
    assert bench.model.play(pick_up(bench.lu)) == Result()
    assert code(bench.do("TEST UNIT READY")) == (None if left else SANITIZE_COMMAND_FAILED)
    assert bench.do(EXIT) == Result()
    assert bench.do("TEST UNIT READY") == Result()


def test_a_failure_that_another_host_has_mended_is_none(bench: Bench) -> None:
    bench.model.sanitize_log(state=3, cdw10_info=2)
    bench.model.play(pick_up(bench.lu))
    assert code(bench.do("TEST UNIT READY")) == SANITIZE_COMMAND_FAILED
    bench.model.sanitize_log(state=1)
    bench.model.play(pick_up(bench.lu))
    assert bench.do("TEST UNIT READY") == Result()


# ---- afterwards ----


@pytest.mark.parametrize(
    ("sanicap", "bits"), [(0b111, 0x50), (0b011, 0x50), (0b010, 0x40), (0b001, 0x10), (0, 0)]
)
def test_blocks_are_readable_afterwards(sanicap: int, bits: int) -> None:
    bench = make_bench(controller={"sanicap": sanicap})
    page = bench.do("INQUIRY", evpd=1, page_code=0xB1, allocation_length=64).data_in
    assert page[7] & 0xF0 == bits
    bench.lu.may_be_sanitized = False
    page = bench.do("INQUIRY", evpd=1, page_code=0xB1, allocation_length=64).data_in
    assert page[7] & 0xF0 == 0


def statuses(bench: Bench, kind: int = 0) -> bytes:
    data = bench.do("GET LBA STATUS (16)", lba=3, report_type=kind, allocation_length=99).data_in
    return data[20::16]


def test_all_is_deallocated_until_something_is_written(bench: Bench) -> None:
    assert statuses(bench) == b"\0"
    bench.do(BLOCK_ERASE)
    assert [statuses(bench, kind) for kind in (0, 1, 2, 3, 4, 16)] == [
        *(b"\1", b"\1", b"", b"\1", b"", b"")
    ]
    bench.do("WRITE (10)", b"x" * 512, lba=9, transfer_length=1)
    assert statuses(bench) == b"\0"
    bench.model.executed.clear()
    assert statuses(bench) == b"\0"
    assert not bench.model.executed
    do_overwrite(bench, overwriting(bytes(4)))
    assert statuses(bench) == b"\0"


def test_a_row_goes_on_when_it_is_aborted(bench: Bench) -> None:
    erase = row(BLOCK_ERASE)
    assert not erase.goes_on(bench.lu)
    bench.lu.sanitizing.phase = Phase.RUNNING
    assert erase.goes_on(bench.lu)


# ---- what comes in between ----


def begin(bench: Bench, name: str, **fields: int) -> Translation:
    return engine.run(engine.select(bench.nexus, 0, row(name).build(**fields)))


@pytest.mark.parametrize("state", [0, 1, 3])
def test_what_the_log_told_before_is_not_taken_for_the_end(bench: Bench, state: int) -> None:
    """Else commands would wait, for hours, for what has the logical unit to itself."""
    bench.model.sanitize_log(state=state)
    beginning = begin(bench, BLOCK_ERASE)
    sanitize = next(beginning)
    assert isinstance(sanitize, NvmeCommand)
    late = begin(bench, "REQUEST SENSE", allocation_length=18)
    log = next(late)
    assert isinstance(log, NvmeCommand)
    before = bench.model.execute(log)[0]
    bench.do("REQUEST SENSE", allocation_length=18)
    assert bench.lu.sanitizing.running
    bench.model.sanitizing_steps = [1, 2, 3]
    beginning.send(bench.model.execute(sanitize)[0])
    with pytest.raises(StopIteration):
        late.send(before)
    assert bench.lu.sanitizing.running
    assert code(bench.do("READ (10)")) == LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS


def test_who_follows_is_replaced_when_its_logical_unit_goes(bench: Bench) -> None:
    other = neighbour(bench)
    bench.model.sanitizing_steps = [1, 2, 3]
    begun = bench.do(BLOCK_ERASE, immed=1)
    assert begun.background is not None
    next(begun.background)  # it has asked for the log
    bench.lu.fail()
    assert bench.model.play(pick_up(other.lu)) == Result()
    assert other.do("TEST UNIT READY") == Result()


def test_who_is_refused_has_it_followed_if_nobody_does(bench: Bench) -> None:
    """Else who asks by TEST UNIT READY alone would be refused for ever."""
    bench.model.faults[AdminOpcode.GET_LOG_PAGE] = [StatusCode.INTERNAL_ERROR] * MOST_FAILURES
    bench.do(BLOCK_ERASE)
    refused = bench.do("TEST UNIT READY")
    assert code(refused) == LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS
    assert bench.finish(refused) == Result()
    assert bench.do("TEST UNIT READY") == Result()
