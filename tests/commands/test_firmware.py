"""WRITE BUFFER's modes that download firmware, against a model of the controller."""

from __future__ import annotations

import pytest

from scsi2nvme import engine
from scsi2nvme.commands.vpd_pages.extended_inquiry import EXTENDED_INQUIRY
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import ControllerReset, Progress
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    INQUIRY_DATA_HAS_CHANGED,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    MICROCODE_HAS_BEEN_CHANGED,
    WRITE_PROTECTED,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness
from tests.support import Bench, code, make_bench, make_facts, make_nexus, row

IMAGE = b"2.0     ".ljust(16 << 10, b"\x5a")
AT_ONCE, BY_RESET = 0x16, 0x06  # FRMW: three slots
PAGE = 4096
WHOLE = "download, save and activate"
PIECES = "download with offsets, save and activate"
DEFERRED = "download with offsets, save and defer"
SELECTED = "download with offsets, select events, save and defer"


def bench_of(frmw: int = AT_ONCE, fwug: int = 1, **options: int) -> Bench:
    return make_bench(controller={"frmw": frmw, "fwug": fwug, **options})


def write(
    bench: Bench, mode: str, data: bytes, *, nexus: Nexus | None = None, **fields: int
) -> SenseCode | None:
    name = f"WRITE BUFFER, {mode}"
    return code(bench.do(name, data, nexus=nexus, parameter_list_length=len(data), **fields))


def activate(bench: Bench, nexus: Nexus | None = None) -> SenseCode | None:
    return code(bench.do("WRITE BUFFER, activate deferred", nexus=nexus))


def revision(bench: Bench) -> bytes:
    return bench.do("INQUIRY", allocation_length=96).data_in[32:36]


def attentions(lu: LogicalUnit, nexus: Nexus) -> list[SenseCode]:
    return [sense.code for sense in lu.unit_attentions.get(nexus.key, [])]


def commits(bench: Bench) -> list[int]:
    opcode = AdminOpcode.FIRMWARE_COMMIT
    return [each.cdw10 for each in bench.model.executed if each.opcode == opcode and each.admin]


def test_initiators_may_not_unless_that_is_configured() -> None:
    bench = make_bench()
    bench.lu.firmware_allowed = False
    assert write(bench, WHOLE, IMAGE) == INVALID_FIELD_IN_CDB
    assert bench.model.executed == []
    page = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=255).data_in
    assert EXTENDED_INQUIRY.parse(page).activate_microcode == 0


def test_a_controller_without_firmware_commands_offers_none() -> None:
    bench = bench_of(oacs=0x1B)
    assert write(bench, WHOLE, IMAGE) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(("frmw", "resets", "action"), [(AT_ONCE, 0, 3), (BY_RESET, 1, 1)])
def test_a_whole_image_is_stored_and_runs(frmw: int, resets: int, action: int) -> None:
    bench = bench_of(frmw)
    other = bench.other()
    assert write(bench, WHOLE, IMAGE, buffer_id=2) is None
    assert commits(bench) == [2 | action << 3]
    assert len(bench.model.resets) == resets
    assert attentions(bench.lu, bench.nexus) == []
    assert attentions(bench.lu, other) == [MICROCODE_HAS_BEEN_CHANGED, INQUIRY_DATA_HAS_CHANGED]
    assert revision(bench) == b"2.0 "


def test_pieces_respect_granularity_and_transfer_size() -> None:
    bench = bench_of(fwug=2)
    write(bench, WHOLE, IMAGE + b"\x11" * 4)
    sent = [
        each for each in bench.model.executed if each.opcode == AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD
    ]
    assert [4 * each.cdw11 for each in sent] == [0, 16384]
    assert [len(each.data_out) for each in sent] == [16384, 4]


def test_a_short_piece_is_the_last() -> None:
    bench = bench_of()
    for offset in range(0, len(IMAGE), PAGE):
        assert write(bench, PIECES, IMAGE[offset : offset + PAGE], buffer_offset=offset) is None
    assert commits(bench) == []
    assert write(bench, PIECES, bytes(4), buffer_offset=len(IMAGE)) is None
    assert commits(bench) == [3 << 3]
    assert revision(bench) == b"2.0 "


@pytest.mark.parametrize("mode", [PIECES, DEFERRED, SELECTED])
def test_what_is_deferred_runs_when_it_is_told_to(mode: str) -> None:
    bench = bench_of()
    assert write(bench, mode, IMAGE) is None
    assert commits(bench) == []
    assert activate(bench, bench.other()) is None
    assert revision(bench) == b"2.0 "
    assert attentions(bench.lu, bench.nexus)[0] == MICROCODE_HAS_BEEN_CHANGED
    bench.lu.unit_attentions[bench.nexus.key].clear()
    assert activate(bench) == COMMAND_SEQUENCE_ERROR  # there is nothing any more


