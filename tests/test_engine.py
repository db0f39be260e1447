"""The engine's checks and their order, and the state that they look at."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsi2nvme import commands, engine
from scsi2nvme.command import Command, Data, Transfer
from scsi2nvme.commands.persistent_reserve_out import PARAMETER_LIST
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    CAPACITY_DATA_HAS_CHANGED,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    INVALID_MESSAGE_ERROR,
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    LOGICAL_UNIT_NOT_SUPPORTED,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    FieldPointer,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, bench_of, code, make_bench, row

by_name = pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
UNKNOWN_OPCODE = 0xFF


def pointer(result: Result) -> FieldPointer | None:
    """Return where a result's sense points."""
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    return result.sense.pointer


def reserved_for(bench: Bench, holder: Nexus) -> None:
    """Reserve the logical unit for one nexus."""
    assert bench.do("RESERVE (10)", nexus=holder).status is Status.GOOD


# Addresses


@pytest.mark.parametrize(
    ("address", "lun"),
    [
        ("0000000000000000", 0),
        ("00ff000000000000", 255),
        ("0100000000000000", None),  # a bus other than zero
        ("4000000000000000", 0),
        ("4001000000000000", 1),
        ("7fff000000000000", 0x3FFF),
        ("8001000000000000", None),  # logical unit addressing
        ("c101000000000000", None),  # REPORT LUNS well known logical unit
        ("d200000100000000", None),  # extended flat space addressing
        ("0001000100000000", None),  # a second level
        ("0000000000000001", None),
    ],
)
def test_lun_of(address: str, lun: int | None) -> None:
    assert lun_of(bytes.fromhex(address)) == lun


# The order of the checks


def test_the_order_of_the_checks() -> None:
    """Everything is wrong at first; what is put right lets the next check speak."""
    bench = make_bench()
    nexus, lu = bench.nexus, bench.lu
    write = row("WRITE (10)")
    wrong = bytearray(write.build(transfer_length=1))
    wrong[1] |= 0x04  # reserved
    reserved_for(bench, bench.other("b"))
    lu.establish_attention(CAPACITY_DATA_HAS_CHANGED, only=nexus.key)
    lu.readiness = Readiness.STOPPED
    lu.read_only = True

    def run(cdb: bytes, data_out: bytes = b"", lun: int = 0) -> Result:
        return bench.run(cdb, data_out, lun=lun)

    unknown = bytes([UNKNOWN_OPCODE]) + bytes(15)
    assert code(run(unknown, lun=1)) == LOGICAL_UNIT_NOT_SUPPORTED
    assert code(run(bytes(wrong), lun=1)) == LOGICAL_UNIT_NOT_SUPPORTED
    assert code(run(unknown)) == INVALID_COMMAND_OPERATION_CODE
    assert code(run(bytes(wrong))) == INVALID_FIELD_IN_CDB
    right = write.build(transfer_length=1)
    assert code(run(right)) == CAPACITY_DATA_HAS_CHANGED
    assert run(right).status is Status.RESERVATION_CONFLICT
    bench.do("RELEASE (10)", nexus=bench.other("b"))
    assert code(run(right)) == LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED
    lu.readiness = Readiness.READY
    assert code(run(right)) == WRITE_PROTECTED
    lu.read_only = False
    assert code(run(right)) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert bench.model.executed == []
    assert run(right, bytes(512)).status is Status.GOOD


def test_refused_cdbs_leave_the_attention_pending() -> None:
    bench = make_bench()
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    bench.run(bytes([UNKNOWN_OPCODE]) + bytes(15))
    bench.run(bytes([0x00, 0xFF, 0, 0, 0, 0]))
    assert code(bench.do("TEST UNIT READY")) == CAPACITY_DATA_HAS_CHANGED
    assert bench.do("TEST UNIT READY").status is Status.GOOD


