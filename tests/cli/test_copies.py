"""Copies that are up before their originals, or without them, as initiators see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ConfigFile, ControllerTable
from scsi2nvme.cli.config import TargetSettings, settings
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.daemon import served_controllers
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.cli.daemon.served_controllers import Controllers
from scsi2nvme.cli.errors import OperationError, UnusableControllerError
from tests.daemon import free_port
from tests.iscsi_client import Initiator, LoginError
from tests.support import row
from tests.waiting import eventually

SERVICE_UNAVAILABLE, NOT_FOUND = 0x0301, 0x0203
BASE = "iqn.2026-11.io.github.scsi2nvme:scsi2nvme-emulated-controller-"
ORIGINAL = "emulated:memory,size=2M,serial=S"
COPY = "emulated:memory,size=1M,serial=S"
OTHER = "emulated:memory,size=1M,serial=OTHER"

Patch = pytest.MonkeyPatch


class Gate:
    """Keeps a controller from being up, and says how that ends."""

    def __init__(self, patch: Patch, spec: str) -> None:
        self._opened, self._event = Controllers._open, asyncio.Event()
        self._spec, self._fails = spec, False
        gate = self

        async def slow(one: Controllers, number: int, target: TargetSettings) -> Served:
            if target.spec.text == gate._spec:
                await gate._event.wait()
                if gate._fails:
                    raise UnusableControllerError("it is broken")
            return await gate._opened(one, number, target)

        patch.setattr(Controllers, "_open", slow)
        patch.setattr(served_controllers, "PATIENCE_S", 0.0)

    def open(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._event.set()


@asynccontextmanager
async def daemon(
    directory: Path, port: int, *specs: str | ControllerTable
) -> AsyncIterator[Daemon]:
    rows = [spec if isinstance(spec, ControllerTable) else ControllerTable(spec) for spec in specs]
    configured = settings(
        ConfigFile(controllers=tuple(rows)),
        default_state_dir=directory,
        maximum_reactors=1,
        portals=(f"127.0.0.1:{port}",),
    )
    async with AsyncExitStack() as stack:
        yield await Daemon.start(configured, stack)


async def all_told(running: Daemon) -> None:
    """Wait until no controller is under way any more, and all of it has been told."""
    await eventually(
        lambda: (
            not running.controllers._opening.under_way
            and not running.controllers._following.locked()
        ),
        "all is known",
    )
    async with running.controllers._following:
        pass


def login(port: int, name: str) -> int:
    """Return the status of a login to a target."""
    with Initiator(("127.0.0.1", port)) as one:
        try:
            one.login(name)
        except LoginError as error:
            return int(error.status)
    return 0


def blocks(port: int, name: str) -> int | None:
    """Return the capacity of a target's LUN 0 in blocks, None if there is no such LUN."""
    with Initiator(("127.0.0.1", port)) as one:
        one.login(name)
        one.command(0, bytes(6))
        answer = one.command(0, row("READ CAPACITY (10)").build(), data_in=8)
        return int.from_bytes(answer.data[:4], "big") + 1 if answer.status == 0 else None


def designators(port: int, name: str) -> bytes:
    with Initiator(("127.0.0.1", port)) as one:
        one.login(name)
        one.command(0, bytes(6))
        cdb = row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=255)
        return one.command(0, cdb, data_in=255).data


def forget(directory: Path, spec: str) -> None:
    ask(directory, methods.FORGET, methods.WhichController(spec))


@pytest.mark.parametrize("first", [ORIGINAL, COPY])
@pytest.mark.parametrize("fails", [False, True])
def test_a_copy_that_is_up_first_gets_nothing_of_its_original(
    tmp_path: Path, monkeypatch: Patch, first: str, fails: bool
) -> None:
    port, name = free_port(), f"{BASE}s"
    specs = (ORIGINAL, COPY, OTHER) if first == ORIGINAL else (COPY, ORIGINAL, OTHER)

    async def work() -> None:
        async with daemon(tmp_path, port, ORIGINAL, OTHER):
            pass
        gate = Gate(monkeypatch, ORIGINAL)
        async with daemon(tmp_path, port, *specs) as running:
            await eventually(lambda: len(running.served) == 2, "the copy is up")
            (copy,) = (one for one in running.served if one.settings.spec.text == COPY)
            assert copy.units == {}
            assert copy.disk == ""  # by which the kernel's target would find it
            assert await asyncio.to_thread(login, port, name) == SERVICE_UNAVAILABLE
            gate.open(fails=fails)
            await all_told(running)
            if not fails:
                assert await asyncio.to_thread(blocks, port, name) == 4096
                assert copy.units == {}
                return
            assert await asyncio.to_thread(login, port, name) == NOT_FOUND
            await asyncio.to_thread(forget, tmp_path, ORIGINAL)
            assert await asyncio.to_thread(blocks, port, name) == 2048
            with pytest.raises(OperationError, match="nothing is on record"):
                await asyncio.to_thread(forget, tmp_path, ORIGINAL)

    asyncio.run(work())


