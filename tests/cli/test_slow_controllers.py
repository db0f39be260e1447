"""Controllers are brought up side by side: one that hangs, or is slow, costs itself only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ConfigFile, ControllerTable
from scsi2nvme.cli import controllers
from scsi2nvme.cli.config import TargetSettings, settings
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.daemon import served_controllers
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.front_ends.iscsi.portal import IscsiFrontEnd
from scsi2nvme.cli.daemon.inventory import Inventory
from scsi2nvme.cli.daemon.opening import Opening
from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.cli.errors import OperationError, UnusableControllerError
from scsi2nvme.cli.spec import ControllerSpec, parse
from scsi2nvme.drivers.nvme.controller import Controller
from tests.daemon import IQN, free_port, target
from tests.iscsi_client import Initiator, LoginError
from tests.support import row
from tests.waiting import eventually

MEMORY = "emulated:memory,size=1M"
READ = row("READ (10)").build(transfer_length=1)
SERVICE_UNAVAILABLE, NOT_FOUND = 0x0301, 0x0203

Patch = pytest.MonkeyPatch


# ---- bringing up ----


class Up:
    """What stands for a controller that is up."""

    def __init__(self, number: int) -> None:
        self.number = number


def opening(*ends: Callable[[], Coroutine[Any, Any, None]], patience_s: float = 0.05) -> Opening:
    """Return how controllers are brought up, each of which ends so."""

    async def bring_up(number: int, target: TargetSettings) -> Served:
        await ends[number]()
        return cast(Served, Up(number))

    targets = [TargetSettings(parse(f"{MEMORY},serial=S{n}"), "", IQN) for n in range(len(ends))]
    return Opening(targets, bring_up, patience_s)


async def at_once() -> None:
    pass


async def soon() -> None:
    await asyncio.sleep(0.01)


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def unusable() -> None:
    raise UnusableControllerError("it is broken")


async def absent() -> None:
    raise OperationError("there is none")


def test_all_that_are_up_in_time_are_served_in_order() -> None:
    async def work() -> None:
        each = opening(soon, at_once, unusable, patience_s=60)
        assert [one.number for one in await each.some()] == [0, 1]
        assert each.under_way == []
        assert each.failed == {2: "it is broken"}

    asyncio.run(work())


def test_one_that_hangs_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        each = opening(never, at_once)
        assert [one.number for one in await each.some()] == [1]
        assert each.under_way == [0]
        await each.stop()
        assert each.under_way == []

    asyncio.run(work())
    assert caplog.messages == [
        f"controller '{MEMORY},serial=S0' is not up yet; the others are served meanwhile"
    ]


def test_the_first_is_waited_for_as_long_as_it_takes() -> None:
    async def slow() -> None:
        await asyncio.sleep(0.3)

    async def work() -> None:
        each = opening(slow, unusable, patience_s=0.0)
        assert [one.number for one in await each.some()] == [0]

    asyncio.run(work())


def test_what_comes_later_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        gate, broken = asyncio.Event(), asyncio.Event()

        async def late() -> None:
            await gate.wait()

        async def late_and_broken() -> None:
            await broken.wait()
            await absent()

        each = opening(late, at_once, late_and_broken)
        assert [one.number for one in await each.some()] == [1]
        gate.set()
        rest = each.rest()
        assert (await anext(rest)).number == 0
        broken.set()
        assert [one.number async for one in rest] == []
        assert each.failed == {2: "there is none"}

    asyncio.run(work())
    assert caplog.messages[-1] == "there is none; it is not served"


def test_one_that_goes_wrong_later_keeps_no_other_from_being_served() -> None:
    async def work() -> None:
        gate, wrong = asyncio.Event(), asyncio.Event()

        async def late() -> None:
            await gate.wait()

        async def late_and_wrong() -> None:
            await wrong.wait()
            gate.set()
            raise ValueError("what nobody expected")

        each = opening(at_once, late_and_wrong, late)
        assert [one.number for one in await each.some()] == [0]
        wrong.set()
        assert [one.number async for one in each.rest()] == [2]
        assert "what nobody expected" in each.failed[1]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((absent, never), "there is none"),
        ((at_once, absent), "there is none"),
        ((unusable,), "it is broken"),
        ((unusable, unusable), "none of the controllers can be served"),
    ],
)
def test_what_keeps_all_from_being_served(
    ends: tuple[Callable[[], Coroutine[Any, Any, None]], ...], words: str
) -> None:
    async def work() -> None:
        each = opening(*ends)
        with pytest.raises(OperationError, match=words):
            await each.some()
        await each.stop()

    asyncio.run(work())


# ---- the daemon ----


@contextlib.asynccontextmanager
async def daemon(tmp_path: Path, port: int, *specs: str, **more: Any) -> AsyncIterator[Daemon]:
    """Serve such controllers, called `target(0)`, `target(1)`, …"""
    rows = tuple(ControllerTable(spec, target(number)) for number, spec in enumerate(specs))
    configured = settings(
        ConfigFile(controllers=rows, **more),
        default_state_dir=tmp_path,
        maximum_reactors=2,
        portals=(f"127.0.0.1:{port}",),
    )
    async with contextlib.AsyncExitStack() as stack:
        yield await Daemon.start(configured, stack)


async def states(tmp_path: Path) -> list[str]:
    listed = await asyncio.to_thread(ask, tmp_path, methods.SHOW)
    return [one["State"] for one in listed["Controllers"]]


def uses(port: int, number: int) -> None:
    """Log in to a target, and read from its disk."""
    with Initiator(("127.0.0.1", port)) as one:
        one.login(target(number))
        one.hear()
        assert one.command(0, READ, data_in=512).status == 0


def refused(port: int, name: str) -> int:
    with Initiator(("127.0.0.1", port)) as one, pytest.raises(LoginError) as caught:
        one.login(name)
    return int(caught.value.status)


def test_one_that_hangs_costs_itself_only(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(served_controllers, "PATIENCE_S", 0.1)
    port = free_port()

    async def work() -> None:
        async with (
            asyncio.timeout(30),
            daemon(tmp_path, port, f"{MEMORY},fault=identify:hang", MEMORY) as running,
        ):
            assert [one.number for one in running.served] == [1]
            assert await states(tmp_path) == ["starting", "live"]
            await asyncio.to_thread(uses, port, 1)
            with pytest.raises(OperationError, match="is not up yet"):
                await asyncio.to_thread(
                    ask, tmp_path, methods.READ, methods.WhichStructure("id-ctrl", "0")
                )
            # It may come: initiators are to try again.
            name = target(0)
            assert await asyncio.to_thread(refused, port, name) == SERVICE_UNAVAILABLE

    asyncio.run(work())


@pytest.mark.parametrize("slow", [0, 1])
def test_one_that_is_slow_is_served_later(
    tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture, slow: int
) -> None:
    monkeypatch.setattr(served_controllers, "PATIENCE_S", 0.0)
    port = free_port()
    specs = [f"{MEMORY},serial=S0", f"{MEMORY},serial=S1"]
    specs[slow] += ",fault=identify:delay=700:count=1"

    async def work() -> None:
        async with daemon(tmp_path, port, *specs) as running:
            await asyncio.to_thread(uses, port, 1 - slow)
            assert await states(tmp_path) != ["live", "live"]
            await eventually(lambda: len(running.served) == 2, "both are served")
            await eventually(
                lambda: not running.controllers._following.locked(), "all have been told"
            )
            assert [one.number for one in running.served] == [0, 1]
            assert await states(tmp_path) == ["live", "live"]
            for number in range(2):
                await asyncio.to_thread(uses, port, number)
                served = running.served[number]
                await served.controller.reset()
                await asyncio.to_thread(uses, port, number)
            assert await asyncio.to_thread(refused, port, f"{IQN}:none") == NOT_FOUND

    asyncio.run(work())
    assert f"controller '{specs[slow]}' is up, and served from now on" in caplog.messages


@pytest.mark.parametrize(
    ("error", "said", "whole"),
    [
        (ValueError("what nobody expected"), "", True),
        (OperationError("no group is left"), ": no group is left", False),
    ],
    ids=["fault", "refusal"],
)
def test_a_late_one_that_cannot_be_taken_in_costs_itself_only(
    tmp_path: Path,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    said: str,
    whole: bool,
) -> None:
    monkeypatch.setattr(served_controllers, "PATIENCE_S", 0.0)
    port = free_port()
    delays = (None, 300, 600)
    specs = [
        f"{MEMORY},serial=S{number}" + (f",fault=identify:delay={delay}:count=1" if delay else "")
        for number, delay in enumerate(delays)
    ]
    follow = Inventory.follow

    def odd(inventory: Inventory, one: Served) -> object:
        gone, came = follow(inventory, one)
        if one.number == 1:
            raise error
        return gone, came

    monkeypatch.setattr(Inventory, "follow", odd)

    async def work() -> None:
        async with asyncio.timeout(30), daemon(tmp_path, port, *specs) as running:
            await eventually(lambda: len(running.served) == 2, "the last is served")
            await eventually(
                lambda: not running.controllers._following.locked(), "all have been told"
            )
            assert [one.number for one in running.served] == [0, 2]
            assert await states(tmp_path) == ["live", "not served", "live"]
            for number in (0, 2):
                await asyncio.to_thread(uses, port, number)

    asyncio.run(work())
    assert f"controller '{specs[1]}' cannot be served{said}" in caplog.messages
    assert str(error) in caplog.text
    assert ("Traceback" in caplog.text) == whole


def test_a_slow_one_that_cannot_be_driven_is_told(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(served_controllers, "PATIENCE_S", 0.0)
    port = free_port()
    bad = f"{MEMORY},tell=ctrl.cntrltype:3,fault=identify:delay=300"

    async def work() -> None:
        async with daemon(tmp_path, port, MEMORY, bad):
            assert await asyncio.to_thread(refused, port, target(1)) == SERVICE_UNAVAILABLE
            for _ in range(100):
                if await states(tmp_path) == ["live", "not served"]:
                    break
                await asyncio.sleep(0.05)
            assert await states(tmp_path) == ["live", "not served"]
            assert await asyncio.to_thread(refused, port, target(1)) == NOT_FOUND

    asyncio.run(work())


def test_one_that_could_not_be_driven_may_be_added_once_it_can(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    """It has the place, and so the names, that the configuration gave it: no copy is meant."""
    image = f"emulated:{tmp_path}/disk.img,size=1M,serial=LATE"
    usable: set[str] = set()
    bring_up = controllers.open_controller

    async def open_controller(spec: ControllerSpec, **more: Any) -> Controller:
        if spec.text == image and image not in usable:
            raise UnusableControllerError("it is broken")
        return await bring_up(spec, **more)

    monkeypatch.setattr(controllers, "open_controller", open_controller)
    port = free_port()

    async def work() -> None:
        async with daemon(tmp_path, port, f"{MEMORY},serial=FIRST", image):
            assert await states(tmp_path) == ["live", "not served"]
            new = methods.NewController(image)
            with pytest.raises(OperationError, match="it is broken"):
                await asyncio.to_thread(ask, tmp_path, methods.ADD, new)
            assert await states(tmp_path) == ["live", "not served"]
            usable.add(image)
            added = await asyncio.to_thread(ask, tmp_path, methods.ADD, new)
            assert await states(tmp_path) == ["live", "live"]
            assert (added.target, added.namespaces) == (target(1), (1,))
            await asyncio.to_thread(uses, port, 1)

    asyncio.run(work())


def test_what_nobody_expected_is_no_success(tmp_path: Path, monkeypatch: Patch) -> None:
    """It costs the one that was to be added, and is told; so it is where one is to go."""

    async def follow_inventory(self: IscsiFrontEnd) -> None:
        raise ValueError("a bug")

    async def work() -> None:
        async with daemon(tmp_path, free_port(), f"{MEMORY},serial=FIRST"):
            with monkeypatch.context() as patched:
                patched.setattr(IscsiFrontEnd, "follow_inventory", follow_inventory)
                new = methods.NewController(f"{MEMORY},serial=NEW")
                with pytest.raises(OperationError, match="a bug"):
                    await asyncio.to_thread(ask, tmp_path, methods.ADD, new)
                which = methods.WhichController("0")
                with pytest.raises(OperationError, match="went wrong"):
                    await asyncio.to_thread(ask, tmp_path, methods.REMOVE, which)

    asyncio.run(work())