@pytest.mark.parametrize("offset", [0, PAGE, 3 * PAGE])
def test_pieces_leave_nothing_out_and_do_not_overlap(offset: int) -> None:
    bench = bench_of()
    write(bench, DEFERRED, IMAGE[: 2 * PAGE])
    refused = write(bench, DEFERRED, IMAGE[:PAGE], buffer_offset=offset)
    assert refused == (None if offset == 0 else COMMAND_SEQUENCE_ERROR)  # zero: another image
    assert bench.lu.firmware.size == (PAGE if offset == 0 else 2 * PAGE)


def test_pieces_are_of_one_image() -> None:
    bench = bench_of()
    write(bench, DEFERRED, IMAGE[:PAGE], buffer_id=2)
    rest = {"data": IMAGE[PAGE:], "buffer_offset": PAGE}
    for mode, fields in ((PIECES, {"buffer_id": 2}), (DEFERRED, {"buffer_id": 3})):
        refused = write(bench, mode, rest["data"], buffer_offset=PAGE, **fields)  # type: ignore[arg-type]
        assert refused == COMMAND_SEQUENCE_ERROR
    refused = write(bench, DEFERRED, IMAGE[PAGE:], nexus=bench.other(), buffer_offset=PAGE)
    assert refused == COMMAND_SEQUENCE_ERROR
    assert write(bench, DEFERRED, IMAGE[PAGE:], buffer_id=2, buffer_offset=PAGE) is None
    assert activate(bench) is None
    assert commits(bench) == [2 | 3 << 3]


@pytest.mark.parametrize(
    ("fwug", "offset", "length", "byte"),
    [(1, 2048, 4, 3), (2, PAGE, 4, 3), (0, 4, 4, 3), (0xFF, 2, 4, 3), (1, 0, 6, 6)],
)
def test_what_is_not_aligned_is_a_wrong_field(
    fwug: int, offset: int, length: int, byte: int
) -> None:
    bench = bench_of(fwug=fwug)
    result = bench.do(
        f"WRITE BUFFER, {DEFERRED}",
        bytes(length),
        buffer_offset=offset,
        parameter_list_length=length,
    )
    assert code(result) == INVALID_FIELD_IN_CDB
    assert result.sense is not None
    assert result.sense.pointer is not None
    assert result.sense.pointer.byte == byte


@pytest.mark.parametrize("event", ["po_act", "hr_act", "vse_act"])
def test_no_event_activates(event: str) -> None:
    cdb = row(f"WRITE BUFFER, {SELECTED}").build(parameter_list_length=len(IMAGE), **{event: 1})
    assert code(bench_of().run(cdb, IMAGE)) == INVALID_FIELD_IN_CDB


S = StatusCode
COMMIT_STATUSES: list[tuple[StatusCode, SenseCode | None, int]] = [
    (S.INVALID_FIRMWARE_SLOT, INVALID_FIELD_IN_PARAMETER_LIST, 0),
    (S.INVALID_FIRMWARE_IMAGE, INVALID_FIELD_IN_PARAMETER_LIST, 0),
    (S.FIRMWARE_NEEDS_CONVENTIONAL_RESET, None, 0),
    (S.FIRMWARE_NEEDS_SUBSYSTEM_RESET, None, 0),
    (S.FIRMWARE_NEEDS_CONTROLLER_RESET, None, 1),
    (S.FIRMWARE_NEEDS_MAXIMUM_TIME, None, 1),  # by a reset, then
    (S.FIRMWARE_ACTIVATION_PROHIBITED, WRITE_PROTECTED, 0),
    (S.OVERLAPPING_RANGE, INVALID_FIELD_IN_PARAMETER_LIST, 0),
    (S.BOOT_PARTITION_WRITE_PROHIBITED, WRITE_PROTECTED, 0),
]


@pytest.mark.parametrize(("status", "sense", "resets"), COMMIT_STATUSES)
def test_every_outcome_of_a_commit(
    status: StatusCode, sense: SenseCode | None, resets: int
) -> None:
    bench = bench_of()
    bench.model.faults[AdminOpcode.FIRMWARE_COMMIT] = [status]
    assert write(bench, WHOLE, IMAGE) == sense
    assert len(bench.model.resets) == resets
    assert not bench.lu.firmware.busy
    assert bench.lu.firmware.size == 0


def test_a_slot_that_cannot_be_written_is_a_wrong_buffer() -> None:
    bench = bench_of()
    result = bench.do(
        f"WRITE BUFFER, {WHOLE}", IMAGE, buffer_id=7, parameter_list_length=len(IMAGE)
    )
    assert code(result) == INVALID_FIELD_IN_CDB
    assert result.sense is not None
    assert result.sense.pointer is not None
    assert result.sense.pointer.byte == 2


