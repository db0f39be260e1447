"""Every NVMe status ends a SCSI command in some legal way, the known ones in the right one."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.status import MAXIMUM, StatusCode
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.status_map import result_of, result_of_status, tells_block


def triple(result: Result) -> tuple[int, int, int]:
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    code = result.sense.code
    return code.key, code.asc, code.ascq


@pytest.mark.parametrize("dnr", [False, True])
@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.WRITE, Opcode.FLUSH, 0xFF])
def test_every_failure_of_an_io_command_is_told(opcode: int, dnr: bool) -> None:
    for status in range(1, MAXIMUM + 1):
        result = result_of_status(opcode, status, dnr, 5)
        assert result.status is not Status.GOOD
        assert (result.sense is not None) == (result.status is Status.CHECK_CONDITION)
        assert not result.data_in
        if result.sense is not None:
            assert result.sense.key not in (SenseKey.NO_SENSE, SenseKey.UNIT_ATTENTION)
            assert result.sense.information in (None, 5)
            assert len(result.sense.fixed()) == 18


def test_success_is_good() -> None:
    assert result_of_status(Opcode.READ, 0, False, 0).status is Status.GOOD


@pytest.mark.parametrize(
    ("status", "key", "asc", "ascq"),
    [
        (0x001, 0x5, 0x20, 0x00),
        (0x002, 0x5, 0x24, 0x00),
        (0x003, 0x4, 0x44, 0x00),
        (0x006, 0x4, 0x44, 0x00),
        (0x00B, 0x5, 0x25, 0x00),
        (0x00D, 0x4, 0x44, 0x00),
        (0x013, 0x4, 0x44, 0x00),
        (0x014, 0x5, 0x24, 0x00),
        (0x015, 0x7, 0x20, 0x02),
        (0x01C, 0x3, 0x31, 0x03),
        (0x01D, 0x2, 0x04, 0x1B),
        (0x020, 0x7, 0x27, 0x02),
        (0x022, 0xB, 0x4B, 0x00),
        (0x024, 0x2, 0x04, 0x01),
        (0x080, 0x5, 0x21, 0x00),
        (0x081, 0x7, 0x27, 0x07),
        (0x084, 0x2, 0x04, 0x04),
        (0x109, 0x5, 0x24, 0x00),
        (0x10A, 0x5, 0x31, 0x01),
        (0x10D, 0x5, 0x39, 0x00),
        (0x10E, 0x5, 0x26, 0x00),
        (0x11D, 0x2, 0x04, 0x09),
        (0x180, 0x5, 0x24, 0x00),
        (0x182, 0x7, 0x27, 0x00),
        (0x183, 0x4, 0x44, 0x00),
        (0x1B9, 0x5, 0x24, 0x00),
        (0x1BA, 0x7, 0x27, 0x08),
        (0x1BB, 0x7, 0x2C, 0x0E),
        (0x1BC, 0x5, 0x21, 0x04),
        (0x1BD, 0x7, 0x55, 0x0E),
        (0x280, 0x3, 0x03, 0x00),
        (0x281, 0x3, 0x11, 0x00),
        (0x282, 0xB, 0x10, 0x01),
        (0x283, 0xB, 0x10, 0x02),
        (0x284, 0xB, 0x10, 0x03),
        (0x285, 0xE, 0x1D, 0x00),
        (0x286, 0x7, 0x20, 0x02),
        (0x300, 0xB, 0x4B, 0x00),
        (0x301, 0x2, 0x04, 0x0C),
        (0x303, 0x2, 0x04, 0x0A),
        # Aborted by nobody who asked for it: TASK ABORTED would say that somebody did.
        *((status, 0xB, 0, 0) for status in (5, 7, 8, 9, 0xA, 0x1B, 0x371)),
        (0x360, 0xB, 0x08, 0x00),
        (0x3FF, 0x4, 0x44, 0x00),
        (0x7FF, 0x4, 0x44, 0x00),
    ],
)
def test_meaning(status: int, key: int, asc: int, ascq: int) -> None:
    assert triple(result_of_status(Opcode.WRITE, status, True, None)) == (key, asc, ascq)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (StatusCode.RESERVATION_CONFLICT, Status.RESERVATION_CONFLICT),
        (StatusCode.COMMAND_INTERRUPTED, Status.BUSY),
    ],
)
def test_statuses_without_sense(status: StatusCode, expected: Status) -> None:
    assert result_of_status(Opcode.READ, status, False, 0) == Result(expected)


def test_zone_boundary_depends_on_the_direction() -> None:
    status = StatusCode.ZONE_BOUNDARY_ERROR
    assert triple(result_of_status(Opcode.WRITE, status, True, 0)) == (0x5, 0x21, 0x05)
    assert triple(result_of_status(Opcode.READ, status, True, 0)) == (0x5, 0x21, 0x07)
    for opcode in range(256):  # none of the admin queue reads blocks
        error = NvmeError(NvmeCommand(opcode, admin=True), Completion(status, dnr=True))
        assert triple(result_of(error)) == (0x5, 0x21, 0x05)


def test_namespace_not_ready_depends_on_do_not_retry() -> None:
    status = StatusCode.NAMESPACE_NOT_READY
    assert triple(result_of_status(Opcode.READ, status, True, 0)) == (0x2, 0x04, 0x00)
    assert triple(result_of_status(Opcode.READ, status, False, 0)) == (0x2, 0x04, 0x01)


def test_medium_errors_carry_the_lba_that_is_known() -> None:
    command = NvmeCommand(Opcode.READ, nsid=1, cdw10=0x80, cdw11=1)
    error = NvmeError(command, Completion(status=StatusCode.UNRECOVERED_READ_ERROR))
    assert tells_block(error)
    result = result_of(error)
    assert result.sense is not None
    assert result.sense.information is None
    result = result_of(error, 0x1_0000_0080)
    assert result.sense is not None
    assert result.sense.information == 0x1_0000_0080
    assert result.sense.fixed()[0] == 0x70  # it does not fit: VALID is zero
    assert result.sense.descriptor()[12:20] == bytes.fromhex("0000000100000080")


def test_a_command_without_blocks_carries_no_lba() -> None:
    command = NvmeCommand(Opcode.DATASET_MANAGEMENT, nsid=1, cdw10=3)
    error = NvmeError(command, Completion(status=StatusCode.LBA_OUT_OF_RANGE))
    assert not tells_block(error)
    result = result_of(error)
    assert result.sense is not None
    assert result.sense.information is None


def test_firmware_that_waits_for_a_reset_is_good_for_admin_commands_only() -> None:
    completion = Completion(status=StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET)
    commit = NvmeCommand(AdminOpcode.FIRMWARE_COMMIT, admin=True)
    assert result_of(NvmeError(commit, completion)).status is Status.GOOD
    write = NvmeCommand(Opcode.WRITE, nsid=1)
    assert triple(result_of(NvmeError(write, completion))) == (0x4, 0x44, 0x00)


# What is told of a block: of the medium, of protection information, and of its number.
_OF_A_BLOCK = {
    StatusCode.LBA_OUT_OF_RANGE,
    StatusCode.WRITE_FAULT,
    StatusCode.UNRECOVERED_READ_ERROR,
    StatusCode.GUARD_CHECK_ERROR,
    StatusCode.APPLICATION_TAG_CHECK_ERROR,
    StatusCode.REFERENCE_TAG_CHECK_ERROR,
    StatusCode.DEALLOCATED_OR_UNWRITTEN,
    StatusCode.STORAGE_TAG_CHECK_ERROR,
}


@pytest.mark.parametrize("code", StatusCode, ids=lambda code: code.name)
def test_information_is_the_block_where_a_block_failed(code: StatusCode) -> None:
    sense = result_of_status(Opcode.READ, code, dnr=True, lba=1 << 40).sense
    if sense is not None:
        assert sense.information == (1 << 40 if code in _OF_A_BLOCK else None)
