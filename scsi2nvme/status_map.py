"""What a failed NVMe command means to an initiator: one table.

Errors of our own making (queues, SGLs, PRPs) and statuses that nobody knows
are INTERNAL TARGET FAILURE: ILLEGAL REQUEST would teach the initiator to stop
sending a command that works. Spec: SAM-5 5.3, SPC-4 4.5.6.
"""

from __future__ import annotations

from dataclasses import replace

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import BY_VALUE, StatusCode
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import NvmeError, Result
from scsi2nvme.scsi.sense import (
    ACCESS_DENIED_NO_ACCESS_RIGHTS,
    ASYMMETRIC_ACCESS_STATE_TRANSITION,
    COMMAND_SEQUENCE_ERROR,
    DATA_PHASE_ERROR,
    FORMAT_COMMAND_FAILED,
    INSUFFICIENT_ZONE_RESOURCES,
    INTERNAL_TARGET_FAILURE,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
    LOGICAL_BLOCK_GUARD_CHECK_FAILED,
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
    LOGICAL_UNIT_COMMUNICATION_FAILURE,
    LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY,
    LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS,
    LOGICAL_UNIT_NOT_SUPPORTED,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    NO_ADDITIONAL_SENSE_INFORMATION,
    PERIPHERAL_DEVICE_WRITE_FAULT,
    READ_BOUNDARY_VIOLATION,
    SANITIZE_COMMAND_FAILED,
    SAVING_PARAMETERS_NOT_SUPPORTED,
    SOFTWARE_WRITE_PROTECTED,
    SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
    TARGET_PORT_IN_UNAVAILABLE_STATE,
    UNALIGNED_WRITE_COMMAND,
    UNRECOVERED_READ_ERROR,
    WRITE_BOUNDARY_VIOLATION,
    WRITE_PROTECTED,
    ZONE_IS_OFFLINE,
    ZONE_IS_READ_ONLY,
    Sense,
    SenseCode,
    SenseKey,
)
from scsi2nvme.scsi.status import Status


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one NVMe status becomes: a SCSI status, or CHECK CONDITION with sense.

    `reading` replaces it for commands that only read; `transient` where DNR
    is zero. `at_lba`: the first block that failed goes into INFORMATION.
    """

    outcome: SenseCode | Status
    reading: SenseCode | None = None
    transient: SenseCode | None = None
    at_lba: bool = False


# TASK ABORTED is for those whom another initiator has aborted (SAM-5 5.3.1). Nobody has here: the
# command is to be sent again.
_ABORTED = replace(NO_ADDITIONAL_SENSE_INFORMATION, key=SenseKey.ABORTED_COMMAND)
_ILLEGAL_FORMAT = replace(FORMAT_COMMAND_FAILED, key=SenseKey.ILLEGAL_REQUEST)
_PROHIBITED = replace(ACCESS_DENIED_NO_ACCESS_RIGHTS, key=SenseKey.ILLEGAL_REQUEST)
_S = StatusCode

TABLE: dict[StatusCode, Meaning] = {
    _S.SUCCESS: Meaning(Status.GOOD),
    _S.INVALID_OPCODE: Meaning(INVALID_COMMAND_OPERATION_CODE),
    _S.INVALID_FIELD: Meaning(INVALID_FIELD_IN_CDB),
    _S.DATA_TRANSFER_ERROR: Meaning(DATA_PHASE_ERROR),
    _S.ABORTED_POWER_LOSS: Meaning(_ABORTED),
    _S.ABORT_REQUESTED: Meaning(_ABORTED),
    _S.ABORTED_SQ_DELETION: Meaning(_ABORTED),
    _S.FAILED_FUSED: Meaning(_ABORTED),
    _S.MISSING_FUSED: Meaning(_ABORTED),
    _S.INVALID_NAMESPACE: Meaning(LOGICAL_UNIT_NOT_SUPPORTED),
    _S.ATOMIC_WRITE_UNIT_EXCEEDED: Meaning(INVALID_FIELD_IN_CDB),
    _S.OPERATION_DENIED: Meaning(ACCESS_DENIED_NO_ACCESS_RIGHTS),
    _S.PREEMPT_ABORT: Meaning(_ABORTED),
    _S.SANITIZE_FAILED: Meaning(SANITIZE_COMMAND_FAILED),
    _S.SANITIZE_IN_PROGRESS: Meaning(LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS),
    _S.NAMESPACE_WRITE_PROTECTED: Meaning(SOFTWARE_WRITE_PROTECTED),
    _S.COMMAND_INTERRUPTED: Meaning(Status.BUSY),
    _S.TRANSIENT_TRANSPORT_ERROR: Meaning(DATA_PHASE_ERROR),
    _S.PROHIBITED_BY_LOCKDOWN: Meaning(_PROHIBITED),
    _S.ADMIN_MEDIA_NOT_READY: Meaning(LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY),
    _S.LBA_OUT_OF_RANGE: Meaning(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, at_lba=True),
    _S.CAPACITY_EXCEEDED: Meaning(SPACE_ALLOCATION_FAILED_WRITE_PROTECT),
    _S.NAMESPACE_NOT_READY: Meaning(
        LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE,
        transient=LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY,
    ),
    _S.RESERVATION_CONFLICT: Meaning(Status.RESERVATION_CONFLICT),
    _S.FORMAT_IN_PROGRESS: Meaning(LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS),
    _S.INVALID_FIRMWARE_SLOT: Meaning(INVALID_FIELD_IN_PARAMETER_LIST),
    _S.INVALID_FIRMWARE_IMAGE: Meaning(INVALID_FIELD_IN_PARAMETER_LIST),
    _S.INVALID_LOG_PAGE: Meaning(INVALID_FIELD_IN_CDB),
    _S.INVALID_FORMAT: Meaning(_ILLEGAL_FORMAT),
    # The image was taken; what remains is the reset that activates it.
    _S.FIRMWARE_NEEDS_CONVENTIONAL_RESET: Meaning(Status.GOOD),
    _S.FIRMWARE_NEEDS_SUBSYSTEM_RESET: Meaning(Status.GOOD),
    _S.FIRMWARE_NEEDS_CONTROLLER_RESET: Meaning(Status.GOOD),
    _S.FIRMWARE_NEEDS_MAXIMUM_TIME: Meaning(COMMAND_SEQUENCE_ERROR),
    _S.FIRMWARE_ACTIVATION_PROHIBITED: Meaning(WRITE_PROTECTED),
    _S.FEATURE_NOT_SAVEABLE: Meaning(SAVING_PARAMETERS_NOT_SUPPORTED),
    _S.FEATURE_NOT_CHANGEABLE: Meaning(INVALID_FIELD_IN_PARAMETER_LIST),
    _S.OVERLAPPING_RANGE: Meaning(INVALID_FIELD_IN_PARAMETER_LIST),
    _S.SELF_TEST_IN_PROGRESS: Meaning(LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS),
    _S.BOOT_PARTITION_WRITE_PROHIBITED: Meaning(WRITE_PROTECTED),
    _S.CONFLICTING_ATTRIBUTES: Meaning(INVALID_FIELD_IN_CDB),
    _S.INVALID_PROTECTION_INFORMATION: Meaning(INVALID_FIELD_IN_CDB),
    _S.WRITE_TO_READ_ONLY_RANGE: Meaning(WRITE_PROTECTED),
    _S.ZONE_BOUNDARY_ERROR: Meaning(WRITE_BOUNDARY_VIOLATION, reading=READ_BOUNDARY_VIOLATION),
    _S.ZONE_IS_FULL: Meaning(INVALID_FIELD_IN_CDB),
    _S.ZONE_IS_READ_ONLY: Meaning(ZONE_IS_READ_ONLY),
    _S.ZONE_IS_OFFLINE: Meaning(ZONE_IS_OFFLINE),
    _S.ZONE_INVALID_WRITE: Meaning(UNALIGNED_WRITE_COMMAND),
    _S.TOO_MANY_ACTIVE_ZONES: Meaning(INSUFFICIENT_ZONE_RESOURCES),
    _S.TOO_MANY_OPEN_ZONES: Meaning(INSUFFICIENT_ZONE_RESOURCES),
    _S.INVALID_ZONE_TRANSITION: Meaning(INVALID_FIELD_IN_CDB),
    _S.WRITE_FAULT: Meaning(PERIPHERAL_DEVICE_WRITE_FAULT, at_lba=True),
    _S.UNRECOVERED_READ_ERROR: Meaning(UNRECOVERED_READ_ERROR, at_lba=True),
    # ABORTED COMMAND, as SBC-3 has it and as initiators recognise it.
    _S.GUARD_CHECK_ERROR: Meaning(LOGICAL_BLOCK_GUARD_CHECK_FAILED, at_lba=True),
    _S.APPLICATION_TAG_CHECK_ERROR: Meaning(
        LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED, at_lba=True
    ),
    _S.REFERENCE_TAG_CHECK_ERROR: Meaning(LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED, at_lba=True),
    _S.COMPARE_FAILURE: Meaning(MISCOMPARE_DURING_VERIFY_OPERATION),
    _S.ACCESS_DENIED: Meaning(ACCESS_DENIED_NO_ACCESS_RIGHTS),
    _S.DEALLOCATED_OR_UNWRITTEN: Meaning(UNRECOVERED_READ_ERROR, at_lba=True),
    _S.STORAGE_TAG_CHECK_ERROR: Meaning(LOGICAL_BLOCK_GUARD_CHECK_FAILED, at_lba=True),
    _S.INTERNAL_PATH_ERROR: Meaning(DATA_PHASE_ERROR),
    _S.ANA_PERSISTENT_LOSS: Meaning(TARGET_PORT_IN_UNAVAILABLE_STATE),
    _S.ANA_INACCESSIBLE: Meaning(TARGET_PORT_IN_UNAVAILABLE_STATE),
    _S.ANA_TRANSITION: Meaning(ASYMMETRIC_ACCESS_STATE_TRANSITION),
    _S.CONTROLLER_PATHING_ERROR: Meaning(LOGICAL_UNIT_COMMUNICATION_FAILURE),
    _S.HOST_PATHING_ERROR: Meaning(LOGICAL_UNIT_COMMUNICATION_FAILURE),
    _S.ABORTED_BY_HOST: Meaning(_ABORTED),
}
_UNKNOWN = Meaning(INTERNAL_TARGET_FAILURE)
READING = frozenset({Opcode.READ, Opcode.COMPARE, Opcode.VERIFY})
_WITH_LBA = READING | {Opcode.WRITE, Opcode.WRITE_ZEROES, Opcode.WRITE_UNCORRECTABLE}


def result_of_status(opcode: int, status: int, dnr: bool, lba: int | None) -> Result:
    """Return how a SCSI command ends whose NVMe I/O command ended with `status`.

    `lba` is the first block that failed, None if that is not known.
    """
    meaning = meaning_of(status)
    if status and meaning.outcome is Status.GOOD:
        meaning = _UNKNOWN  # an admin command's status: no I/O command may claim it
    return _result(meaning, dnr, reading=opcode in READING, lba=lba)


def result_of(error: NvmeError, lba: int | None = None) -> Result:
    """Return how a SCSI command ends that does not handle the failure itself.

    `lba` is the first block that failed, where `tells_block` and that is known.
    """
    command, completion = error.command, error.completion
    if command.admin:
        return _result(meaning_of(completion.status), completion.dnr, reading=False, lba=None)
    return result_of_status(command.opcode, completion.status, completion.dnr, lba)


def tells_block(error: NvmeError) -> bool:
    """Whether a failure is one of a block, which initiators are told if it is known."""
    command = error.command
    at_lba = meaning_of(error.completion.status).at_lba
    return at_lba and not command.admin and command.opcode in _WITH_LBA


def meaning_of(status: int) -> Meaning:
    """Return what a status becomes; INTERNAL TARGET FAILURE if nobody knows it."""
    code = BY_VALUE.get(status)
    return _UNKNOWN if code is None else TABLE.get(code, _UNKNOWN)


def _result(meaning: Meaning, dnr: bool, *, reading: bool, lba: int | None) -> Result:
    outcome = meaning.outcome
    if reading and meaning.reading is not None:
        outcome = meaning.reading
    if not dnr and meaning.transient is not None:
        outcome = meaning.transient
    if isinstance(outcome, Status):
        return Result(outcome)
    return Result(
        Status.CHECK_CONDITION, Sense(outcome, information=lba if meaning.at_lba else None)
    )
