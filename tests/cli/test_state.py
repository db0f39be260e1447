"""The state directory's files."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme import durable
from scsi2nvme.cli.daemon.control import StateDirectory
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.unit.store import UnsavedState
from tests.support import refused_in_one_line


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


@given(st.binary())
def test_any_file_is_loaded_or_refused_in_one_line(content: bytes) -> None:
    with TemporaryDirectory() as name:
        Path(name, "a.json").write_bytes(content)
        refused_in_one_line(lambda: JsonStore(Path(name)).load("a"), OperationError)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"x":' * 100_000, '{"x": ' + "9" * 5000 + "}"])
def test_a_file_that_takes_too_much_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(OperationError, match="move it away"):
        JsonStore(tmp_path).load("a")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_what_is_no_file_is_reported(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.json")
    with pytest.raises(OperationError, match="is damaged"):
        JsonStore(tmp_path).load("a")


@pytest.mark.parametrize("name", ["a.new", "a.json.new"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_text("not yours")
    store = JsonStore(tmp_path / "units")
    (store.directory / name).symlink_to(other)
    store.save("a", {"x": 1})
    assert other.read_text() == "not yours"
    assert store.load("a") == {"x": 1}
    assert not (store.directory / "a.json").is_symlink()


def test_a_file_that_is_there_keeps_its_group_and_shuts_others_out(tmp_path: Path) -> None:
    """And a link leads there still. Who may write it could read secrets in its next version."""
    path, link = tmp_path / "config.toml", tmp_path / "link"
    path.touch()
    link.symlink_to("config.toml")
    os.chown(path, -1, 65534)
    path.chmod(0o664)
    durable.replace(link, b"new", keep=True)
    assert (link.is_symlink(), path.read_bytes()) == (True, b"new")
    assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (65534, 0o640)
    assert sorted(tmp_path.iterdir()) == [path, link]


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, *, keep: bool) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no regular file"):
        durable.replace(path, b"new", keep=keep)
    assert path.is_fifo()


def test_files_and_directories_are_their_owners(tmp_path: Path) -> None:
    store = JsonStore(tmp_path / "units")
    store.save("a", {})
    for path in (store.directory, store.directory / "a.json"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
@pytest.mark.parametrize("kind", [StateDirectory, JsonStore])
def test_a_directory_that_everybody_may_write_in_is_refused(
    tmp_path: Path, kind: Callable[[Path], object], mode: int
) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(OperationError, match=r"everybody may write in it.*--state-dir"):
        kind(path)


def test_a_file_is_json_that_people_can_read(tmp_path: Path) -> None:
    JsonStore(tmp_path).save("b", {"y": 1, "x": 2})
    text = (tmp_path / "b.json").read_text()
    assert json.loads(text) == {"x": 2, "y": 1}
    assert text.index('"x"') < text.index('"y"')


@pytest.mark.parametrize("when", ["writing", "syncing", "an obstacle"])
def test_a_save_without_room_keeps_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store = JsonStore(tmp_path)
    store.save("a", {"x": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if when == "writing":
            patch.setattr("scsi2nvme.durable.open", Full, raising=False)
        elif when == "syncing":
            patch.setattr(os, "fsync", full)
        else:
            (tmp_path / "a.json.new").mkdir()
        with pytest.raises(UnsavedState, match=r"state .*a\.json cannot be saved: "):
            store.save("a", {"x": 2})
    assert store.load("a") == {"x": 1}
    if when != "an obstacle":
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_nothing_is_saved_that_is_too_long_to_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "MAXIMUM_BYTES", 20)
    store = JsonStore(tmp_path)
    store.save("a", {"x": 1})
    with pytest.raises(UnsavedState, match="cannot be saved: File too large"):
        store.save("a", {"x": "y" * 20})
    assert store.load("a") == {"x": 1}


class Full(io.BytesIO):
    """A file on a disk that is full."""

    def __init__(self, descriptor: int, mode: str) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_cannot_be_renamed_is_one_line(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    store.save("a", {"x": 1})
    (tmp_path / "b.json").mkdir()
    with pytest.raises(OperationError, match=r"a\.json cannot be renamed: "):
        store.move("a", "b")
    assert store.load("a") == {"x": 1}
