"""What a tree is made of: kinds of nodes, and their commands, as records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from scsi2nvme.api.method import Method, P, R
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.records import dataclass

Summary = tuple[str, bool | None]  # what a line of `ls` says; whether that is good, bad or neither


class View:
    """What the daemon answers while one command line is done: it is asked once for each."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._seen: dict[tuple[str, Any], Any] = {}

    def of(self, method: Method[P, R], params: P | None = None) -> R:
        """Return what a method that only looks answers; its errors are those of `ask`."""
        key = (method.name, params)
        if key not in self._seen:
            self._seen[key] = ask(self.state_dir, method, params)
        found: R = self._seen[key]
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: what the daemon says, and what of it the node is about."""

    view: View
    about: Any = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a command takes: a field of its method's parameters."""

    field: Field[Any]
    type: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.field.default is MISSING

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, if these are few."""
        if self.type is bool:
            return ("true", "false")
        words = (word for each in (self.type, *get_args(self.type)) for word in get_args(each))
        return tuple(dict.fromkeys(word for word in words if isinstance(word, str)))

    def value(self, text: str) -> Any:
        """Return what was typed as the method takes it; UsageError if it cannot be that."""
        if self.choices and text not in self.choices:
            known = ", ".join(self.choices)
            raise UsageError(f"{self.field.name} {text!r} is unknown; known: {known}")
        if self.type is bool:
            return text == "true"
        if self.type is int:
            try:
                return int(text, 0)
            except ValueError:
                raise UsageError(f"{self.field.name} {text!r} is no number") from None
        kinds = (self.type, *get_args(self.type))
        lists = [get_args(each)[0] for each in kinds if get_origin(each) is tuple]
        if lists == [str]:
            return tuple(text.split(","))
        if lists:
            try:
                return tuple(int(each, 0) for each in text.split(","))
            except ValueError:
                raise UsageError(f"{self.field.name} {text!r} is no list as 0,1") from None
        return text


def _lines(result: Any) -> Iterable[str]:
    """Return an answer as lines: those that it is, or a line for each field."""
    if result is None:
        return ()
    if isinstance(result, list):
        return map(str, result)
    return (f"{each.name}: {_told(getattr(result, each.name))}" for each in fields(result))


def _told(value: Any) -> str:
    """Return a value as it would be typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True)
class Command:
    """A method of the control API as a command of a node.

    `given` is what the node knows of the method's parameters; the others are the command's.
    What has a `question` is asked, or wants --yes; the parameters' names stand in it in braces.
    `values` says what may be typed for a parameter, `lines` how the answer is told, and `perform`
    how it comes about where that is more than to ask the daemon.
    """

    name: str
    method: Method[Any, Any]
    given: Callable[[Any], Mapping[str, Any]] = lambda about: {}
    question: str = ""
    values: Mapping[str, Callable[[Place], Iterable[str]]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    lines: Callable[[Any], Iterable[str]] = _lines
    perform: Callable[[Path, Method[Any, Any], Any], Any] = ask

    def parameters(self, about: Any) -> dict[str, Parameter]:
        """Return what is left to be typed, by name."""
        given = self.given(about)
        types = get_type_hints(self.method.params)
        return {
            each.name: Parameter(each, types[each.name])
            for each in fields(self.method.params)
            if each.name not in given
        }

    def completions(self, place: Place, name: str) -> Iterable[str]:
        """Return what may be typed for a parameter, as far as that can be told."""
        known = self.values.get(name)
        return known(place) if known else self.parameters(place.about)[name].choices


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of node: what its line says, what stands below it by name, and its commands."""

    summary: Callable[[Place], Summary]
    children: Callable[[Place], Mapping[str, tuple[Kind, Any]]] = lambda place: {}
    commands: tuple[Command, ...] = ()
