"""Layouts and codes of the PDUs that Python speaks.

SCSI commands, data and NOPs are the native data plane's. Sequence numbers of
full-feature responses are filled in there too. Spec: RFC 7143 11.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure

BHS_BYTES = 48
DEFAULT_DATA_SEGMENT_LENGTH = 8192  # MaxRecvDataSegmentLength before it is declared
RESERVED_TAG = 0xFFFFFFFF


class Opcode(IntEnum):
    """Spec: RFC 7143 11.2.1.2."""

    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    LOGOUT_REQUEST = 0x06
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    LOGOUT_RESPONSE = 0x26
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class Stage(IntEnum):
    """CSG and NSG. Spec: RFC 7143 11.12.3."""

    SECURITY_NEGOTIATION = 0
    OPERATIONAL_NEGOTIATION = 1
    FULL_FEATURE_PHASE = 3


class LoginStatus(IntEnum):
    """Status-Class in the high byte, Status-Detail in the low. Spec: RFC 7143 11.13.5."""

    SUCCESS = 0x0000
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class RejectReason(IntEnum):
    """Spec: RFC 7143 11.17.1."""

    PROTOCOL_ERROR = 0x04
    INVALID_PDU_FIELD = 0x09


class LogoutReason(IntEnum):
    """Spec: RFC 7143 11.14.1."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_FOR_RECOVERY = 2


class LogoutResponse(IntEnum):
    """Spec: RFC 7143 11.15.1."""

    CLOSED = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2


class AsyncEvent(IntEnum):
    """Spec: RFC 7143 11.9.1."""

    LOGOUT_REQUESTED = 1


_COMMON = (
    Field("opcode", 0, 0, 6),
    Field("total_ahs_length", 4, 0, 8, "in words of four bytes"),
    Field("data_segment_length", 5, 0, 24),
    Field("itt", 16, 0, 32, "Initiator Task Tag"),
)
_REQUEST = (
    *_COMMON,
    Field("immediate", 0, 6, 1),
    Field("cmd_sn", 24, 0, 32),
    Field("exp_stat_sn", 28, 0, 32),
)
_RESPONSE = (
    *_COMMON,
    Field("stat_sn", 24, 0, 32),
    Field("exp_cmd_sn", 28, 0, 32),
    Field("max_cmd_sn", 32, 0, 32),
)
_FINAL = Field("final", 1, 7, 1)
_CONTINUED = Field("continued", 1, 6, 1, "C: the key=value pairs go on in the next PDU")
_LUN = Field("lun", 8, 0, 64)
_TTT = Field("ttt", 20, 0, 32, "Target Transfer Tag")
_LOGIN = (
    Field("transit", 1, 7, 1),
    _CONTINUED,
    Field("csg", 1, 2, 2),
    Field("nsg", 1, 0, 2),
    Field("isid", 8, 0, 48),
    Field("tsih", 14, 0, 16),
)


def _bhs(name: str, clause: str, *fields: Field) -> Structure:
    return Structure(name, BHS_BYTES, fields, spec=f"RFC 7143 {clause}")


# What all PDUs share: enough to know which one it is and how long.
HEADER = _bhs("BHS", "11.2.1", *_COMMON)
TASK_MANAGEMENT_REQUEST = _bhs(
    "Task Management Function Request",
    "11.5",
    *_REQUEST,
    _FINAL,
    Field("function", 1, 0, 7),
    _LUN,
    Field("referenced_task_tag", 20, 0, 32),
    Field("ref_cmd_sn", 32, 0, 32),
    Field("exp_data_sn", 36, 0, 32),
)
TASK_MANAGEMENT_RESPONSE = _bhs(
    "Task Management Function Response",
    "11.6; RFC 7144 6.2",
    *_RESPONSE,
    _FINAL,
    Field("response", 2, 0, 8),
    Field("additional_response_information", 8, 0, 24),
)
LOGIN_REQUEST = _bhs(
    "Login Request",
    "11.12",
    *_REQUEST,
    *_LOGIN,
    Field("version_max", 2, 0, 8),
    Field("version_min", 3, 0, 8),
    Field("cid", 20, 0, 16),
)
LOGIN_RESPONSE = _bhs(
    "Login Response",
    "11.13",
    *_RESPONSE,
    *_LOGIN,
    Field("version_max", 2, 0, 8),
    Field("version_active", 3, 0, 8),
    Field("status", 36, 0, 16, "Status-Class, Status-Detail"),
)
TEXT_REQUEST = _bhs("Text Request", "11.10", *_REQUEST, _FINAL, _CONTINUED, _LUN, _TTT)
TEXT_RESPONSE = _bhs("Text Response", "11.11", *_RESPONSE, _FINAL, _CONTINUED, _LUN, _TTT)
LOGOUT_REQUEST = _bhs(
    "Logout Request",
    "11.14",
    *_REQUEST,
    _FINAL,
    Field("reason", 1, 0, 7),
    Field("cid", 20, 0, 16),
)
LOGOUT_RESPONSE = _bhs(
    "Logout Response",
    "11.15",
    *_RESPONSE,
    _FINAL,
    Field("response", 2, 0, 8),
    Field("time2wait", 40, 0, 16),
    Field("time2retain", 42, 0, 16),
)
ASYNC_MESSAGE = _bhs(
    "Asynchronous Message",
    "11.9",
    *_RESPONSE,
    _FINAL,
    _LUN,
    Field("event", 36, 0, 8),
    Field("vendor_code", 37, 0, 8),
    Field("parameter1", 38, 0, 16),
    Field("parameter2", 40, 0, 16),
    Field("parameter3", 42, 0, 16),
)
REJECT = _bhs(
    "Reject", "11.17", *_RESPONSE, _FINAL, Field("reason", 2, 0, 8), Field("data_sn", 36, 0, 32)
)


def padding(length: int) -> int:
    """Return how many bytes follow a segment of `length` bytes to the next word."""
    return -length % 4
