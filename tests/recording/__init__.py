"""Sessions at a terminal that the documentation shows, and that are played as tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.recording import changing, first

Play = Callable[[Path], list[tuple[str, str]]]

RECORDINGS: dict[str, tuple[str, Play]] = {
    "first": ("The first minutes: a disk, a LUN, data that stay", first.play),
    "changing": ("Everything changes while it serves", changing.play),
}
"""By their files' names: title, and what plays them in a directory of their own."""
