"""Sense keys, the table of additional sense codes, and sense data formats.

Spec: SPC-4 4.5 (sense data) and SPC-4 annex D (additional sense codes).
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.records import dataclass


class SenseKey(IntEnum):
    """Spec: SPC-4 4.5.6."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    MISCOMPARE = 0xE


@dataclass(frozen=True, slots=True)
class SenseCode:
    """A sense key with its additional sense code and qualifier, and T10's text."""

    key: SenseKey
    asc: int
    ascq: int
    text: str

    def __str__(self) -> str:
        return f"{self.key:X}/{self.asc:02X}/{self.ascq:02X} {self.text}"


@dataclass(frozen=True, slots=True)
class FieldPointer:
    """Which field was wrong: in the CDB or in the parameter data.

    `bit` is the field's most significant bit, None where the whole byte is
    meant. Spec: SPC-4 4.5.2.4.2.
    """

    byte: int
    bit: int | None = None
    in_cdb: bool = True


_MOST_FORWARDED = 32  # bytes of sense data


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What another logical unit has told a copy manager: its status, and its sense data if any.

    `by_destination`: the copy's destination has told it, else its source. Spec: SPC-5 4.4.2.8.
    """

    by_destination: bool
    status: int
    data: bytes = b""

    def fixed(self) -> bytes:
        """Return what stands behind the fixed format's 18 bytes. Spec: SPC-2 7.2.3."""
        return bytes([self.status]) + self.data[:_MOST_FORWARDED]

    def descriptor(self) -> bytes:
        """Return the forwarded sense data descriptor."""
        data = self.data[:_MOST_FORWARDED]
        cut = 0x80 if len(data) < len(self.data) else 0
        return bytes([0x0C, 2 + len(data), cut | 1 + self.by_destination, self.status]) + data


@dataclass(frozen=True, slots=True)
class Sense:
    """One sense datum, independent of the format in which it is delivered.

    `progress` is a fraction of 65536. `information` is an LBA or an offset. `segment` is that of a
    copy, from 0 on, and takes the place of `command_specific`.
    """

    code: SenseCode
    information: int | None = None
    command_specific: int | None = None
    pointer: FieldPointer | None = None
    progress: int | None = None
    retries: int | None = None
    deferred: bool = False
    segment: int | None = None
    forwarded: Forwarded | None = None

    @property
    def key(self) -> SenseKey:
        """The sense key."""
        return self.code.key

    def _sense_key_specific(self) -> bytes | None:
        """Return the three sense-key specific bytes. Spec: SPC-4 4.5.2.4."""
        if self.pointer is not None:
            flags = 0x80 | (0x40 if self.pointer.in_cdb else 0)
            if self.pointer.bit is not None:
                flags |= 0x08 | self.pointer.bit
            return bytes([flags]) + self.pointer.byte.to_bytes(2, "big")
        count = self.progress if self.progress is not None else self.retries
        if count is not None:
            return b"\x80" + min(count, 0xFFFF).to_bytes(2, "big")
        return None

    def fixed(self) -> bytes:
        """Return fixed format sense data, 18 bytes. Spec: SPC-4 4.5.3."""
        data = bytearray(18)
        data[0] = 0x71 if self.deferred else 0x70
        data[2] = self.code.key
        data[7] = len(data) - 8
        # An INFORMATION beyond 32 bits has no place here: VALID stays zero.
        if self.information is not None and self.information <= 0xFFFFFFFF:
            data[0] |= 0x80
            data[3:7] = self.information.to_bytes(4, "big")
        if self.command_specific is not None:
            data[8:12] = min(self.command_specific, 0xFFFFFFFF).to_bytes(4, "big")
        data[12], data[13] = self.code.asc, self.code.ascq
        if self.segment is not None:
            data[10:12] = self.segment.to_bytes(2, "big")
        specific = self._sense_key_specific()
        if specific is not None:
            data[15:18] = specific
        if self.forwarded is not None:
            data[9 if self.forwarded.by_destination else 8] = len(data)
            data += self.forwarded.fixed()
            data[7] = len(data) - 8
        return bytes(data)

    def descriptor(self) -> bytes:
        """Return descriptor format sense data. Spec: SPC-4 4.5.2."""
        descriptors = b""
        if self.information is not None:
            descriptors += b"\x00\x0a\x80\x00" + self.information.to_bytes(8, "big")
        told = self.command_specific if self.segment is None else self.segment
        if told is not None:
            descriptors += b"\x01\x0a\x00\x00" + told.to_bytes(8, "big")
        specific = self._sense_key_specific()
        if specific is not None:
            descriptors += b"\x02\x06\x00\x00" + specific + b"\x00"
        if self.forwarded is not None:
            descriptors += self.forwarded.descriptor()
        head = [0x73 if self.deferred else 0x72, self.code.key, self.code.asc, self.code.ascq]
        return bytes([*head, 0, 0, 0, len(descriptors)]) + descriptors

    def data(self, descriptor_format: bool) -> bytes:
        """Return the sense data in the format that D_SENSE asks for."""
        return self.descriptor() if descriptor_format else self.fixed()


