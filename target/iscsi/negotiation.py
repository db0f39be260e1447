"""Text negotiation: key=value pairs in, answers out. Spec: RFC 7143 6."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from scsi2nvme.target.iscsi.keys import BY_NAME, KEYS, Form, Key, Value, When
from scsi2nvme.target.iscsi.pdu import LoginStatus

MAXIMUM_SEQUENCE_BYTES = 8192  # key=value pairs of one sequence, continuations included

REJECT = "Reject"
IRRELEVANT = "Irrelevant"
NOT_UNDERSTOOD = "NotUnderstood"
_ANSWERS = frozenset({REJECT, IRRELEVANT, NOT_UNDERSTOOD})

_KEY = r"[A-Za-z][A-Za-z0-9.+@_#-]{0,62}"
_NUMBER = r"0[xX]0*[0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,19}"
_BOOLEANS = {"Yes": True, "No": False}

Pairs = list[tuple[str, str]]

SECURITY = frozenset({When.SECURITY, When.LOGIN, When.ALWAYS})
OPERATIONAL = frozenset({When.OPERATIONAL, When.LOGIN, When.ALWAYS})
FULL_FEATURE = frozenset({When.FULL_FEATURE, When.ALWAYS})


class NegotiationError(Exception):
    """The peer broke the rules: a login ends with `status`, a text exchange with Reject."""

    def __init__(self, reason: str, status: LoginStatus = LoginStatus.INITIATOR_ERROR) -> None:
        super().__init__(reason)
        self.status = status


def parse_pairs(data: bytes) -> Pairs:
    """Split NUL-terminated key=value pairs; NegotiationError if they are malformed."""
    if data and data[-1] != 0:
        raise NegotiationError("the last key=value pair is not terminated")
    pairs = []
    for raw in filter(None, data.split(b"\0")):
        try:
            key, separator, value = raw.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            raise NegotiationError("a key=value pair is not UTF-8") from None
        if not separator or not re.fullmatch(_KEY, key):
            raise NegotiationError("not a key=value pair")
        _check_length(key, value)
        pairs.append((key, value))
    return pairs


def _check_length(name: str, value: str) -> None:
    """Hold every single value against its limit; whoever sends an unknown key may send a list.

    Spec: RFC 7143 6.1.
    """
    key = BY_NAME.get(name)
    longest = 255 if key is None else key.longest
    values = value.split(",") if key is None or key.lists else [value]
    if any(len(one.encode()) > longest for one in values):
        raise NegotiationError(f"the value of {name} is longer than {longest} bytes")


def format_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return pairs as they go over the wire."""
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs)


def format_value(value: Value) -> str:
    """Write a value the way that a key=value pair does."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return str(value)


class Negotiation:
    """What is agreed so far on one connection.

    `values` holds the result of every key of the table, by name. `ours`
    overrides the table's column of that name. On a connection that joins a
    session (`joining`), the session's keys are irrelevant.
    """

    def __init__(self, ours: Mapping[str, Value], *, joining: bool = False) -> None:
        self.values: dict[str, Value] = {key.name: key.default for key in KEYS}
        self.ours: dict[str, Value] = {key.name: key.ours for key in KEYS} | dict(ours)
        self._joining = joining
        self._seen: set[str] = set()

    def answer(self, pairs: Pairs, allowed: frozenset[When]) -> Pairs:
        """Take one sequence of pairs and return the answers.

        Raises NegotiationError when a key is negotiated twice.
        """
        offers = dict(pairs)
        if len(offers) != len(pairs):
            raise NegotiationError("a key stands twice in one sequence")
        replies = []
        for key in KEYS:
            if key.name in offers:
                reply = self._answer_one(key, offers[key.name], allowed)
                if reply is not None:
                    replies.append((key.name, reply))
        unknown = [name for name in offers if name not in BY_NAME and offers[name] not in _ANSWERS]
        return replies + [(name, NOT_UNDERSTOOD) for name in unknown]

    def _answer_one(self, key: Key, text: str, allowed: frozenset[When]) -> str | None:
        if text in _ANSWERS and key.form is not Form.TEXT:
            return None  # an answer to a declaration of ours; none is due to it
        if key.when not in allowed:
            return IRRELEVANT
        if key.name in self._seen and not key.repeatable:
            # libiscsi before 1.20 declares its names again in each stage.
            if key.negotiated or text != self.values[key.name]:
                raise NegotiationError(f"{key.name} is negotiated a second time")
            return None
        self._seen.add(key.name)
        if key.irrelevant(self.values) or (key.leading and self._joining):
            return IRRELEVANT
        value = self._result(key, text)
        if value is None:
            return REJECT
        self.values[key.name] = value
        return format_value(value) if key.negotiated else None

    def _result(self, key: Key, text: str) -> Value | None:
        """Return what `text` and our own value come to, None if the offer is refused."""
        ours = self.ours[key.name]
        match key.form:
            case Form.REFUSED:
                return None
            case Form.TEXT:
                return text
            case Form.LIST:
                supported = str(ours).split(",")
                return next((name for name in text.split(",") if name in supported), None)
            case Form.BOOLEAN:
                if text not in _BOOLEANS:
                    return None
                offered: Value = _BOOLEANS[text]
            case Form.NUMBER:
                if not re.fullmatch(_NUMBER, text):
                    return None
                offered = int(text, 0)
                if not key.low <= offered <= key.high:
                    return None
        result = key.combine(offered, ours) if key.combine is not None else offered
        if key.ceiling:
            result = min(int(result), int(self.values[key.ceiling]))
        return result
