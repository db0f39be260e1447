"""JSON-RPC 2.0: one message in a line, in either direction. Spec: jsonrpc.org/specification."""

from __future__ import annotations

import json
from dataclasses import field, fields, is_dataclass
from typing import Any, Literal

from scsi2nvme.api.method import Notification
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json, table, value

LINE_BYTES = 65536  # of a request
REQUESTS = 64  # in a batch

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Our own.
IMPOSSIBLE = 1  # it makes sense, and cannot be done now
FORBIDDEN = 2  # not for who may only look


class RpcError(Exception):
    """How a request failed: a code of those above, and a line for people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `id` is None in one that wants no answer, and so is `answered` False."""

    method: str
    jsonrpc: Literal["2.0"]
    params: Any = None
    id: Any = None


@dataclass(frozen=True, slots=True)
class _Error:
    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class _Response:
    jsonrpc: Literal["2.0"]
    id: Any = None
    result: Any = None
    error: _Error | None = field(default=None)


def request_of(message: object) -> tuple[Request, bool]:
    """Return a request, and whether it wants an answer; RpcError if it is none."""
    try:
        request = table(message, Request)
    except ValueError as error:
        raise RpcError(INVALID_REQUEST, f"the request makes no sense: {error}") from None
    if type(request.id) not in (str, int, type(None)):
        raise RpcError(INVALID_REQUEST, "the request makes no sense: id: is no string or integer")
    return request, isinstance(message, dict) and "id" in message


def params_of(given: object, kind: type[Any]) -> Any:
    """Return parameters, by name or by place, as a `kind`; RpcError if they are none."""
    if isinstance(given, list):
        names = [each.name for each in fields(kind)]
        if len(given) > len(names):
            raise RpcError(INVALID_PARAMS, f"params: {len(given)}, not {len(names)} at most")
        given = dict(zip(names, given, strict=False))
    try:
        return table({} if given is None else given, kind)
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"params: {error}") from None


def plain(result: Any) -> Any:
    """Return a result as JSON can hold it."""
    if is_dataclass(result):
        return {each.name: plain(getattr(result, each.name)) for each in fields(result)}
    if isinstance(result, list | tuple):
        return [plain(each) for each in result]
    if isinstance(result, dict):
        return {name: plain(each) for name, each in result.items()}
    return result


def answer(identifier: Any, result: Any) -> dict[str, Any]:
    """Return the message that answers a request."""
    return {"jsonrpc": "2.0", "id": identifier, "result": plain(result)}


def refusal(identifier: Any, error: RpcError) -> dict[str, Any]:
    """Return the message that says why a request is not answered."""
    told = {"code": error.code, "message": error.message}
    return {"jsonrpc": "2.0", "id": identifier, "error": told}


def notification(kind: Notification[Any], told: Any) -> dict[str, Any]:
    """Return the message that tells something without being asked."""
    return {"jsonrpc": "2.0", "method": kind.name, "params": plain(told)}


def told_by(line: bytes, kinds: tuple[Notification[Any], ...]) -> Any:
    """Return what a line tells; ValueError if it is no notification of these kinds."""
    message = table(parse_json(line), Request)
    for kind in kinds:
        if kind.name == message.method:
            return table(message.params, kind.params)
    raise ValueError(f"it tells {message.method!r}")


def line_of(message: Any) -> bytes:
    """Return a message, or a batch of them, as a line."""
    return json.dumps(message).encode() + b"\n"


def result_of(line: bytes, identifier: int, kind: Any) -> Any:
    """Return what a line answers a request with; RpcError if it refuses, ValueError if neither."""
    response = table(parse_json(line), _Response)
    if response.error is not None:
        raise RpcError(response.error.code, response.error.message)
    if response.id != identifier:
        raise ValueError(f"it answers {response.id}, not {identifier}")
    return value(response.result, kind)
