"""What a property is, and what is raised when one does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import strategies as st


class Subject(Protocol):
    """What a property is about: a row of some table, or a structure."""

    @property
    def name(self) -> str:
        """The name in the standard's spelling."""


class Finding(AssertionError):
    """A property does not hold. Names the row (or structure) and the field."""

    def __init__(self, subject: Subject | None, field: str, message: str) -> None:
        self.subject = subject.name if subject is not None else "any CDB"
        self.field = field
        place = f"{self.subject}: {field}" if field else self.subject
        super().__init__(f"{place}: {message}")


@dataclass(frozen=True, slots=True)
class Property:
    """A property: `check` proves it of one subject with what it draws, or raises a Finding.

    `subjects` is asked each time, so that a table that changed is seen.
    """

    name: str
    subjects: Callable[[], Iterable[Subject]]
    check: Callable[[Any, st.DataObject], None]