@by_name
def test_who_reports_unit_attentions(command: Command) -> None:
    """Spec: SAM-5 5.14: all commands but these."""
    silent = command.name in ("INQUIRY", "REPORT LUNS", "REQUEST SENSE")
    assert command.reports_unit_attention != silent
    bench = make_bench()
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    if not command.supported(bench.lu):
        return
    result = bench.run(command.build())
    if silent:
        assert result.status is Status.GOOD
    else:
        assert code(result) == CAPACITY_DATA_HAS_CHANGED


# The CDB


@by_name
def test_every_reserved_bit_is_refused_and_pointed_at(command: Command) -> None:
    bench = bench_of(command)
    mask = command.structure.mask
    for byte in range(1, command.length):
        for bit in range(8):
            if mask[byte] >> bit & 1:
                continue
            cdb = bytearray(command.build())
            cdb[byte] |= 1 << bit
            result = bench.run(bytes(cdb))
            assert code(result) == INVALID_FIELD_IN_CDB
            assert pointer(result) == FieldPointer(byte, bit)


@by_name
def test_naca_is_refused_and_pointed_at(command: Command) -> None:
    result = bench_of(command).run(command.build(naca=1))
    assert code(result) == INVALID_FIELD_IN_CDB
    byte = 1 if command.opcode == 0x7F else command.length - 1
    assert pointer(result) == FieldPointer(byte, 2)


@pytest.mark.parametrize("lun", [0, 7], ids=["a logical unit", "none"])
def test_the_aca_attribute_is_refused_where_there_is_no_aca_condition(lun: int) -> None:
    bench = make_bench()
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    cdb = row("TEST UNIT READY").build()
    request = engine.select(bench.nexus, lun, cdb, TaskAttribute.ACA)
    result = bench.model.play(engine.run(request))
    assert code(result) == INVALID_MESSAGE_ERROR
    assert bench.lu.pending_attention(bench.nexus) is not None


@by_name
def test_a_cut_cdb_is_refused(command: Command) -> None:
    """It is pointed at where the CDB ends, or at the service action, which might be any."""
    action = command.service_action_field
    for length in range(1, command.length):
        result = bench_of(command).run(command.build()[:length])
        assert code(result) == INVALID_FIELD_IN_CDB
        if action is None or length >= action.end:
            assert pointer(result) == FieldPointer(length)
        else:
            assert pointer(result) == FieldPointer(*action.highest_bit("big"))


def test_padding_of_the_transport_is_no_part_of_the_cdb() -> None:
    assert make_bench().run(bytes(6) + b"\xff" * 10).status is Status.GOOD


def test_an_empty_cdb() -> None:
    assert code(make_bench().run(b"")) == INVALID_COMMAND_OPERATION_CODE


def test_unknown_opcodes_and_service_actions() -> None:
    bench = make_bench()
    unknown = bench.run(bytes([UNKNOWN_OPCODE]) + bytes(15))
    assert code(unknown) == INVALID_COMMAND_OPERATION_CODE
    assert pointer(unknown) == FieldPointer(0)
    action = bench.run(bytes([0xA3, 0x1F]) + bytes(10))
    assert code(action) == INVALID_FIELD_IN_CDB
    assert pointer(action) == FieldPointer(1, 4)


def test_what_the_controller_cannot_do_is_unknown() -> None:
    bench = make_bench(controller={"oncs": 0, "oacs": 0})
    missing = [command for command in commands.COMMANDS if not command.supported(bench.lu)]
    assert missing
    for command in missing:
        others = commands.actions(command.opcode).values()
        some = any(other.supported(bench.lu) for other in others)
        expected = INVALID_FIELD_IN_CDB if some else INVALID_COMMAND_OPERATION_CODE
        assert code(bench.run(command.build())) == expected


# Logical units that are not there


@by_name
@pytest.mark.parametrize("lun", [1, None])
def test_a_lun_without_a_logical_unit(command: Command, lun: int | None) -> None:
    bench = make_bench()
    result = bench.model.play(engine.run(engine.select(bench.nexus, lun, command.build())))
    if command.name in ("INQUIRY", "REPORT LUNS", "REQUEST SENSE"):
        assert result.status is Status.GOOD
    else:
        assert code(result) == LOGICAL_UNIT_NOT_SUPPORTED
    assert bench.model.executed == []


