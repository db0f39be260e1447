"""What TOML and JSON hold, as dataclasses: nothing of it is taken on trust.

A table is a dataclass, whose fields may be str, int, bool, float, a Literal of strings, another
table, a tuple, list or dict of these (`tuple[X, ...]`, `list[X]`, `dict[str, X]`), one of them or
None, or Any. A field without a default must be there; a table may have no others. What else must
hold a table checks in `__post_init__`, by a ValueError.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_Table = TypeVar("_Table")

# What TOML calls the types that its values become.
_WORDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
    type(None): "null",
}
_SHOWN = 60  # characters of a key, in a message
_DIGITS = "set_int_max_str_digits"
_BARE = "[A-Za-z0-9_-]+"
_UNTOLD = r"[\x00-\x1f\x7f\ud800-\udfff]"


def parse_json(raw: bytes | str) -> Any:
    """Return what JSON text holds; ValueError if it is none."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(reason(error)) from None


def reason(error: ValueError) -> str:
    """Return what is wrong with what a person wrote: Python advises its programmer at times."""
    return "a number has too many digits" if _DIGITS in str(error) else str(error)


def table(value: object, kind: type[_Table]) -> _Table:
    """Return a table of TOML, or an object of JSON, as a `kind`.

    ValueError names the place in it, and what is wrong there, in one line and without the value,
    which may be a secret.
    """
    converted: _Table = _whole(value, kind)
    return converted


def value(value: object, kind: Any) -> Any:
    """Return anything that a field may be as a `kind`; ValueError as of `table`."""
    return _whole(value, kind)


def _whole(value: object, kind: Any) -> Any:
    try:
        return _convert(value, kind, "")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _convert(value: object, kind: Any, place: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _table(value, kind, place)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        (kind,) = (each for each in parts if each is not type(None))
        return _convert(value, kind, place)
    if origin in (tuple, list):
        found = _expect(value, list, place)
        return origin(_convert(one, parts[0], f"{place}[{at}]") for at, one in enumerate(found))
    if origin is dict:
        found = _expect(value, dict, place)
        return {
            name: _convert(one, parts[1], f"{place}.{_key(name)}") for name, one in found.items()
        }
    if origin is Literal:
        if value not in parts:
            known = " or ".join(f'"{one}"' for one in parts)
            raise ValueError(f"{place}: is not {known}")
        return value
    return _scalar(value, kind, place)


def _scalar(value: object, kind: type, place: str) -> Any:
    if kind is type(None):
        return _expect(value, kind, place)
    if kind is float and type(value) is int:
        return value
    _expect(value, kind, place)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place}: is not finite")
    return told(value, place) if isinstance(value, str) else value


def told(text: str, place: str) -> str:
    """Return text that can be told, in lines, JSON and TOML alike; ValueError if it cannot."""
    if found := re.search(_UNTOLD, text):
        what = "has a control character" if found[0] < "\x80" else "is not UTF-8"
        raise ValueError(f"{place}: {what}")
    return text


def _table(value: object, kind: Any, place: str) -> Any:
    found = _expect(value, dict, place)
    known = {field.name: field for field in fields(kind)}
    prefix = f"{place}." if place else ""
    for name in found:
        if name not in known:
            raise ValueError(f"{prefix}{_key(name)} is unknown; known: {', '.join(known)}")
    for name in _required(known.values()):
        if name not in found:
            raise ValueError(f"{prefix}{name} is missing")
    hints = get_type_hints(kind)
    given = {name: _convert(each, hints[name], f"{prefix}{name}") for name, each in found.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if place else str(error)) from None


def _required(known: Iterable[Field[Any]]) -> Iterator[str]:
    for field in known:
        if field.default is MISSING and field.default_factory is MISSING:
            yield field.name


def _expect(value: object, kind: type, place: str) -> Any:
    """Return `value`, which must be of this very type: a boolean is no integer."""
    if type(value) is not kind:
        actual = _WORDS.get(type(value), "a date or time")
        raise ValueError(f"{place or 'it'}: is {actual}, not {_WORDS[kind]}")
    return value


def _key(name: str) -> str:
    """Return a key as a message shows it: in one line, and not all of it if it is long."""
    text = name if re.fullmatch(_BARE, name) else repr(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
