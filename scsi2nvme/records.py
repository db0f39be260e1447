"""`dataclass` as the standard library's, but made in a third of the time.

That compiles six methods for each class that is frozen, which was almost half of the time that the
daemon took to start. Here it finds out what the fields are, and one method is compiled, which makes
an object: when the first one is made, which of many classes none is. The others are the same for
all classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

Fields = Sequence[dataclasses.Field[Any]]


def _value(field: dataclasses.Field[Any], names: dict[str, object]) -> str | None:
    """Return what a field is set to, None if it is not; `names` gets what that names."""
    name, given = field.name, field.name if field.init else ""
    if field.default_factory is not MISSING:
        names[f"_make_{name}"] = field.default_factory
        made = f"_make_{name}()"
        return f"{made} if {given} is _unset else {given}" if given else made
    if field.default is not MISSING:
        names[f"_default_{name}"] = field.default
        return given or f"_default_{name}"
    return given or None


def _parameter(field: dataclasses.Field[Any]) -> str:
    if field.default is not MISSING:
        return f"{field.name}=_default_{field.name}"
    return f"{field.name}=_unset" if field.default_factory is not MISSING else field.name


def _compiled(made: type, fields: Fields, frozen: bool) -> Any:
    """Compile `__init__`."""
    names: dict[str, object] = {"_set": object.__setattr__, "_unset": MISSING}
    given = [each for each in fields if each.init]
    parameters = ["self", *(_parameter(each) for each in given if not each.kw_only)]
    named = [_parameter(each) for each in given if each.kw_only]
    lines = [f"def __init__({', '.join([*parameters, *(['*', *named] if named else [])])}):"]
    for field in fields:
        value = _value(field, names)
        if value is not None and frozen:
            lines.append(f" _set(self, {field.name!r}, {value})")
        elif value is not None:
            lines.append(f" self.{field.name} = {value}")
    lines.append(" self.__post_init__()" if hasattr(made, "__post_init__") else " return")
    exec("\n".join(lines), names)
    initializer: Any = names["__init__"]
    initializer.__qualname__ = f"{made.__qualname__}.__init__"
    return initializer


class _Initializer:
    """Stands for a class' `__init__` until somebody looks it up, and is that from then on."""

    __slots__ = ("_fields", "_frozen", "_made")

    def __init__(self, made: type, fields: Fields, frozen: bool) -> None:
        self._made, self._fields, self._frozen = made, fields, frozen

    def __get__(self, instance: object, owner: type) -> Any:
        compiled = _compiled(self._made, self._fields, self._frozen)
        self._made.__init__ = compiled  # type: ignore[misc]
        return compiled.__get__(instance, owner)


@recursive_repr("...")
def _repr(self: Any) -> str:
    shown = (each.name for each in dataclasses.fields(self) if each.repr)
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({values})"


def _values(fields: Fields) -> Callable[[object], object]:
    """Return what gives the values of these fields of an object."""
    return attrgetter(*(each.name for each in fields)) if fields else lambda self: ()


def _comparison(fields: Fields) -> Callable[[object, object], Any]:
    values = _values([each for each in fields if each.compare])

    def equal(self: object, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return equal


def _hash(fields: Fields) -> Callable[[object], int]:
    values = _values(
        [each for each in fields if (each.compare if each.hash is None else each.hash)]
    )
    return lambda self: hash(values(self))


def _freeze(made: Any, fields: Fields) -> None:
    """Let nobody change objects, but for what a subclass adds, nor keep them from being copied."""
    own = {each.name for each in fields}

    def set_attribute(self: object, name: str, value: object) -> None:
        if type(self) is made or name in own:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def delete_attribute(self: object, name: str) -> None:
        if type(self) is made or name in own:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    made.__setattr__, made.__delattr__ = set_attribute, delete_attribute
    if "__slots__" in vars(made):
        made.__getstate__, made.__setstate__ = _state, _set_state


def _state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: Sequence[object]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, eq=True, frozen=False, slots=False, kw_only=False):
        """Make a class a dataclass, as the standard library does with these options."""
        if cls is None:
            return lambda cls: dataclass(cls, eq=eq, frozen=frozen, slots=slots, kw_only=kw_only)
        own = vars(cls).copy()
        if not cls.__doc__:  # the standard library would look for the signature of none
            cls.__doc__ = cls.__name__
        made = dataclasses.dataclass(
            cls, init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
        )
        fields = dataclasses.fields(made)
        if "__init__" not in own:
            made.__init__ = _Initializer(made, fields, frozen)
        if "__repr__" not in own:
            made.__repr__ = _repr
        if eq and "__eq__" not in own:
            made.__eq__ = _comparison(fields)
        if eq and ("__hash__" not in own or (own["__hash__"] is None and "__eq__" in own)):
            made.__hash__ = _hash(fields) if frozen else None
        if frozen:
            _freeze(made, fields)
        return made