def test_a_download_that_fails_is_begun_anew() -> None:
    bench = bench_of()
    write(bench, DEFERRED, IMAGE[:PAGE])
    bench.model.faults[AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD] = [S.OVERLAPPING_RANGE]
    refused = write(bench, DEFERRED, IMAGE[PAGE:], buffer_offset=PAGE)
    assert refused == INVALID_FIELD_IN_PARAMETER_LIST
    refused = write(bench, DEFERRED, IMAGE[PAGE:], buffer_offset=PAGE)
    assert refused == COMMAND_SEQUENCE_ERROR


def test_a_reset_of_the_controller_makes_it_forget_an_image() -> None:
    bench = bench_of()
    write(bench, DEFERRED, IMAGE)
    bench.lu.firmware.discard()
    assert activate(bench) == COMMAND_SEQUENCE_ERROR

    def forget(command: NvmeCommand) -> None:
        bench.lu.firmware.discard()

    bench.model.admin[AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD] = forget
    assert write(bench, WHOLE, IMAGE + IMAGE) == COMMAND_SEQUENCE_ERROR
    assert commits(bench) == []


def test_one_at_a_time() -> None:
    bench = bench_of()
    bench.lu.firmware.busy = True
    for mode in (WHOLE, PIECES, DEFERRED):
        name = f"WRITE BUFFER, {mode}"
        result = bench.do(name, IMAGE, parameter_list_length=len(IMAGE))
        assert result.status is Status.BUSY
    assert bench.do("WRITE BUFFER, activate deferred").status is Status.BUSY


def test_other_logical_units_of_the_controller_are_told_and_not_harmed() -> None:
    bench = bench_of()
    sibling = LogicalUnit(make_facts(nsid=2))
    sibling.attach(bench.nexus)
    sibling.attach(bench.other())
    for queue in sibling.unit_attentions.values():
        queue.clear()
    bench.lu.controller_units = sibling.controller_units = (bench.lu, sibling)
    sibling.readiness = Readiness.FORMATTING
    assert write(bench, WHOLE, IMAGE) == LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS
    sibling.readiness = Readiness.READY
    assert write(bench, WHOLE, IMAGE) is None
    assert attentions(sibling, bench.nexus) == []
    assert MICROCODE_HAS_BEEN_CHANGED in attentions(sibling, bench.other())
    assert sibling.facts.controller.text("fr") == "2.0"


@pytest.mark.parametrize(("fwug", "boundary"), [(0, 12), (1, 12), (2, 13), (3, 0xFF), (0xFF, 2)])
def test_the_descriptor_of_a_slot(fwug: int, boundary: int) -> None:
    bench = bench_of(fwug=fwug)
    read = bench.do("READ BUFFER (10), descriptor", buffer_id=3, allocation_length=4)
    assert read.data_in == bytes([boundary]) + b"\xff\xff\xff"
    none = bench.do("READ BUFFER (10), descriptor", buffer_id=4, allocation_length=4)
    assert none.data_in == bytes(4)


@pytest.mark.parametrize("mode", [WHOLE, PIECES, DEFERRED])
def test_what_is_longer_than_a_command_may_be_is_no_image(mode: str) -> None:
    """Front ends collect no data of such."""
    bench = bench_of()
    cdb = row(f"WRITE BUFFER, {mode}").build(parameter_list_length=MAXIMUM_TRANSFER_BYTES + 4)
    result = bench.run(cdb, expected=MAXIMUM_TRANSFER_BYTES + 4)
    assert result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(6, 7))


def test_no_format_begins_that_a_reset_would_interrupt() -> None:
    bench = bench_of(BY_RESET)
    sibling = LogicalUnit(make_facts(nsid=2))
    sibling.firmware = bench.lu.firmware
    bench.lu.controller_units = sibling.controller_units = (bench.lu, sibling)
    other = Bench(sibling, bench.model, make_nexus("b", sibling))
    answers: list[Status] = []

    def commit(command: NvmeCommand) -> None:
        answers.append(other.do("FORMAT UNIT").status)
        sibling.readiness = Readiness.FORMATTING  # by somebody who has not asked

    bench.model.admin[AdminOpcode.FIRMWARE_COMMIT] = commit
    cdb = row(f"WRITE BUFFER, {WHOLE}").build(parameter_list_length=len(IMAGE))
    translation = engine.run(engine.select(bench.nexus, 0, cdb), IMAGE)
    asked = next(translation)
    while not isinstance(asked, Progress):
        assert isinstance(asked, NvmeCommand)
        asked = translation.send(bench.model.execute(asked)[0])
    assert answers == [Status.BUSY]
    sibling.readiness = Readiness.READY
    assert isinstance(translation.send(None), ControllerReset)
    translation.close()
    assert other.do("FORMAT UNIT").status is Status.GOOD
