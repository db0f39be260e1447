"""What a state file holds may be anything: it is used whole, or refused in one line, and stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.bearers import Bearers, Disk, Shown
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import parse
from scsi2nvme.executor import begin
from scsi2nvme.fuzz.bring_up import listening
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_nexus
from scsi2nvme.fuzz.strategies import namespaces
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.service.names import Identity
from scsi2nvme.unit.identifying import InformationType
from scsi2nvme.unit.log_parameters import CLIENT_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.persistent_reservation import ReservationType
from scsi2nvme.unit.store import DamagedState, UnsavedState

_KEY = 0xA
SAVED = (
    "totals",
    "counts",
    "client",
    "idle_ms",
    "version",
    "type",
    "holder",
    "aptpl",
    "pages",
    "registrations",
    "disks",
    "namespaces",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What is kept in a file: who opens it, changes what is in it, and what that is.

    `open` raises OperationError or DamagedState if it cannot be used. `undone` says of what is
    open whether it is as before, after a change that could not be saved; `whole` what the file
    must hold for it, if that can be told.
    """

    name: str
    open: Callable[[JsonStore, NamespaceFacts], T]
    change: Callable[[T], object]
    state: Callable[[T], object]
    undone: Callable[[T], object] = lambda opened: None
    whole: Callable[[T], object] | None = None


def _unit(store: JsonStore, facts: NamespaceFacts) -> LogicalUnit:
    return LogicalUnit(facts, store)


def _reserve(lu: LogicalUnit) -> None:
    """Change what is saved of reservations."""
    nexus = make_nexus("c", lu)
    own = lu.reservations
    targets = (nexus.target,)
    begin(own.register(nexus, 0, _KEY, aptpl=True, ignore_existing=True, targets=targets))
    begin(own.reserve(nexus, _KEY, ReservationType.WRITE_EXCLUSIVE))


def _set_mode(lu: LogicalUnit) -> None:
    """Change what is saved of mode pages."""
    values = CONTROL.layout.build(swp=not lu.mode.swp, tas=not lu.mode.task_aborted_status)
    lu.mode.change(CONTROL, values)
    lu.mode.save()


def _identify(lu: LogicalUnit) -> None:
    """Change what is saved of identifying information."""
    lu.identifying.set(InformationType.TEXT, b"fuzz")


def _count(lu: LogicalUnit) -> None:
    """Change what is saved of counts, and of what application clients leave."""
    lu.log.counters.record(Opcode.WRITE, StatusCode.WRITE_FAULT)
    lu.log.leave({0: bytes(range(CLIENT_BYTES))})


def _counted(lu: LogicalUnit) -> object:
    return lu.log.totals(), lu.log.counters.saved(), lu.log.client(0), lu.log.idle_ms(0)


def _state(lu: LogicalUnit) -> object:
    control = lu.mode.swp, lu.mode.task_aborted_status, lu.mode.descriptor_sense
    own = lu.reservations
    return own.state.saved(), own.lost, control, lu.identifying.values


def _undone(lu: LogicalUnit) -> object:
    """Return what counts: what MODE SELECT has set does until a reset."""
    lu.mode.reset()
    return lu.reservations.state, lu.identifying.values


class _Names:
    """The record of names, of a daemon that finds two namespaces there."""

    def __init__(self, store: JsonStore, facts: NamespaceFacts) -> None:
        targets = [TargetSettings(parse(f"emulated:{name}.img")) for name in "ab"]
        self.bearers = Bearers(store, targets)
        self._facts = facts

    def see(self) -> None:
        """See both, so that they are on record, and once more with another NSID."""
        disks = tuple(Disk(f"emulated:/{name}.img", name, f"iqn.2026-11.s:{name}") for name in "ab")
        self.bearers.record = replace(self.bearers.record, disks=disks)
        for nsid in (self._facts.nsid, self._facts.nsid + 1):
            identity = Identity.of(replace(self._facts, nsid=nsid))
            shown = [Shown(number, "", identity, known=False, ambiguous=False) for number in (0, 1)]
            self.bearers.judge(shown, (0, 1), lambda line: None)


SUBJECTS: tuple[Kind[Any], ...] = (
    Kind("Saved reservations", _unit, _reserve, _state, _undone),
    Kind("Saved mode pages", _unit, _set_mode, _state, _undone),
    Kind("Saved identifying information", _unit, _identify, _state, _undone),
    Kind("Saved counts", _unit, _count, _counted),
    Kind(
        "Record of names",
        _Names,
        _Names.see,
        lambda names: names.bearers.record,
        whole=lambda names: json.loads(json.dumps(asdict(names.bearers.record))),
    ),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**30) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=3,
)


def _open(kind: Kind[T], directory: Path, facts: NamespaceFacts) -> T | str:
    """Return what is opened of a directory, or why it cannot be."""
    try:
        return kind.open(JsonStore(directory), facts)
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
        names = st.sampled_from(SAVED)
        return json.dumps(json.loads(whole) | {data.draw(names): data.draw(_JSON)}).encode()
    bent = bytearray(whole)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(bent)


def state_is_kept(kind: Kind[Any], data: st.DataObject) -> None:
    """A file is never taken for another state than it tells, and a save that fails loses none."""
    facts = data.draw(namespaces())
    with TemporaryDirectory() as name:
        directory = Path(name)
        fresh = _open(kind, directory, facts)
        assert not isinstance(fresh, str)
        kind.change(fresh)
        (path,) = directory.iterdir()
        content = _damaged(data, path.read_bytes())
        path.write_bytes(content)
        opened = _open(kind, directory, facts)
        if path.read_bytes() != content:
            raise Finding(kind, "", f"{content!r} is not left alone")
        if isinstance(opened, str):
            if not opened.isprintable():
                raise Finding(kind, "", f"this is not a line for people: {opened!r}")
            return
        again = _open(kind, directory, facts)
        if isinstance(again, str) or kind.state(again) != kind.state(opened):
            raise Finding(kind, "", f"{content!r} is read as two things")
        if kind.whole is not None and kind.whole(opened) != json.loads(content):
            raise Finding(kind, "content", f"{content!r} is taken for something else")
        _fail_to_save(kind, opened, path)
        if path.read_bytes() != content:
            raise Finding(kind, "", "a save that failed has changed the file")


def _fail_to_save(kind: Kind[T], opened: T, path: Path) -> None:
    """Have a save fail: what was saved stays, and what counts is what is saved."""
    obstacle = path.with_name(f"{path.name}.new")
    obstacle.mkdir()
    before = kind.undone(opened)
    try:
        with listening():
            kind.change(opened)
    except UnsavedState as error:
        if not str(error).isprintable():
            raise Finding(kind, "", f"this is not a line for people: {error}") from error
        if kind.undone(opened) != before:
            raise Finding(kind, "", "a registration counts that is not saved") from error
    finally:
        obstacle.rmdir()
