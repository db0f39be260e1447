"""The control API's table: what is told of it to other programs is what the daemon takes."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest

from scsi2nvme.api import rpc
from scsi2nvme.api.method import Method
from scsi2nvme.api.methods import Export, Session, StructureName
from scsi2nvme.api.schema import openrpc, schema_of
from scsi2nvme.api.table import BY_NAME, METHODS
from scsi2nvme.cli.inspection import INSPECTIONS
from scsi2nvme.typed import value


def test_every_method_is_declared_once() -> None:
    assert len(BY_NAME) == len(METHODS)


def test_what_can_be_read_is_what_is_declared() -> None:
    assert set(INSPECTIONS) == set(get_args(StructureName))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_is_told_as_it_is_taken(method: Method[Any, Any]) -> None:
    (told,) = [each for each in openrpc()["methods"] if each["name"] == method.name]
    assert [each["name"] for each in told["params"]] == [
        each.name for each in fields(method.params)
    ]
    given = {each["name"]: _any(each["schema"]) for each in told["params"]}
    whole = rpc.params_of(given, method.params)
    assert rpc.plain(whole) == given
    assert rpc.params_of(list(given.values()), method.params) == whole
    needed = {each["name"]: given[each["name"]] for each in told["params"] if each["required"]}
    rpc.params_of(needed, method.params)
    for name in needed:
        with pytest.raises(rpc.RpcError, match=f"{name} is missing"):
            rpc.params_of({each: given[each] for each in needed if each != name}, method.params)
    result = _any(told["result"]["schema"])
    assert rpc.plain(value(result, method.result)) == result


def _any(schema: dict[str, Any]) -> Any:
    """Return something that a schema lets be."""
    match schema:
        case {"enum": [first, *_]}:
            return first
        case {"type": "number"}:
            return 0.5
        case {"anyOf": [first, *_]}:
            return _any(first)
        case {"type": "object", "properties": members}:
            return {name: _any(each) for name, each in members.items()}
        case {"type": "array", "items": item}:
            return [_any(item)]
        case {"type": word}:
            plain = {"string": "x", "integer": 7, "boolean": True, "null": None, "object": {}}
            return plain[word]
    return 7


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(openrpc()))
    assert document["openrpc"].startswith("1.")


@pytest.mark.parametrize("shape", [Session, Export])
def test_fields_are_documented(shape: Any) -> None:
    assert is_dataclass(shape)
    members = schema_of(shape)["properties"]
    assert all("type" in each or "enum" in each or "anyOf" in each for each in members.values())
    assert members["initiator" if shape is Session else "name"]["description"]
