"""The state directory's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError


def test_what_was_saved_is_loaded_by_another_store(tmp_path: Path) -> None:
    JsonStore(tmp_path).save("a", {"x": [1, 2], "y": None})
    JsonStore(tmp_path).save("a", {"x": [3]})
    assert JsonStore(tmp_path).load("a") == {"x": [3]}


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert JsonStore(tmp_path).load("a") is None


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_keys_are_any_text_and_never_meet(first: str, second: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = JsonStore(directory)
        store.save(first, {"key": first})
        store.save(second, {"key": second})
        assert store.load(first) == {"key": first if first != second else second}
        assert store.load(second) == {"key": second}
        assert all(path.parent == directory for path in directory.rglob("*"))


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    store.save("a", {"x": 1})
    with pytest.raises(TypeError):
        store.save("a", {"x": object()})
    assert store.load("a") == {"x": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", '"x"', "\xff"])
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(OperationError, match=r"a\.json .*move it away") as caught:
        JsonStore(tmp_path).load("a")
    assert "\n" not in str(caught.value)


def test_a_file_is_json_that_people_can_read(tmp_path: Path) -> None:
    JsonStore(tmp_path).save("b", {"y": 1, "x": 2})
    text = (tmp_path / "b.json").read_text()
    assert json.loads(text) == {"x": 2, "y": 1}
    assert text.index('"x"') < text.index('"y"')
