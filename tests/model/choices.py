"""Who chooses what initiators do: hypothesis, which shrinks, or a seed, which is quick."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Choices(Protocol):
    """Chooses."""

    def number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""

    def one(self, options: Sequence[T]) -> T:
        """Return one of the options."""


class Drawn:
    """Choices of hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""
        return self._draw(st.integers(low, high))

    def one(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self._draw(st.integers(0, len(options) - 1))]


class Seeded:
    """Choices that follow from a seed, at a hundredth of the cost."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def one(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._random.random() * len(options))]