def test_inquiry_of_a_lun_without_a_logical_unit() -> None:
    result = make_bench().run(bytes([0x12, 0, 0, 0, 255, 0]), lun=1)
    assert result.data_in[0] == 0x7F


# Reservations that somebody else keeps

WITHOUT_DATA = {
    "FORMAT UNIT": {},
    "LOG SELECT": {"pcr": 1},
    "PREVENT ALLOW MEDIUM REMOVAL": {"prevent": 1},
    "SEND DIAGNOSTIC": {"selftest": 1},
    "START STOP UNIT": {},
    "WRITE SAME (16)": {"ndob": 1, "number_of_blocks": 1},
}


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_who_may_be_excluded_changes_nothing_without_data(name: str) -> None:
    bench = make_bench()
    bench.do("WRITE (10)", b"\x01" * 512, transfer_length=1)
    bench.model.executed.clear()
    bench.nexus.lets_all_pass = lambda: True
    cdb = row(name).build(**WITHOUT_DATA[name])
    assert bench.run(cdb).status is Status.RESERVATION_CONFLICT
    assert bench.model.executed == []
    assert bench.lu.readiness is Readiness.READY
    assert not bench.lu.prevented_by
    bench.nexus.lets_all_pass = lambda: False
    assert bench.run(cdb).status is not Status.RESERVATION_CONFLICT


@pytest.mark.parametrize(
    ("name", "fields", "data"),
    [
        ("READ (10)", {"transfer_length": 1}, b""),
        ("WRITE (10)", {"transfer_length": 1}, bytes(512)),
        ("WRITE SAME (16)", {"number_of_blocks": 1}, bytes(512)),
        ("FORMAT UNIT", {"fmtdata": 1}, bytes(4)),
        ("SYNCHRONIZE CACHE (10)", {}, b""),  # which those that are admitted depend on
        ("START STOP UNIT", {"start": 1}, b""),
        ("PREVENT ALLOW MEDIUM REMOVAL", {"prevent": 0}, b""),
        ("TEST UNIT READY", {}, b""),
    ],
)
def test_what_its_keeper_judges_or_no_reservation_stops_goes_on(
    name: str, fields: dict[str, int], data: bytes
) -> None:
    bench = make_bench()
    bench.nexus.lets_all_pass = lambda: True
    assert bench.run(row(name).build(**fields), data).status is Status.GOOD


# Write protection and data


@pytest.mark.parametrize(
    ("read_only", "nsattr", "expected"),
    [(True, 0, WRITE_PROTECTED), (False, 1, WRITE_PROTECTED), (False, 0, None)],
)
def test_write_protection(read_only: bool, nsattr: int, expected: SenseCode | None) -> None:
    bench = make_bench(namespace={"nsattr": nsattr})
    bench.lu.read_only = read_only
    result = bench.do("WRITE (10)", bytes(512), transfer_length=1)
    assert code(result) == expected
    assert bench.do("READ (10)", transfer_length=1).status is Status.GOOD


def test_software_write_protection() -> None:
    bench = make_bench()
    sense = bench.do("MODE SENSE (10)", page_code=0x0A, dbd=1, allocation_length=255).data_in
    page = bytearray(sense[8:20])
    page[0] &= 0x3F  # PS is reserved in MODE SELECT
    page[4] |= 0x08  # SWP
    data = bytes(8) + bytes(page)
    result = bench.do("MODE SELECT (10)", data, pf=1, parameter_list_length=len(data))
    assert result.status is Status.GOOD
    result = bench.do("WRITE (10)", bytes(512), transfer_length=1)
    assert code(result) == SOFTWARE_WRITE_PROTECTED
    assert bench.lu.aside(bench.nexus)


