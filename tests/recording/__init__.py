"""Sessions at a terminal that the documentation shows, and that are played as tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.recording import changing

Play = Callable[[Path], list[tuple[str, str]]]

RECORDINGS: dict[str, tuple[str, Play]] = {
    "changing": ("Everything changes while it serves", changing.play),
}
"""By their files' names: title, and what plays them in a directory of their own."""
