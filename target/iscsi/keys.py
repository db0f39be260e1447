"""The table of text keys. Spec: RFC 7143 13 and 12.1; RFC 7144 7.

A row says what may be offered, how both sides' values combine, when, and in
what it is meaningless. `negotiation` is its only reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from scsi2nvme.records import dataclass
from scsi2nvme.unit.ports import ISCSI_NAME_BYTES

Value = bool | int | str


class Form(Enum):
    """How a value is written. Spec: RFC 7143 6.1."""

    BOOLEAN = "Yes or No"
    NUMBER = "decimal or 0x hexadecimal"
    LIST = "comma-separated, in order of preference"
    TEXT = "UTF-8 text"
    REFUSED = "obsolete: every offer is answered with Reject"


class When(Enum):
    """In which negotiation a key may appear."""

    SECURITY = "SecurityNegotiation"
    OPERATIONAL = "LoginOperationalNegotiation"
    LOGIN = "any login stage"
    ALWAYS = "any time, full feature phase included"
    FULL_FEATURE = "full feature phase"


Combine = Callable[[Value, Value], Value]


def _minimum(offered: Value, ours: Value) -> Value:
    return min(int(offered), int(ours))


def _maximum(offered: Value, ours: Value) -> Value:
    return max(int(offered), int(ours))


def _or(offered: Value, ours: Value) -> Value:
    return bool(offered) or bool(ours)


def _and(offered: Value, ours: Value) -> Value:
    return bool(offered) and bool(ours)


def _in_discovery(values: Mapping[str, Value]) -> bool:
    return values["SessionType"] == "Discovery"


def _without_unsolicited_data(values: Mapping[str, Value]) -> bool:
    unsolicited = values["ImmediateData"] or not values["InitialR2T"]
    return _in_discovery(values) or not unsolicited


def _never(values: Mapping[str, Value]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `combine` is None where the sender merely declares.

    `default` holds while nothing is negotiated. `ours` is this target's own
    value; for a LIST, everything that it supports. `leading` keys belong to a
    session's first connection.
    """

    name: str
    form: Form
    when: When
    default: Value = ""
    ours: Value = ""
    combine: Combine | None = None
    low: int = 0
    high: int = 0
    leading: bool = False
    irrelevant: Callable[[Mapping[str, Value]], bool] = _never
    ceiling: str = ""  # the key whose value the result must not exceed
    longest: int = 255  # bytes of the value, of a list of each value in it
    is_list: bool = False  # though it is Form.TEXT
    repeatable: bool = False

    @property
    def lists(self) -> bool:
        """Whether it has a list of values, separated by commas."""
        return self.is_list or self.form is Form.LIST

    @property
    def negotiated(self) -> bool:
        """Whether an offer of this key is answered."""
        return self.form in (Form.LIST, Form.REFUSED) or self.combine is not None


_BINARY = 2 + 2 * 1024  # a large binary value of 1024 bytes, written as hexadecimal
_UNSIGNED_24 = 0xFFFFFF


def _digest(name: str) -> Key:
    return Key(name, Form.LIST, When.OPERATIONAL, "None", "CRC32C,None")


def _number(
    name: str,
    combine: Combine,
    default: int,
    ours: int,
    low: int,
    high: int,
    irrelevant: Callable[[Mapping[str, Value]], bool] = _in_discovery,
    ceiling: str = "",
) -> Key:
    return Key(
        name,
        Form.NUMBER,
        When.OPERATIONAL,
        default,
        ours,
        combine,
        low,
        high,
        leading=True,
        irrelevant=irrelevant,
        ceiling=ceiling,
    )


def _boolean(name: str, combine: Combine, default: bool, ours: bool) -> Key:
    return Key(
        name,
        Form.BOOLEAN,
        When.OPERATIONAL,
        default,
        ours,
        combine,
        leading=True,
        irrelevant=_in_discovery,
    )


def _security(name: str, longest: int = 255) -> Key:
    return Key(name, Form.TEXT, When.SECURITY, longest=longest)


# In the order in which they are evaluated: a key that decides whether another
# is irrelevant stands before it.
KEYS = (
    Key("SessionType", Form.TEXT, When.LOGIN, "Normal"),
    Key("InitiatorName", Form.TEXT, When.LOGIN, longest=ISCSI_NAME_BYTES),
    Key("TargetName", Form.TEXT, When.LOGIN, longest=ISCSI_NAME_BYTES),
    Key("InitiatorAlias", Form.TEXT, When.ALWAYS, repeatable=True),
    Key("AuthMethod", Form.LIST, When.SECURITY, "None", "CHAP,None"),
    Key("CHAP_A", Form.TEXT, When.SECURITY, is_list=True),
    _security("CHAP_I"),
    _security("CHAP_C", _BINARY),
    _security("CHAP_N"),
    _security("CHAP_R", _BINARY),
    _digest("HeaderDigest"),
    _digest("DataDigest"),
    _number("MaxConnections", _minimum, 1, 8, 1, 65535),
    _boolean("InitialR2T", _or, True, False),
    _boolean("ImmediateData", _and, True, True),
    Key(
        "MaxRecvDataSegmentLength",
        Form.NUMBER,
        When.ALWAYS,
        8192,
        262144,
        low=512,
        high=_UNSIGNED_24,
        repeatable=True,
    ),
    _number("MaxBurstLength", _minimum, 262144, 1048576, 512, _UNSIGNED_24),
    _number(
        "FirstBurstLength",
        _minimum,
        65536,
        262144,
        512,
        _UNSIGNED_24,
        irrelevant=_without_unsolicited_data,
        ceiling="MaxBurstLength",
    ),
    _number("DefaultTime2Wait", _maximum, 2, 0, 0, 3600, irrelevant=_never),
    # At ErrorRecoveryLevel 0 nothing outlives a connection.
    _number("DefaultTime2Retain", _minimum, 20, 0, 0, 3600, irrelevant=_never),
    _number("MaxOutstandingR2T", _minimum, 1, 8, 1, 65535),
    _boolean("DataPDUInOrder", _or, True, True),
    _boolean("DataSequenceInOrder", _or, True, True),
    _number("ErrorRecoveryLevel", _minimum, 0, 0, 0, 2, irrelevant=_never),
    _number("iSCSIProtocolLevel", _minimum, 1, 2, 0, 31),
    Key(
        "TaskReporting",
        Form.LIST,
        When.OPERATIONAL,
        "RFC3720",
        "RFC3720",
        leading=True,
        irrelevant=_in_discovery,
    ),
    Key("IFMarker", Form.BOOLEAN, When.OPERATIONAL, False, False, _and),
    Key("OFMarker", Form.BOOLEAN, When.OPERATIONAL, False, False, _and),
    Key("IFMarkInt", Form.REFUSED, When.OPERATIONAL),
    Key("OFMarkInt", Form.REFUSED, When.OPERATIONAL),
    Key("SendTargets", Form.TEXT, When.FULL_FEATURE),
)

BY_NAME: Mapping[str, Key] = {key.name: key for key in KEYS}
