"""The file of an emulated disk: made, shared and discarded."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.image_file import Purpose, discard, opened
from scsi2nvme.drivers.emulated.subsystem import Subsystem
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.transport import TransportError
from tests.drivers.emulated.host import MIB


def no_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "ftruncate", refuse)


def no_sidecar(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name("disk.json.new").mkdir()


def a_broken_sidecar(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name("disk.json").write_text("{}")


def no_reservations(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name("disk.reservations").mkdir()


def broken_reservations(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.with_name("disk.reservations.json").write_text("[]")


def a_link(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.symlink_to("elsewhere")
    no_room(path, monkeypatch)


def links_beside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lead nowhere, but are somebody's."""
    for name in ("disk.json", "disk.1.json", "disk.reservations", "disk.reservations.json"):
        path.with_name(name).symlink_to("nowhere")
    no_room(path, monkeypatch)


@pytest.mark.parametrize("controller", [0, 1])
@pytest.mark.parametrize(
    "obstacle",
    [
        *(no_room, no_sidecar, a_broken_sidecar, no_reservations, broken_reservations, a_link),
        links_beside,
    ],
)
def test_who_is_refused_a_new_image_leaves_nothing_of_it(
    obstacle: Callable[[Path, pytest.MonkeyPatch], None],
    controller: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "disk"
    obstacle(path, monkeypatch)
    if controller and "sidecar" in obstacle.__name__:
        for name in os.listdir(tmp_path):
            (tmp_path / name).rename(tmp_path / name.replace("disk.", "disk.1."))
    before = sorted(os.listdir(tmp_path))
    options = EmulatedOptions.of(
        path=path, size_bytes=MIB, rescap=True, **({"controller_number": 1} if controller else {})
    )
    with pytest.raises(TransportError, match=str(path)):
        EmulatedTransport(options)
    assert sorted(os.listdir(tmp_path)) == before


def bring_up(options: EmulatedOptions) -> None:
    async def work() -> None:
        controller = await Controller.open(EmulatedTransport(options))
        await controller.close()

    asyncio.run(work())


@pytest.mark.parametrize("controller", [0, 1])
@pytest.mark.parametrize("there", [(), ("disk",), ("disk", "sidecar"), ("disk", "shared")])
def test_a_bring_up_that_is_refused_leaves_what_was_there(
    there: tuple[str, ...], controller: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(self: Controller) -> None:
        raise ControllerError("it is of no use")

    path = tmp_path / "disk"
    names = {
        "disk": path,
        "sidecar": tmp_path / ("disk.1.json" if controller else "disk.json"),
        "shared": tmp_path / "disk.reservations",
    }
    number: dict[str, Any] = {"controller_number": controller} if controller else {}
    options = EmulatedOptions.of(path=path, size_bytes=MIB, rescap=True, **number)
    if there:
        bring_up(options)
        for each in set(tmp_path.iterdir()) - {names[name] for name in there}:
            each.unlink()
    before = sorted(os.listdir(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(Controller, "_start", refused)
        with pytest.raises(ControllerError):
            bring_up(options)
    assert sorted(os.listdir(tmp_path)) == before
    bring_up(options)  # and nothing of it is in the way


def test_reservations_are_not_taken_from_who_has_joined_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    bring_up(EmulatedOptions.of(path=path, size_bytes=MIB))
    first = EmulatedTransport(EmulatedOptions.of(path=path, rescap=True, controller_number=1))
    other = EmulatedTransport(EmulatedOptions.of(path=path, rescap=True, controller_number=2))
    first.give_up()
    first.close()
    assert (tmp_path / "disk.reservations").exists()
    other.close()


def test_who_waits_for_reservations_that_are_discarded_makes_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would share them with nobody."""
    path = tmp_path / "disk"
    bring_up(EmulatedOptions.of(path=path, size_bytes=MIB))
    given_up = [EmulatedTransport(EmulatedOptions.of(path=path, rescap=True, controller_number=1))]
    lock = Subsystem._lock

    def late(self: Subsystem, limit_s: float) -> None:
        if self.number == 2 and given_up:
            one = given_up.pop()
            one.give_up()
            one.close()
        lock(self, limit_s)

    monkeypatch.setattr(Subsystem, "_lock", late)
    other = EmulatedTransport(EmulatedOptions.of(path=path, rescap=True, controller_number=2))
    assert not given_up
    shared = (tmp_path / "disk.reservations").stat()
    assert any(os.path.samestat(shared, os.stat(fd)) for fd in Path("/proc/self/fd").iterdir())
    other.close()


def test_the_longest_names_leave_room_for_a_sidecar_or_nothing_is_left(tmp_path: Path) -> None:
    path, longer = tmp_path / ("x" * 240), tmp_path / ("x" * 250)
    for _ in range(2):
        EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB)).close()
    left = [path.name, f"{path.name}.json"]
    assert sorted(os.listdir(tmp_path)) == left
    for _ in range(2):
        with pytest.raises(TransportError, match="File name too long"):
            EmulatedTransport(EmulatedOptions(path=longer, size_bytes=MIB))
    assert sorted(os.listdir(tmp_path)) == left


def test_a_discarded_image_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that is made in its place meanwhile would lose its sidecar."""
    path, beside, unlink = tmp_path / "disk", tmp_path / "disk.json", Path.unlink
    fd, _ = opened(path, Purpose.SERVE)
    beside.touch()
    gone: list[Path] = []

    def told(self: Path, *, missing_ok: bool = False) -> None:
        gone.append(self)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", told)
    discard(fd, path, beside)
    os.close(fd)
    assert gone == [beside, path]


def test_an_image_that_was_there_stays_whatever_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    no_reservations(path, pytest.MonkeyPatch())
    with pytest.raises(TransportError, match="Is a directory"):
        EmulatedTransport(EmulatedOptions.of(path=path, size_bytes=MIB, rescap=True))
    assert path.stat().st_size == MIB


def test_who_has_waited_for_an_image_that_is_discarded_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its lock: what is written to it is not to be lost with it."""
    path = tmp_path / "disk"
    fd, made = opened(path, Purpose.SERVE)
    lock, turns = fcntl.flock, 0

    def slow(mine: int, how: int) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            monkeypatch.setattr(fcntl, "flock", lock)
            discard(fd, path)
            os.close(fd)
            monkeypatch.setattr(fcntl, "flock", slow)
        lock(mine, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    second, made_too = opened(path, Purpose.SERVE)
    assert made
    assert made_too
    assert os.path.samestat(os.fstat(second), path.stat())
    os.close(second)


def test_an_image_that_another_controller_has_is_not_discarded(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    one, made = opened(path, Purpose.SERVE, 1)
    other, made_too = opened(path, Purpose.SERVE, 2)
    assert (made, made_too) == (True, False)
    discard(one, path)
    assert path.exists()
    for fd in (one, other):
        os.close(fd)


def test_a_controller_of_several_is_there_once(tmp_path: Path) -> None:
    """Else two of them would replace each other's sidecar."""

    def transport(number: int) -> EmulatedTransport:
        return EmulatedTransport(
            EmulatedOptions.of(path=tmp_path / "disk", size_bytes=MIB, controller_number=number)
        )

    first, second = transport(1), transport(2)
    with pytest.raises(TransportError, match="disk: controller 1 is in use by another process"):
        transport(1)
    with pytest.raises(TransportError, match="disk: in use by another process"):
        transport(0)
    first.close()
    transport(1).close()
    second.close()


def test_what_another_controller_has_used_stays_when_that_has_gone(tmp_path: Path) -> None:
    """It may have been written to: of an image, and of reservations that last."""

    def transport(number: int) -> EmulatedTransport:
        return EmulatedTransport(
            EmulatedOptions.of(
                path=tmp_path / "disk", size_bytes=MIB, rescap=True, controller_number=number
            )
        )

    first, second = transport(1), transport(2)
    second.close()
    first.give_up()
    first.close()
    left = ["disk", "disk.2.json", "disk.reservations", "disk.reservations.json"]
    assert sorted(os.listdir(tmp_path)) == left