_K = SenseKey
NO_ADDITIONAL_SENSE_INFORMATION = SenseCode(
    _K.NO_SENSE, 0x00, 0x00, "NO ADDITIONAL SENSE INFORMATION"
)
PERIPHERAL_DEVICE_WRITE_FAULT = SenseCode(
    _K.MEDIUM_ERROR, 0x03, 0x00, "PERIPHERAL DEVICE WRITE FAULT"
)
OPERATION_IN_PROGRESS = SenseCode(_K.ILLEGAL_REQUEST, 0x00, 0x16, "OPERATION IN PROGRESS")
LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE = SenseCode(
    _K.NOT_READY, 0x04, 0x00, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE"
)
LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY = SenseCode(
    _K.NOT_READY, 0x04, 0x01, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY"
)
LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED = SenseCode(
    _K.NOT_READY, 0x04, 0x02, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED"
)
LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS = SenseCode(
    _K.NOT_READY, 0x04, 0x04, "LOGICAL UNIT NOT READY, FORMAT IN PROGRESS"
)
LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS = SenseCode(
    _K.NOT_READY, 0x04, 0x09, "LOGICAL UNIT NOT READY, SELF-TEST IN PROGRESS"
)
ASYMMETRIC_ACCESS_STATE_TRANSITION = SenseCode(
    _K.NOT_READY, 0x04, 0x0A, "LOGICAL UNIT NOT ACCESSIBLE, ASYMMETRIC ACCESS STATE TRANSITION"
)
TARGET_PORT_IN_UNAVAILABLE_STATE = SenseCode(
    _K.NOT_READY, 0x04, 0x0C, "LOGICAL UNIT NOT ACCESSIBLE, TARGET PORT IN UNAVAILABLE STATE"
)
LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS = SenseCode(
    _K.NOT_READY, 0x04, 0x1B, "LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS"
)
LOGICAL_UNIT_COMMUNICATION_FAILURE = SenseCode(
    _K.ABORTED_COMMAND, 0x08, 0x00, "LOGICAL UNIT COMMUNICATION FAILURE"
)
UNREACHABLE_COPY_TARGET = SenseCode(_K.COPY_ABORTED, 0x08, 0x04, "UNREACHABLE COPY TARGET")
THIRD_PARTY_DEVICE_FAILURE = SenseCode(_K.COPY_ABORTED, 0x0D, 0x01, "THIRD PARTY DEVICE FAILURE")
COPY_TARGET_DEVICE_NOT_REACHABLE = SenseCode(
    _K.COPY_ABORTED, 0x0D, 0x02, "COPY TARGET DEVICE NOT REACHABLE"
)
INCORRECT_COPY_TARGET_DEVICE_TYPE = SenseCode(
    _K.COPY_ABORTED, 0x0D, 0x03, "INCORRECT COPY TARGET DEVICE TYPE"
)
COPY_TARGET_DEVICE_DATA_UNDERRUN = SenseCode(
    _K.COPY_ABORTED, 0x0D, 0x04, "COPY TARGET DEVICE DATA UNDERRUN"
)
TOKEN_DATA_UNDERRUN = SenseCode(_K.ILLEGAL_REQUEST, 0x0D, 0x04, "COPY TARGET DEVICE DATA UNDERRUN")
UNEXPECTED_INEXACT_SEGMENT = SenseCode(_K.COPY_ABORTED, 0x26, 0x0A, "UNEXPECTED INEXACT SEGMENT")
INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = SenseCode(
    _K.ILLEGAL_REQUEST, 0x0E, 0x03, "INVALID FIELD IN COMMAND INFORMATION UNIT"
)
LOGICAL_BLOCK_GUARD_CHECK_FAILED = SenseCode(
    _K.ABORTED_COMMAND, 0x10, 0x01, "LOGICAL BLOCK GUARD CHECK FAILED"
)
LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED = SenseCode(
    _K.ABORTED_COMMAND, 0x10, 0x02, "LOGICAL BLOCK APPLICATION TAG CHECK FAILED"
)
LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED = SenseCode(
    _K.ABORTED_COMMAND, 0x10, 0x03, "LOGICAL BLOCK REFERENCE TAG CHECK FAILED"
)
UNRECOVERED_READ_ERROR = SenseCode(_K.MEDIUM_ERROR, 0x11, 0x00, "UNRECOVERED READ ERROR")
PARAMETER_LIST_LENGTH_ERROR = SenseCode(
    _K.ILLEGAL_REQUEST, 0x1A, 0x00, "PARAMETER LIST LENGTH ERROR"
)
MISCOMPARE_DURING_VERIFY_OPERATION = SenseCode(
    _K.MISCOMPARE, 0x1D, 0x00, "MISCOMPARE DURING VERIFY OPERATION"
)
INVALID_COMMAND_OPERATION_CODE = SenseCode(
    _K.ILLEGAL_REQUEST, 0x20, 0x00, "INVALID COMMAND OPERATION CODE"
)
ACCESS_DENIED_NO_ACCESS_RIGHTS = SenseCode(
    _K.DATA_PROTECT, 0x20, 0x02, "ACCESS DENIED - NO ACCESS RIGHTS"
)
LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE = SenseCode(
    _K.ILLEGAL_REQUEST, 0x21, 0x00, "LOGICAL BLOCK ADDRESS OUT OF RANGE"
)
UNALIGNED_WRITE_COMMAND = SenseCode(_K.ILLEGAL_REQUEST, 0x21, 0x04, "UNALIGNED WRITE COMMAND")
WRITE_BOUNDARY_VIOLATION = SenseCode(_K.ILLEGAL_REQUEST, 0x21, 0x05, "WRITE BOUNDARY VIOLATION")
READ_BOUNDARY_VIOLATION = SenseCode(_K.ILLEGAL_REQUEST, 0x21, 0x07, "READ BOUNDARY VIOLATION")
ATTEMPT_TO_ACCESS_GAP_ZONE = SenseCode(_K.ILLEGAL_REQUEST, 0x21, 0x09, "ATTEMPT TO ACCESS GAP ZONE")
INVALID_TOKEN_OPERATION = SenseCode(
    _K.ILLEGAL_REQUEST, 0x23, 0x00, "INVALID TOKEN OPERATION, CAUSE NOT REPORTABLE"
)
UNSUPPORTED_TOKEN_TYPE = SenseCode(
    _K.ILLEGAL_REQUEST, 0x23, 0x01, "INVALID TOKEN OPERATION, UNSUPPORTED TOKEN TYPE"
)
TOKEN_UNKNOWN = SenseCode(_K.ILLEGAL_REQUEST, 0x23, 0x04, "INVALID TOKEN OPERATION, TOKEN UNKNOWN")
TOKEN_REVOKED = SenseCode(_K.ILLEGAL_REQUEST, 0x23, 0x06, "INVALID TOKEN OPERATION, TOKEN REVOKED")
TOKEN_EXPIRED = SenseCode(_K.ILLEGAL_REQUEST, 0x23, 0x07, "INVALID TOKEN OPERATION, TOKEN EXPIRED")
TOKEN_CANCELLED = SenseCode(
    _K.ILLEGAL_REQUEST, 0x23, 0x08, "INVALID TOKEN OPERATION, TOKEN CANCELLED"
)
TOKEN_DELETED = SenseCode(_K.ILLEGAL_REQUEST, 0x23, 0x09, "INVALID TOKEN OPERATION, TOKEN DELETED")
INVALID_TOKEN_LENGTH = SenseCode(
    _K.ILLEGAL_REQUEST, 0x23, 0x0A, "INVALID TOKEN OPERATION, INVALID TOKEN LENGTH"
)
INVALID_FIELD_IN_CDB = SenseCode(_K.ILLEGAL_REQUEST, 0x24, 0x00, "INVALID FIELD IN CDB")
LOGICAL_UNIT_NOT_SUPPORTED = SenseCode(_K.ILLEGAL_REQUEST, 0x25, 0x00, "LOGICAL UNIT NOT SUPPORTED")
INVALID_FIELD_IN_PARAMETER_LIST = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x00, "INVALID FIELD IN PARAMETER LIST"
)
TOO_MANY_TARGET_DESCRIPTORS = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x06, "TOO MANY TARGET DESCRIPTORS"
)
UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x07, "UNSUPPORTED TARGET DESCRIPTOR TYPE CODE"
)
TOO_MANY_SEGMENT_DESCRIPTORS = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x08, "TOO MANY SEGMENT DESCRIPTORS"
)
UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x09, "UNSUPPORTED SEGMENT DESCRIPTOR TYPE CODE"
)
INVALID_OPERATION_FOR_COPY_SOURCE_OR_DESTINATION = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x0C, "INVALID OPERATION FOR COPY SOURCE OR DESTINATION"
)
INLINE_DATA_LENGTH_EXCEEDED = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x0B, "INLINE DATA LENGTH EXCEEDED"
)
INVALID_RELEASE_OF_PERSISTENT_RESERVATION = SenseCode(
    _K.ILLEGAL_REQUEST, 0x26, 0x04, "INVALID RELEASE OF PERSISTENT RESERVATION"
)
WRITE_PROTECTED = SenseCode(_K.DATA_PROTECT, 0x27, 0x00, "WRITE PROTECTED")
SOFTWARE_WRITE_PROTECTED = SenseCode(
    _K.DATA_PROTECT, 0x27, 0x02, "LOGICAL UNIT SOFTWARE WRITE PROTECTED"
)
SPACE_ALLOCATION_FAILED_WRITE_PROTECT = SenseCode(
    _K.DATA_PROTECT, 0x27, 0x07, "SPACE ALLOCATION FAILED WRITE PROTECT"
)
ZONE_IS_READ_ONLY = SenseCode(_K.DATA_PROTECT, 0x27, 0x08, "ZONE IS READ ONLY")
POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED = SenseCode(
    _K.UNIT_ATTENTION, 0x29, 0x00, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"
)
BUS_DEVICE_RESET_FUNCTION_OCCURRED = SenseCode(
    _K.UNIT_ATTENTION, 0x29, 0x03, "BUS DEVICE RESET FUNCTION OCCURRED"
)
NOT_READY_TO_READY_CHANGE = SenseCode(
    _K.UNIT_ATTENTION, 0x28, 0x00, "NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED"
)
I_T_NEXUS_LOSS_OCCURRED = SenseCode(_K.UNIT_ATTENTION, 0x29, 0x07, "I_T NEXUS LOSS OCCURRED")
MODE_PARAMETERS_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x01, "MODE PARAMETERS CHANGED")
LOG_PARAMETERS_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x02, "LOG PARAMETERS CHANGED")
RESERVATIONS_PREEMPTED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x03, "RESERVATIONS PREEMPTED")
RESERVATIONS_RELEASED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x04, "RESERVATIONS RELEASED")
REGISTRATIONS_PREEMPTED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x05, "REGISTRATIONS PREEMPTED")
ASYMMETRIC_ACCESS_STATE_CHANGED = SenseCode(
    _K.UNIT_ATTENTION, 0x2A, 0x06, "ASYMMETRIC ACCESS STATE CHANGED"
)
CAPACITY_DATA_HAS_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x09, "CAPACITY DATA HAS CHANGED")
ERROR_HISTORY_I_T_NEXUS_CLEARED = SenseCode(
    _K.UNIT_ATTENTION, 0x2A, 0x0A, "ERROR HISTORY I_T NEXUS CLEARED"
)
TIMESTAMP_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x2A, 0x10, "TIMESTAMP CHANGED")
COMMAND_SEQUENCE_ERROR = SenseCode(_K.ILLEGAL_REQUEST, 0x2C, 0x00, "COMMAND SEQUENCE ERROR")
STREAM_NOT_OPEN = SenseCode(_K.ILLEGAL_REQUEST, 0x2C, 0x0F, "STREAM NOT OPEN")
ZONE_IS_OFFLINE = SenseCode(_K.DATA_PROTECT, 0x2C, 0x0E, "ZONE IS OFFLINE")
COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = SenseCode(
    _K.UNIT_ATTENTION, 0x2F, 0x00, "COMMANDS CLEARED BY ANOTHER INITIATOR"
)
MEDIUM_FORMAT_CORRUPTED = SenseCode(_K.MEDIUM_ERROR, 0x31, 0x00, "MEDIUM FORMAT CORRUPTED")
FORMAT_COMMAND_FAILED = SenseCode(_K.MEDIUM_ERROR, 0x31, 0x01, "FORMAT COMMAND FAILED")
SANITIZE_COMMAND_FAILED = SenseCode(_K.MEDIUM_ERROR, 0x31, 0x03, "SANITIZE COMMAND FAILED")
SAVING_PARAMETERS_NOT_SUPPORTED = SenseCode(
    _K.ILLEGAL_REQUEST, 0x39, 0x00, "SAVING PARAMETERS NOT SUPPORTED"
)
MEDIUM_REMOVAL_PREVENTED = SenseCode(_K.ILLEGAL_REQUEST, 0x53, 0x02, "MEDIUM REMOVAL PREVENTED")
MEDIUM_NOT_PRESENT = SenseCode(_K.NOT_READY, 0x3A, 0x00, "MEDIUM NOT PRESENT")
ENCLOSURE_FAILURE = SenseCode(_K.HARDWARE_ERROR, 0x34, 0x00, "ENCLOSURE FAILURE")
ENCLOSURE_SERVICES_FAILURE = SenseCode(_K.HARDWARE_ERROR, 0x35, 0x00, "ENCLOSURE SERVICES FAILURE")
UNSUPPORTED_ENCLOSURE_FUNCTION = SenseCode(
    _K.ILLEGAL_REQUEST, 0x35, 0x01, "UNSUPPORTED ENCLOSURE FUNCTION"
)
ENCLOSURE_SERVICES_UNAVAILABLE = SenseCode(
    _K.NOT_READY, 0x35, 0x02, "ENCLOSURE SERVICES UNAVAILABLE"
)
ENCLOSURE_SERVICES_TRANSFER_FAILURE = SenseCode(
    _K.HARDWARE_ERROR, 0x35, 0x03, "ENCLOSURE SERVICES TRANSFER FAILURE"
)
ENCLOSURE_SERVICES_TRANSFER_REFUSED = SenseCode(
    _K.ILLEGAL_REQUEST, 0x35, 0x04, "ENCLOSURE SERVICES TRANSFER REFUSED"
)
LOGICAL_UNIT_FAILED_SELF_TEST = SenseCode(
    _K.HARDWARE_ERROR, 0x3E, 0x03, "LOGICAL UNIT FAILED SELF-TEST"
)
MICROCODE_HAS_BEEN_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x3F, 0x01, "MICROCODE HAS BEEN CHANGED")
THIN_PROVISIONING_SOFT_THRESHOLD_REACHED = SenseCode(
    _K.UNIT_ATTENTION, 0x38, 0x07, "THIN PROVISIONING SOFT THRESHOLD REACHED"
)
INQUIRY_DATA_HAS_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x3F, 0x03, "INQUIRY DATA HAS CHANGED")
DEVICE_IDENTIFIER_CHANGED = SenseCode(_K.UNIT_ATTENTION, 0x3F, 0x05, "DEVICE IDENTIFIER CHANGED")
REPORTED_LUNS_DATA_HAS_CHANGED = SenseCode(
    _K.UNIT_ATTENTION, 0x3F, 0x0E, "REPORTED LUNS DATA HAS CHANGED"
)
PERSISTENT_RESERVATION_INFORMATION_LOST = SenseCode(
    _K.DATA_PROTECT, 0x44, 0x01, "PERSISTENT RESERVATION INFORMATION LOST"
)
INTERNAL_TARGET_FAILURE = SenseCode(_K.HARDWARE_ERROR, 0x44, 0x00, "INTERNAL TARGET FAILURE")
INVALID_MESSAGE_ERROR = SenseCode(_K.ILLEGAL_REQUEST, 0x49, 0x00, "INVALID MESSAGE ERROR")
DATA_PHASE_ERROR = SenseCode(_K.ABORTED_COMMAND, 0x4B, 0x00, "DATA PHASE ERROR")
INSUFFICIENT_REGISTRATION_RESOURCES = SenseCode(
    _K.ILLEGAL_REQUEST, 0x55, 0x04, "INSUFFICIENT REGISTRATION RESOURCES"
)
INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN = SenseCode(
    _K.ILLEGAL_REQUEST, 0x55, 0x0D, "INSUFFICIENT RESOURCES TO CREATE ROD TOKEN"
)
INSUFFICIENT_ZONE_RESOURCES = SenseCode(_K.DATA_PROTECT, 0x55, 0x0E, "INSUFFICIENT ZONE RESOURCES")
MAXIMUM_NUMBER_OF_STREAMS_OPEN = SenseCode(
    _K.ILLEGAL_REQUEST, 0x55, 0x10, "MAXIMUM NUMBER OF STREAMS OPEN"
)
IDLE_CONDITION_ACTIVATED_BY_TIMER = SenseCode(
    _K.NO_SENSE, 0x5E, 0x01, "IDLE CONDITION ACTIVATED BY TIMER"
)
STANDBY_CONDITION_ACTIVATED_BY_TIMER = SenseCode(
    _K.NO_SENSE, 0x5E, 0x02, "STANDBY CONDITION ACTIVATED BY TIMER"
)
IDLE_CONDITION_ACTIVATED_BY_COMMAND = SenseCode(
    _K.NO_SENSE, 0x5E, 0x03, "IDLE CONDITION ACTIVATED BY COMMAND"
)
STANDBY_CONDITION_ACTIVATED_BY_COMMAND = SenseCode(
    _K.NO_SENSE, 0x5E, 0x04, "STANDBY CONDITION ACTIVATED BY COMMAND"
)
IDLE_B_CONDITION_ACTIVATED_BY_TIMER = SenseCode(
    _K.NO_SENSE, 0x5E, 0x05, "IDLE_B CONDITION ACTIVATED BY TIMER"
)
IDLE_B_CONDITION_ACTIVATED_BY_COMMAND = SenseCode(
    _K.NO_SENSE, 0x5E, 0x06, "IDLE_B CONDITION ACTIVATED BY COMMAND"
)
IDLE_C_CONDITION_ACTIVATED_BY_TIMER = SenseCode(
    _K.NO_SENSE, 0x5E, 0x07, "IDLE_C CONDITION ACTIVATED BY TIMER"
)
IDLE_C_CONDITION_ACTIVATED_BY_COMMAND = SenseCode(
    _K.NO_SENSE, 0x5E, 0x08, "IDLE_C CONDITION ACTIVATED BY COMMAND"
)
STANDBY_Y_CONDITION_ACTIVATED_BY_TIMER = SenseCode(
    _K.NO_SENSE, 0x5E, 0x09, "STANDBY_Y CONDITION ACTIVATED BY TIMER"
)
STANDBY_Y_CONDITION_ACTIVATED_BY_COMMAND = SenseCode(
    _K.NO_SENSE, 0x5E, 0x0A, "STANDBY_Y CONDITION ACTIVATED BY COMMAND"
)
SET_TARGET_PORT_GROUPS_COMMAND_FAILED = SenseCode(
    _K.HARDWARE_ERROR, 0x67, 0x0A, "SET TARGET PORT GROUPS COMMAND FAILED"
)
# Informational exceptions, under the key with which REQUEST SENSE tells them (SPC-4 7.5.11).
INFORMATIONAL_TEMPERATURE_EXCEEDED = SenseCode(
    _K.NO_SENSE, 0x0B, 0x01, "WARNING - SPECIFIED TEMPERATURE EXCEEDED"
)
INFORMATIONAL_CACHE_NOW_VOLATILE = SenseCode(
    _K.NO_SENSE, 0x0B, 0x06, "WARNING - NON-VOLATILE CACHE NOW VOLATILE"
)
INFORMATIONAL_FAILURE_PREDICTED = SenseCode(
    _K.NO_SENSE, 0x5D, 0x02, "LOGICAL UNIT FAILURE PREDICTION THRESHOLD EXCEEDED"
)
INFORMATIONAL_SPARE_AREA_EXHAUSTION = SenseCode(
    _K.NO_SENSE, 0x5D, 0x03, "SPARE AREA EXHAUSTION PREDICTION THRESHOLD EXCEEDED"
)
INFORMATIONAL_HARDWARE_IMPENDING_FAILURE = SenseCode(
    _K.NO_SENSE, 0x5D, 0x10, "HARDWARE IMPENDING FAILURE GENERAL HARD DRIVE FAILURE"
)
INFORMATIONAL_FALSE_FAILURE_PREDICTED = SenseCode(
    _K.NO_SENSE, 0x5D, 0xFF, "FAILURE PREDICTION THRESHOLD EXCEEDED (FALSE)"
)