@by_name
def test_rows_that_change_the_medium_are_write_protected(command: Command) -> None:
    """Whatever takes data for the medium is refused; SBC-3 4.13 names the rest."""
    takes_blocks = command.data is Data.OUT and not command.transfer.counts_bytes
    verifies = command.name.startswith("VERIFY")
    if takes_blocks and not verifies:
        assert command.modifies_medium, command.name


@pytest.mark.parametrize("name", ["READ (10)", "WRITE (10)", "WRITE AND VERIFY (10)"])
def test_where_blocks_have_another_length_nothing_is_moved(name: str) -> None:
    bench = make_bench()
    cdb, data = row(name).build(transfer_length=8), bytes(4096)
    assert bench.run(cdb, data, announced=4096).status is Status.GOOD
    bench.model.executed.clear()
    assert bench.run(cdb, data, announced=8 * 4096).status is Status.BUSY
    assert bench.run(cdb, data, announced=8 * 256).status is Status.BUSY
    assert bench.model.executed == []


def test_data_beyond_what_the_cdb_announces_is_dropped() -> None:
    bench = make_bench()
    bench.do("WRITE (10)", b"\x01" * 512 + b"\x02" * 512, transfer_length=1)
    assert bench.model.blocks(0, 2) == b"\x01" * 512 + bytes(512)


@pytest.mark.parametrize("length", [0, 100, 1023])
def test_too_little_data_writes_nothing(length: int) -> None:
    bench = make_bench()
    result = bench.do("WRITE (10)", b"\x01" * length, transfer_length=2)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert bench.model.executed == []


