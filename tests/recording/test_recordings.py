"""Recordings are what the program does, and pictures are of what was recorded."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from tests.recording import RECORDINGS
from tests.recording.__main__ import DIRECTORY
from tests.recording.scene import cast


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_session_goes_as_it_was_recorded(tmp_path: Path, name: str) -> None:
    title, play = RECORDINGS[name]
    recorded = (DIRECTORY / f"{name}.cast").read_text(encoding="utf-8")
    assert cast(title, play(tmp_path)) == recorded, "run `make docs` and commit the result"


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_picture_shows_what_was_recorded(name: str) -> None:
    picture = (DIRECTORY / f"{name}.svg").read_text(encoding="utf-8")
    shown = "".join(re.findall(r"<text [^>]*>(.*?)</text>", picture, re.DOTALL))
    recorded = (DIRECTORY / f"{name}.cast").read_text(encoding="utf-8")
    _, *events = map(json.loads, recorded.splitlines())
    told = "".join(text for _, _, text in events)

    def words(text: str) -> str:
        return re.sub(r"\s+", "", html.unescape(text))

    assert words(told) in words(shown)
    assert not re.search(r"(?:url\(|href=)[\"']?https?:", picture)
