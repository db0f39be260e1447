"""NVMe status codes.

A status is SCT << 8 | SC, as `Completion.status` holds it.
Spec: NVMe Base 2.0c 3.3.3.2.1 (status field).
"""

from __future__ import annotations

from enum import IntEnum

_BASE = "NVMe Base 2.0c 3.3.3.2.1"
_NVM = "NVM Command Set 1.0c 3.1"
_ZNS = "Zoned Namespace Command Set 1.1b 3.1"

MAXIMUM = 0x7FF


class StatusType(IntEnum):
    """Status Code Type."""

    GENERIC = 0
    COMMAND_SPECIFIC = 1
    MEDIA = 2
    PATH = 3
    VENDOR_SPECIFIC = 7


class StatusCode(IntEnum):
    """The statuses that the specifications name; `text` and `spec` come with each."""

    text: str
    spec: str

    def __new__(cls, value: int, text: str, spec: str) -> StatusCode:
        """Return a member that is its number and carries its text and clause."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.text = text
        member.spec = spec
        return member

    SUCCESS = 0x000, "Successful Completion", _BASE
    INVALID_OPCODE = 0x001, "Invalid Command Opcode", _BASE
    INVALID_FIELD = 0x002, "Invalid Field in Command", _BASE
    COMMAND_ID_CONFLICT = 0x003, "Command ID Conflict", _BASE
    DATA_TRANSFER_ERROR = 0x004, "Data Transfer Error", _BASE
    ABORTED_POWER_LOSS = 0x005, "Commands Aborted due to Power Loss Notification", _BASE
    INTERNAL_ERROR = 0x006, "Internal Error", _BASE
    ABORT_REQUESTED = 0x007, "Command Abort Requested", _BASE
    ABORTED_SQ_DELETION = 0x008, "Command Aborted due to SQ Deletion", _BASE
    FAILED_FUSED = 0x009, "Command Aborted due to Failed Fused Command", _BASE
    MISSING_FUSED = 0x00A, "Command Aborted due to Missing Fused Command", _BASE
    INVALID_NAMESPACE = 0x00B, "Invalid Namespace or Format", _BASE
    COMMAND_SEQUENCE_ERROR = 0x00C, "Command Sequence Error", _BASE
    INVALID_SGL_SEGMENT = 0x00D, "Invalid SGL Segment Descriptor", _BASE
    INVALID_SGL_COUNT = 0x00E, "Invalid Number of SGL Descriptors", _BASE
    INVALID_SGL_DATA_LENGTH = 0x00F, "Data SGL Length Invalid", _BASE
    INVALID_SGL_METADATA_LENGTH = 0x010, "Metadata SGL Length Invalid", _BASE
    INVALID_SGL_TYPE = 0x011, "SGL Descriptor Type Invalid", _BASE
    INVALID_CMB_USE = 0x012, "Invalid Use of Controller Memory Buffer", _BASE
    INVALID_PRP_OFFSET = 0x013, "PRP Offset Invalid", _BASE
    ATOMIC_WRITE_UNIT_EXCEEDED = 0x014, "Atomic Write Unit Exceeded", _BASE
    OPERATION_DENIED = 0x015, "Operation Denied", _BASE
    INVALID_SGL_OFFSET = 0x016, "SGL Offset Invalid", _BASE
    HOST_ID_INCONSISTENT = 0x018, "Host Identifier Inconsistent Format", _BASE
    KEEP_ALIVE_EXPIRED = 0x019, "Keep Alive Timer Expired", _BASE
    KEEP_ALIVE_INVALID = 0x01A, "Keep Alive Timeout Invalid", _BASE
    PREEMPT_ABORT = 0x01B, "Command Aborted due to Preempt and Abort", _BASE
    SANITIZE_FAILED = 0x01C, "Sanitize Failed", _BASE
    SANITIZE_IN_PROGRESS = 0x01D, "Sanitize In Progress", _BASE
    SGL_GRANULARITY_INVALID = 0x01E, "SGL Data Block Granularity Invalid", _BASE
    NOT_SUPPORTED_FOR_CMB_QUEUE = 0x01F, "Command Not Supported for Queue in CMB", _BASE
    NAMESPACE_WRITE_PROTECTED = 0x020, "Namespace is Write Protected", _BASE
    COMMAND_INTERRUPTED = 0x021, "Command Interrupted", _BASE
    TRANSIENT_TRANSPORT_ERROR = 0x022, "Transient Transport Error", _BASE
    PROHIBITED_BY_LOCKDOWN = 0x023, "Command Prohibited by Command and Feature Lockdown", _BASE
    ADMIN_MEDIA_NOT_READY = 0x024, "Admin Command Media Not Ready", _BASE
    LBA_OUT_OF_RANGE = 0x080, "LBA Out of Range", _BASE
    CAPACITY_EXCEEDED = 0x081, "Capacity Exceeded", _BASE
    NAMESPACE_NOT_READY = 0x082, "Namespace Not Ready", _BASE
    RESERVATION_CONFLICT = 0x083, "Reservation Conflict", _BASE
    FORMAT_IN_PROGRESS = 0x084, "Format In Progress", _BASE

    INVALID_COMPLETION_QUEUE = 0x100, "Completion Queue Invalid", _BASE
    INVALID_QUEUE_IDENTIFIER = 0x101, "Invalid Queue Identifier", _BASE
    INVALID_QUEUE_SIZE = 0x102, "Invalid Queue Size", _BASE
    ABORT_LIMIT_EXCEEDED = 0x103, "Abort Command Limit Exceeded", _BASE
    ASYNC_EVENT_LIMIT_EXCEEDED = 0x105, "Asynchronous Event Request Limit Exceeded", _BASE
    INVALID_FIRMWARE_SLOT = 0x106, "Invalid Firmware Slot", _BASE
    INVALID_FIRMWARE_IMAGE = 0x107, "Invalid Firmware Image", _BASE
    INVALID_INTERRUPT_VECTOR = 0x108, "Invalid Interrupt Vector", _BASE
    INVALID_LOG_PAGE = 0x109, "Invalid Log Page", _BASE
    INVALID_FORMAT = 0x10A, "Invalid Format", _BASE
    FIRMWARE_NEEDS_CONVENTIONAL_RESET = (
        0x10B,
        "Firmware Activation Requires Conventional Reset",
        _BASE,
    )
    INVALID_QUEUE_DELETION = 0x10C, "Invalid Queue Deletion", _BASE
    FEATURE_NOT_SAVEABLE = 0x10D, "Feature Identifier Not Saveable", _BASE
    FEATURE_NOT_CHANGEABLE = 0x10E, "Feature Not Changeable", _BASE
    FEATURE_NOT_NAMESPACE_SPECIFIC = 0x10F, "Feature Not Namespace Specific", _BASE
    FIRMWARE_NEEDS_SUBSYSTEM_RESET = (
        0x110,
        "Firmware Activation Requires NVM Subsystem Reset",
        _BASE,
    )
    FIRMWARE_NEEDS_CONTROLLER_RESET = (
        0x111,
        "Firmware Activation Requires Controller Level Reset",
        _BASE,
    )
    FIRMWARE_NEEDS_MAXIMUM_TIME = (
        0x112,
        "Firmware Activation Requires Maximum Time Violation",
        _BASE,
    )
    FIRMWARE_ACTIVATION_PROHIBITED = 0x113, "Firmware Activation Prohibited", _BASE
    OVERLAPPING_RANGE = 0x114, "Overlapping Range", _BASE
    INSUFFICIENT_CAPACITY = 0x115, "Namespace Insufficient Capacity", _BASE
    NAMESPACE_IDENTIFIER_UNAVAILABLE = 0x116, "Namespace Identifier Unavailable", _BASE
    NAMESPACE_ALREADY_ATTACHED = 0x118, "Namespace Already Attached", _BASE
    NAMESPACE_PRIVATE = 0x119, "Namespace Is Private", _BASE
    NAMESPACE_NOT_ATTACHED = 0x11A, "Namespace Not Attached", _BASE
    THIN_PROVISIONING_NOT_SUPPORTED = 0x11B, "Thin Provisioning Not Supported", _BASE
    INVALID_CONTROLLER_LIST = 0x11C, "Controller List Invalid", _BASE
    SELF_TEST_IN_PROGRESS = 0x11D, "Device Self-test In Progress", _BASE
    BOOT_PARTITION_WRITE_PROHIBITED = 0x11E, "Boot Partition Write Prohibited", _BASE
    INVALID_CONTROLLER_IDENTIFIER = 0x11F, "Invalid Controller Identifier", _BASE
    IO_COMMAND_SET_NOT_SUPPORTED = 0x129, "I/O Command Set Not Supported", _BASE
    STREAM_RESOURCE_ALLOCATION_FAILED = 0x17F, "Stream Resource Allocation Failed", _BASE
    CONFLICTING_ATTRIBUTES = 0x180, "Conflicting Attributes", _NVM
    INVALID_PROTECTION_INFORMATION = 0x181, "Invalid Protection Information", _NVM
    WRITE_TO_READ_ONLY_RANGE = 0x182, "Attempted Write to Read Only Range", _NVM
    COMMAND_SIZE_LIMIT_EXCEEDED = 0x183, "Command Size Limit Exceeded", _NVM
    ZONE_BOUNDARY_ERROR = 0x1B8, "Zoned Boundary Error", _ZNS
    ZONE_IS_FULL = 0x1B9, "Zone Is Full", _ZNS
    ZONE_IS_READ_ONLY = 0x1BA, "Zone Is Read Only", _ZNS
    ZONE_IS_OFFLINE = 0x1BB, "Zone Is Offline", _ZNS
    ZONE_INVALID_WRITE = 0x1BC, "Zone Invalid Write", _ZNS
    TOO_MANY_ACTIVE_ZONES = 0x1BD, "Too Many Active Zones", _ZNS
    TOO_MANY_OPEN_ZONES = 0x1BE, "Too Many Open Zones", _ZNS
    INVALID_ZONE_TRANSITION = 0x1BF, "Invalid Zone State Transition", _ZNS

    WRITE_FAULT = 0x280, "Write Fault", _BASE
    UNRECOVERED_READ_ERROR = 0x281, "Unrecovered Read Error", _BASE
    GUARD_CHECK_ERROR = 0x282, "End-to-end Guard Check Error", _BASE
    APPLICATION_TAG_CHECK_ERROR = 0x283, "End-to-end Application Tag Check Error", _BASE
    REFERENCE_TAG_CHECK_ERROR = 0x284, "End-to-end Reference Tag Check Error", _BASE
    COMPARE_FAILURE = 0x285, "Compare Failure", _BASE
    ACCESS_DENIED = 0x286, "Access Denied", _BASE
    DEALLOCATED_OR_UNWRITTEN = 0x287, "Deallocated or Unwritten Logical Block", _BASE
    STORAGE_TAG_CHECK_ERROR = 0x288, "End-to-End Storage Tag Check Error", _BASE

    INTERNAL_PATH_ERROR = 0x300, "Internal Path Error", _BASE
    ANA_PERSISTENT_LOSS = 0x301, "Asymmetric Access Persistent Loss", _BASE
    ANA_INACCESSIBLE = 0x302, "Asymmetric Access Inaccessible", _BASE
    ANA_TRANSITION = 0x303, "Asymmetric Access Transition", _BASE
    CONTROLLER_PATHING_ERROR = 0x360, "Controller Pathing Error", _BASE
    HOST_PATHING_ERROR = 0x370, "Host Pathing Error", _BASE
    ABORTED_BY_HOST = 0x371, "Command Aborted By Host", _BASE

    @property
    def type(self) -> StatusType:
        """The status code type."""
        return StatusType(self >> 8)

    @property
    def code(self) -> int:
        """The status code within its type."""
        return self & 0xFF


BY_VALUE: dict[int, StatusCode] = {int(code): code for code in StatusCode}


def describe(status: int) -> str:
    """Return a status for people: its text and its numbers."""
    code = BY_VALUE.get(status)
    text = "unknown status" if code is None else code.text
    return f"{text} (SCT {status >> 8:X}h SC {status & 0xFF:02X}h)"


_RETRYABLE = frozenset(
    {
        StatusCode.ABORT_REQUESTED,
        StatusCode.ABORTED_SQ_DELETION,
        StatusCode.COMMAND_INTERRUPTED,
        StatusCode.TRANSIENT_TRANSPORT_ERROR,
        StatusCode.NAMESPACE_NOT_READY,
    }
)


def is_retryable(status: int) -> bool:
    """Whether the same command may well succeed when sent again (DNR being zero)."""
    return status in _RETRYABLE