@pytest.mark.parametrize("name", ["WRITE (6)", "WRITE (10)", "WRITE (16)", "WRITE AND VERIFY (10)"])
@pytest.mark.parametrize("length", [0, 512, 1024, 1400])
def test_a_write_takes_the_whole_blocks_that_the_initiator_prepared(name: str, length: int) -> None:
    bench = make_bench()
    cdb = row(name).build(lba=5, transfer_length=2)
    data = b"\x01" * length
    assert bench.run(cdb, data, expected=length).status is Status.GOOD
    written = min(length // 512, 2)
    assert bench.model.blocks(5, 2) == b"\x01" * 512 * written + bytes(512 * (2 - written))


PARTLY_WRITTEN = [
    command
    for command in commands.COMMANDS
    if command.data is Data.OUT and command.transfer is Transfer.BLOCKS
]


@pytest.mark.parametrize("command", PARTLY_WRITTEN, ids=lambda command: command.name)
@pytest.mark.parametrize("length", [1, 200, 511, 513, 1023])
def test_a_part_of_a_block_is_refused(command: Command, length: int) -> None:
    bench = bench_of(command)
    result = bench.run(command.build(transfer_length=2), b"\x01" * length, expected=length)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert bench.model.executed == []


@pytest.mark.parametrize("command", PARTLY_WRITTEN, ids=lambda command: command.name)
def test_without_a_residual_count_all_blocks_are_wanted(command: Command) -> None:
    bench = bench_of(command)
    bench.nexus.tells_residual = False
    cdb = command.build(transfer_length=2)
    for length in (0, 512, 1023):
        result = bench.run(cdb, b"\x01" * length, expected=length)
        assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert bench.model.executed == []
    assert bench.run(cdb, b"\x01" * 1024, expected=1024).status is Status.GOOD


def test_data_that_were_dropped_are_not_good() -> None:
    bench = make_bench()
    result = bench.run(row("WRITE (10)").build(transfer_length=2), b"", expected=1024)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_data_are_wanted_of_all_that_is_moved_at_once(block_bytes: int) -> None:
    """Of more the front end collects none, and the length itself is at fault."""
    most = MAXIMUM_TRANSFER_BYTES // block_bytes
    bench = make_bench(blocks=most + 1, block_bytes=block_bytes)
    for blocks, wrong in (
        (most, INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT),
        (most + 1, INVALID_FIELD_IN_CDB),
    ):
        cdb = row("WRITE (10)").build(transfer_length=blocks)
        assert code(bench.run(cdb, b"", expected=blocks * block_bytes)) == wrong
    assert bench.model.executed == []


@by_name
def test_data_in_is_cut_to_the_allocation_length(command: Command) -> None:
    if command.data is not Data.IN or command.length_field != "allocation_length":
        return
    bench = make_bench()
    for length in (0, 1, 3, 5):
        result = bench.run(command.build(allocation_length=length))
        assert len(result.data_in) <= length


# Failures of NVMe commands


@pytest.mark.parametrize("lun", [0, 1])
@pytest.mark.parametrize("status", [0x280, 0x281, 0x284, 0x004, 0x006, 0x300, 0x371])
def test_what_the_admin_queue_fails_is_counted_as_no_access(lun: int, status: int) -> None:
    """Its opcodes are others' on an I/O queue: Get Log Page is Read there."""
    bench = make_bench()
    request = engine.select(bench.nexus, lun, row("LOG SENSE").build())
    for opcode in range(256):
        error = NvmeError(NvmeCommand(opcode, admin=True), Completion(status, dnr=True))
        result = bench.model.play(engine.failed(request, error))
        assert result.status is not Status.GOOD
        assert result.sense is None or result.sense.information is None
    counters = bench.lu.log.counters
    assert not any(counters.value(page, code) for page in range(0x40) for code in range(7))
    assert bench.model.executed == []


# The step-aside flag


def watched(lu: LogicalUnit, nexus: Nexus) -> list[bool]:
    """Return a list that grows with what each change publishes for a nexus."""
    seen: list[bool] = []
    lu.on_change = lambda: seen.append(lu.aside(nexus))
    return seen


def test_the_flag_is_published_before_the_next_command() -> None:
    bench = make_bench()
    other = bench.other("b")
    seen = watched(bench.lu, other)
    reserved_for(bench, bench.nexus)
    assert seen[-1]
    bench.do("RELEASE (10)")
    assert not seen[-1]
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED, only=other.key)
    assert seen[-1]
    bench.do("TEST UNIT READY", nexus=other)
    assert not seen[-1]
    bench.do("START STOP UNIT")
    assert seen[-1]
    bench.do("START STOP UNIT", start=1)
    assert not seen[-1]
    data = PARAMETER_LIST.build(service_action_key=1)
    bench.do("PERSISTENT RESERVE OUT, REGISTER", data, parameter_list_length=24)
    assert not seen[-1]
    data = PARAMETER_LIST.build(key=1)
    bench.do("PERSISTENT RESERVE OUT, RESERVE", data, type=1, parameter_list_length=24)
    assert seen[-1]
    bench.do("PERSISTENT RESERVE OUT, RELEASE", data, type=1, parameter_list_length=24)
    assert not seen[-1]
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    assert seen[-1]


# Whatever comes


@st.composite
def cdbs(draw: st.DrawFn) -> bytes:
    """CDBs of known commands with any bits, or any bytes at all."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=32))
    command = draw(st.sampled_from(commands.COMMANDS))
    values = {
        field.name: draw(st.integers(0, field.maximum) | st.sampled_from((0, field.maximum)))
        for field in command.fields
        if draw(st.booleans())
    }
    return command.build(**values)


@settings(max_examples=300)
@given(st.lists(st.tuples(cdbs(), st.binary(max_size=600)), max_size=5), st.sampled_from([0, 1]))
def test_any_cdb_ends_in_a_status(tasks: list[tuple[bytes, bytes]], lun: int) -> None:
    bench = make_bench(blocks=64)
    for cdb, data_out in tasks:
        result = bench.run(cdb, data_out, lun=lun)
        assert (result.status is Status.CHECK_CONDITION) == (result.sense is not None)
        if result.sense is not None:
            assert len(result.sense.fixed()) == 18
            assert result.sense.descriptor()[0] in (0x72, 0x73)
        if result.background is not None:
            bench.finish(result)