@pytest.mark.parametrize("early", [0, 1])
def test_disks_of_one_identifier_have_their_names_whichever_is_up_first(
    tmp_path: Path, monkeypatch: Patch, early: int
) -> None:
    """Neither is known by the identifier meanwhile, and no name changes."""
    port = free_port()
    specs = [f"emulated:memory,size=1M,serial={one},identifiers=SAME" for one in ("A1", "B2")]
    names = [f"{BASE}a1", f"{BASE}b2"]

    async def work() -> None:
        async with daemon(tmp_path, port, *specs):
            before = [await asyncio.to_thread(designators, port, name) for name in names]
        gate = Gate(monkeypatch, specs[1 - early])
        async with daemon(tmp_path, port, *specs) as running:
            assert await asyncio.to_thread(designators, port, names[early]) == before[early]
            gate.open()
            await all_told(running)
            after = [await asyncio.to_thread(designators, port, name) for name in names]
            assert after == before

    asyncio.run(work())


def test_a_copy_with_a_target_of_its_own_has_no_lun_meanwhile(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    port = free_port()
    original, copy = ControllerTable(ORIGINAL), ControllerTable(COPY, f"{BASE}copy")

    async def work() -> None:
        async with daemon(tmp_path, port, copy, original) as running:
            # Nothing is on record: the first in the configuration.
            assert await asyncio.to_thread(blocks, port, f"{BASE}copy") == 2048
            assert await asyncio.to_thread(blocks, port, f"{BASE}s") is None
        gate = Gate(monkeypatch, COPY)
        async with daemon(tmp_path, port, copy, original) as running:
            assert await asyncio.to_thread(blocks, port, f"{BASE}s") is None
            gate.open()
            await all_told(running)
            assert await asyncio.to_thread(blocks, port, f"{BASE}copy") == 2048
            assert await asyncio.to_thread(blocks, port, f"{BASE}s") is None

    asyncio.run(work())


def test_what_was_kept_for_another_disk_is_served_once_it_is_known_to_be_elsewhere(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """Two disks have changed places, and one of them is slow."""
    port = free_port()
    one, two = tmp_path / "one.img", tmp_path / "two.img"
    specs = [f"emulated:{one}", f"emulated:{two}"]

    async def work() -> None:
        async with daemon(tmp_path, port, f"{specs[0]},size=1M", f"{specs[1]},size=2M") as running:
            names = [each.iqn for each in running.served]
        for suffix in ("", ".json"):
            paths = [Path(f"{each}{suffix}") for each in (one, two)]
            whole = [path.read_bytes() for path in paths]
            for path, content in zip(paths, reversed(whole), strict=True):
                path.write_bytes(content)
        gate = Gate(monkeypatch, specs[0])
        async with daemon(tmp_path, port, *specs) as running:
            assert await asyncio.to_thread(login, port, names[0]) == SERVICE_UNAVAILABLE
            gate.open()
            await all_told(running)
            assert await asyncio.to_thread(blocks, port, names[0]) == 2048
            assert await asyncio.to_thread(blocks, port, names[1]) == 4096

    asyncio.run(work())


def test_a_target_name_that_is_given_to_a_slow_one_is_its_own(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    port, name = free_port(), f"{BASE}other"
    slow = ControllerTable(ORIGINAL, name)

    async def work() -> None:
        gate = Gate(monkeypatch, ORIGINAL)
        async with daemon(tmp_path, port, OTHER, slow) as running:
            assert await asyncio.to_thread(login, port, name) == SERVICE_UNAVAILABLE
            gate.open()
            await all_told(running)
            assert await asyncio.to_thread(blocks, port, name) == 4096

    asyncio.run(work())


def test_a_damaged_record_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"disks": [{}]}')

    async def work() -> None:
        async with daemon(tmp_path, free_port(), OTHER):
            raise AssertionError("it is served")

    with pytest.raises(OperationError, match=r"names\.json is damaged .*; move it away") as caught:
        asyncio.run(work())
    assert str(caught.value).isprintable()
