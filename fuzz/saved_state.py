"""What a state file holds may be anything: it is used whole, or refused in one line, and stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.fuzz.bring_up import listening
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_nexus
from scsi2nvme.fuzz.strategies import namespaces
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.persistent_reservation import ReservationType
from scsi2nvme.unit.store import DamagedState, UnsavedState

_KEY = 0xA


@dataclass(frozen=True, slots=True)
class Kind:
    """What is kept of a logical unit, by how the names of its files begin."""

    name: str
    prefix: str
    change: Callable[[LogicalUnit], None]


def _reserve(lu: LogicalUnit) -> None:
    """Change what is saved of reservations."""
    nexus = make_nexus("c", lu)
    own = lu.reservations
    own.register(nexus, 0, _KEY, aptpl=True, ignore_existing=True, targets=(nexus.target,))
    own.reserve(nexus, _KEY, ReservationType.WRITE_EXCLUSIVE)


def _set_mode(lu: LogicalUnit) -> None:
    """Change what is saved of mode pages."""
    values = CONTROL.layout.build(swp=not lu.mode.swp, tas=not lu.mode.task_aborted_status)
    lu.mode.change(CONTROL, values)
    lu.mode.save()


SUBJECTS = (
    Kind("Saved reservations", "reservations-", _reserve),
    Kind("Saved mode pages", "mode/", _set_mode),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**30) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=3,
)


def _open(directory: Path, facts: NamespaceFacts) -> LogicalUnit | str:
    """Return a logical unit with what is saved of it, or why there is none."""
    try:
        return LogicalUnit(facts, JsonStore(directory))
    except (OperationError, DamagedState) as error:
        return str(error)


def _replaced(value: Any, at: int, by: Any) -> Any:
    """Return JSON with its `at`th value replaced, counted from the outermost one."""
    left = at

    def walk(each: Any) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            return by
        if isinstance(each, dict):
            return {name: walk(one) for name, one in each.items()}
        return [walk(one) for one in each] if isinstance(each, list) else each

    return walk(value)


def _damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Return what has become of a file."""
    kind = data.draw(st.integers(0, 5))
    if kind == 5:
        return whole
    if kind == 0:
        return whole[: data.draw(st.integers(0, len(whole)))]
    if kind == 1:
        return data.draw(st.binary(max_size=64))
    if kind == 2:
        value = _replaced(json.loads(whole), data.draw(st.integers(0, 30)), data.draw(_JSON))
        return json.dumps(value).encode()
    if kind == 3:
        names = st.sampled_from(("version", "type", "holder", "aptpl", "pages", "registrations"))
        return json.dumps(json.loads(whole) | {data.draw(names): data.draw(_JSON)}).encode()
    bent = bytearray(whole)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(bent)


def _state(lu: LogicalUnit) -> object:
    control = lu.mode.swp, lu.mode.task_aborted_status, lu.mode.descriptor_sense
    return lu.reservations.state.saved(), control


def state_is_kept(kind: Kind, data: st.DataObject) -> None:
    """A file is never taken for another state than it tells, and a save that fails loses none."""
    facts = data.draw(namespaces())
    with TemporaryDirectory() as name:
        directory = Path(name)
        fresh = _open(directory, facts)
        assert isinstance(fresh, LogicalUnit)
        kind.change(fresh)
        (path,) = directory.iterdir()
        content = _damaged(data, path.read_bytes())
        path.write_bytes(content)
        opened = _open(directory, facts)
        if path.read_bytes() != content:
            raise Finding(kind, "", f"{content!r} is not left alone")
        if isinstance(opened, str):
            if not opened.isprintable():
                raise Finding(kind, "", f"this is not a line for people: {opened!r}")
            return
        again = _open(directory, facts)
        if isinstance(again, str) or _state(again) != _state(opened):
            raise Finding(kind, "", f"{content!r} is read as two things")
        _fail_to_save(kind, opened, path)
        if path.read_bytes() != content:
            raise Finding(kind, "", "a save that failed has changed the file")


def _fail_to_save(kind: Kind, lu: LogicalUnit, path: Path) -> None:
    """Have a save fail: what was saved stays, and what counts is what is saved."""
    obstacle = path.with_name(f"{path.name}.new")
    obstacle.mkdir()
    before = lu.reservations.state
    try:
        with listening():
            kind.change(lu)
    except UnsavedState as error:
        if not str(error).isprintable():
            raise Finding(kind, "", f"this is not a line for people: {error}") from error
        lu.mode.reset()
        if lu.reservations.state != before:
            raise Finding(kind, "", "a registration counts that is not saved") from error
    finally:
        obstacle.rmdir()
