"""`dataclass` as the standard library's, but made in a fifth of the time.

That compiles six methods for each class that is frozen, which was almost half of the time that the
daemon took to start, and looks with regular expressions for fields that are none, of which we have
no kind. Here one method is compiled, which makes an object: when some have been made, which of
most classes are few. The others are the same for all classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, FrozenInstanceError
from functools import partial
from operator import attrgetter
from reprlib import recursive_repr
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

FEW = 8  # objects of a class that are made before it pays to compile what makes them

Field = dataclasses.Field
Fields = Sequence[Field[Any]]
Names = dict[str, Any]


# By this the standard library knows what is a field, and no ClassVar or InitVar.
_IS_FIELD = vars(dataclasses)["_FIELD"]


def _declared(cls: type, kw_only: bool) -> dict[str, Field[Any]]:
    """Return the fields that a class itself declares, by name; ValueError if one's default changes.

    They are its annotations: there is no ClassVar, InitVar or KW_ONLY.
    """
    found = {}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        default = getattr(cls, name, MISSING)
        if isinstance(default, MemberDescriptorType):  # a base's slot
            default = MISSING
        one: Any = default if isinstance(default, Field) else dataclasses.field(default=default)
        if one.default.__class__.__hash__ is None:
            raise ValueError(f"{cls.__name__}.{name}: all objects would share {one.default!r}")
        one.name, one.type, one._field_type = name, annotation, _IS_FIELD
        if one.kw_only is MISSING:
            one.kw_only = kw_only
        found[name] = one
    return found


def _all_fields(cls: type, declared: dict[str, Field[Any]]) -> dict[str, Field[Any]]:
    """Return what a class inherits and declares; what it declares anew stands where it stood."""
    every: dict[str, Field[Any]] = {}
    for base in cls.__mro__[-1:0:-1]:
        every |= vars(base).get("__dataclass_fields__", {})
    return every | declared


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
    """Stands for a class' `__init__` until that is compiled, which takes as long as 20 objects do.

    That is when it is looked up, or called in another way than is right; else for the first object
    after a few, which of most classes are all that a start makes.
    """

    __slots__ = ("_fields", "_frozen", "_left", "_owner")

    def __init__(self, owner: list[type], fields: Fields, frozen: bool) -> None:
        self._owner, self._fields, self._frozen = owner, fields, frozen
        self._left = FEW

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None or not self._left:
            return self._compiled().__get__(instance, owner)
        self._left -= 1
        return partial(self._initialize, instance)

    def _compiled(self) -> Any:
        made = self._owner[0]
        made.__init__ = compiled = _compiled(made, self._fields, self._frozen)  # type: ignore[misc]
        return compiled

    def _initialize(self, instance: Any, /, *values: Any, **named: Any) -> None:
        """Do once what would be compiled. Fields may be called as what is named here."""
        positional = [each.name for each in self._fields if each.init and not each.kw_only]
        given = dict(zip(positional, values)) | named  # noqa: B905  # there are defaults
        assign = object.__setattr__ if self._frozen else setattr
        right = len(given) == len(values) + len(named)
        for each in self._fields:
            if each.init and each.name in given:
                assign(instance, each.name, given.pop(each.name))
            elif each.default_factory is not MISSING:
                assign(instance, each.name, each.default_factory())
            elif each.default is not MISSING:
                assign(instance, each.name, each.default)
            else:
                right = right and not each.init
        if given or not right:
            self._compiled()(instance, *values, **named)  # which tells what is wrong
        elif hasattr(instance, "__post_init__"):
            instance.__post_init__()


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


def _freezing(fields: Fields, owner: list[Any]) -> Names:
    """Return methods that let nobody change an object, but for what a subclass adds.

    `owner` is to hold the class that has them.
    """
    names = {each.name for each in fields}

    def set_attribute(self: object, name: str, value: object) -> None:
        if type(self) is owner[0] or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(owner[0], self).__setattr__(name, value)

    def delete_attribute(self: object, name: str) -> None:
        if type(self) is owner[0] or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(owner[0], self).__delattr__(name)

    return {"__setattr__": set_attribute, "__delattr__": delete_attribute}


def _state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: Sequence[object]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _with_slots(cls: type, methods: Names, fields: Fields) -> type:
    """Return the class anew: slots, and methods at little cost, are made with one."""
    inherited = {name for base in cls.__mro__[1:] for name in vars(base).get("__slots__", ())}
    names = [each.name for each in fields]
    left_out = {*names, "__dict__", "__weakref__"}
    body = {name: value for name, value in vars(cls).items() if name not in left_out}
    body["__slots__"] = tuple(name for name in names if name not in inherited)
    body["__qualname__"] = cls.__qualname__
    return type(cls)(cls.__name__, cls.__bases__, body | methods)


def _with_defaults(cls: type, methods: Names, declared: Iterable[Field[Any]]) -> type:
    """Return the class, with the fields' defaults in the place of what tells of these."""
    for each in declared:
        if each.default is not MISSING:
            setattr(cls, each.name, each.default)
        elif isinstance(vars(cls).get(each.name), Field):
            delattr(cls, each.name)
    for name, value in methods.items():
        setattr(cls, name, value)
    return cls


def _methods(cls: type, fields: Fields, owner: list[type], eq: bool, frozen: bool) -> Names:
    """Return what a class gets beside its fields: nothing that it has itself."""
    methods: Names = {
        "__init__": _Initializer(owner, fields, frozen),
        "__repr__": _repr,
        "__match_args__": tuple(each.name for each in fields if each.init and not each.kw_only),
    }
    if eq:
        methods["__eq__"] = _comparison(fields)
        methods["__hash__"] = _hash(fields) if frozen else None
    own = set(vars(cls))
    if "__eq__" in own and vars(cls)["__hash__"] is None:  # which comes with the former
        own.remove("__hash__")
    return {name: value for name, value in methods.items() if name not in own}


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, eq=True, frozen=False, slots=False, kw_only=False):
        """Make a class a dataclass, as the standard library does with these options."""
        if cls is None:
            return lambda cls: dataclass(cls, eq=eq, frozen=frozen, slots=slots, kw_only=kw_only)
        declared = _declared(cls, kw_only)
        by_name = _all_fields(cls, declared)
        fields, owner = tuple(by_name.values()), []
        methods = _methods(cls, fields, owner, eq, frozen) | {"__dataclass_fields__": by_name}
        if not cls.__doc__:
            methods["__doc__"] = cls.__name__
        if frozen:
            methods |= _freezing(fields, owner)
            if slots:
                methods |= {"__getstate__": _state, "__setstate__": _set_state}
        if slots:
            made = _with_slots(cls, methods, fields)
        else:
            made = _with_defaults(cls, methods, declared.values())
        owner.append(made)
        return made
