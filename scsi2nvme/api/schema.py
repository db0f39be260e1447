"""The table of methods for other programs: JSON Schema, in an OpenRPC document."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from scsi2nvme.api import VERSION, rpc
from scsi2nvme.api.method import Method, Subscription
from scsi2nvme.api.table import METHODS

_WORDS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_ERRORS = {
    rpc.INVALID_PARAMS: "what was asked makes no sense",
    rpc.IMPOSSIBLE: "it cannot be done now",
    rpc.FORBIDDEN: "not for who may only look",
}


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of what `scsi2nvme.typed` takes for a `kind`."""
    if kind is Any:
        return {}
    if is_dataclass(kind):
        return _object(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in parts]}
    if origin in (tuple, list):
        return {"type": "array", "items": schema_of(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(parts[1])}
    if origin is Literal:
        return {"enum": list(parts)}
    return {"type": _WORDS[kind]}


def _object(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    shown = {
        "type": "object",
        "properties": {each.name: _member(each, hints[each.name]) for each in fields(kind)},
        "required": [each.name for each in fields(kind) if _required(each)],
        "additionalProperties": False,
    }
    return shown if not kind.__doc__ else {"description": kind.__doc__.strip(), **shown}


def _member(each: Field[Any], hint: Any) -> dict[str, Any]:
    doc = each.metadata.get("doc")
    return {**schema_of(hint), **({"description": doc} if doc else {})}


def _required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def openrpc() -> dict[str, Any]:
    """Return the OpenRPC document. Spec: spec.open-rpc.org 1.3."""
    return {
        "openrpc": "1.3.2",
        "info": {"title": "scsi2nvme", "version": VERSION},
        "methods": [_method(each) for each in METHODS],
    }


def _method(method: Method[Any, Any]) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.doc,
        "tags": [{"name": word} for word in _tags(method)],
        "params": list(_params(method.params)),
        "result": {"name": "result", "schema": schema_of(method.result)},
        "errors": [{"code": code, "message": text} for code, text in _ERRORS.items()],
        **_notifications(method),
    }


def _notifications(method: Method[Any, Any]) -> dict[str, Any]:
    """Return what OpenRPC has no word for, as an extension of it: what follows the answer."""
    if not isinstance(method, Subscription):
        return {}
    told = [
        {"name": each.name, "summary": each.doc, "params": list(_params(each.params))}
        for each in method.tells
    ]
    return {"x-notifications": told}


def _tags(method: Method[Any, Any]) -> Iterator[str]:
    yield "changes" if method.changes else "looks"
    if method.private:
        yield "private"


def _params(kind: Any) -> Iterator[dict[str, Any]]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        yield {
            "name": each.name,
            "description": each.metadata.get("doc", ""),
            "required": _required(each),
            "schema": schema_of(hints[each.name]),
        }
