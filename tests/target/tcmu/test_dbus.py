"""The handler on a bus of its own, asked as targetcli asks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusStr
from dbus_fast.service import ServiceInterface, dbus_method

from scsi2nvme.__main__ import main
from scsi2nvme.cli.daemon.front_ends.tcmu.stand_in import NOTICE, stand_in
from scsi2nvme.cli.errors import FAILED
from scsi2nvme.target.tcmu.dbus import (
    INTERFACE,
    NAME,
    PATH,
    BusUnavailable,
    CheckedConfig,
    TcmuBus,
    owner,
)
from scsi2nvme.target.tcmu.device_config import USAGE, parse_config
from tests.waiting import eventually


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Return the address of a bus."""
    bus = subprocess.Popen(
        [
            "dbus-daemon",
            "--session",
            f"--address=unix:path={tmp_path}/bus",
            "--nofork",
            "--print-address=1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert bus.stdout is not None
    with bus:
        yield bus.stdout.readline().strip()
        bus.terminate()


async def ask(
    address: str, path: str, interface: str, member: str, *values: str, to: str = NAME
) -> list[object]:
    client = await MessageBus(bus_address=address).connect()
    try:
        reply = await client.call(
            Message(
                destination=to,
                path=path,
                interface=interface,
                member=member,
                signature="s" * len(values),
                body=list(values),
            )
        )
    finally:
        client.disconnect()
    assert reply is not None
    assert reply.message_type is MessageType.METHOD_RETURN, reply.body
    return reply.body


def test_the_object_manager_lists_the_handler(address: str) -> None:
    async def run() -> list[object]:
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        try:
            return await ask(
                address, PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
            )
        finally:
            bus.close()

    (objects,) = asyncio.run(run())
    assert isinstance(objects, dict)
    assert list(objects) == [f"{PATH}/nvme"]
    assert "NSID" in objects[f"{PATH}/nvme"][INTERFACE]["ConfigDesc"].value


def test_the_description_is_that_of_the_moment(address: str) -> None:
    said = ["before"]

    async def run() -> list[object]:
        bus = await TcmuBus.connect(parse_config, lambda: said[-1], address)
        said.append("after")
        try:
            question = ("org.freedesktop.DBus.Properties", "Get", INTERFACE, "ConfigDesc")
            return await ask(address, f"{PATH}/nvme", *question)
        finally:
            bus.close()

    (answer,) = asyncio.run(run())
    assert answer.value == "after"  # type: ignore[attr-defined]


async def listed(address: str) -> dict[str, str]:
    """Return what targetcli shows of handlers, and what its help says of each."""
    manager = "org.freedesktop.DBus.ObjectManager"
    (objects,) = await ask(address, PATH, manager, "GetManagedObjects")
    assert isinstance(objects, dict)
    return {
        path.removeprefix(f"{PATH}/"): about[INTERFACE]["ConfigDesc"].value
        for path, about in objects.items()
    }


def test_what_is_wrong_has_a_line_of_its_own_while_it_is(address: str) -> None:
    notices: list[str] = []

    async def run() -> None:
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address, lambda: notices)
        try:
            assert list(await listed(address)) == ["nvme"]
            for why in ("no answer", "pulled out"):
                notices[:] = [f"Controller 0000_01_00.0 is dead: {why}"]
                shown = await listed(address)
                assert shown.pop("nvme") == USAGE
                assert shown == {"nvme_controller_0000_01_00_0_is_dead": notices[0]}
            path = f"{PATH}/nvme_controller_0000_01_00_0_is_dead"
            answer = await ask(address, path, INTERFACE, "CheckConfig", "nvme_x/0/1")
            assert answer == [False, f"nvme_x/0/1: {notices[0]}"]
            notices.clear()
            assert list(await listed(address)) == ["nvme"]
        finally:
            bus.close()

    asyncio.run(run())


def test_while_no_daemon_runs_another_tells_so(address: str) -> None:
    async def run() -> None:
        standing_in = asyncio.create_task(stand_in(address, 0.5))
        while await owner(address) is None:
            assert not standing_in.done()
        shown = await listed(address)
        assert shown == {"nvme": NOTICE, "nvme_the_daemon_does_not_run": NOTICE}
        answer = await ask(address, f"{PATH}/nvme", INTERFACE, "CheckConfig", "nvme/0/1")
        assert answer == [False, f"nvme/0/1: {NOTICE}"]
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        try:
            assert not bus.guest
            assert await listed(address) == {"nvme": USAGE}
            await standing_in
            assert await listed(address) == {"nvme": USAGE}
            await stand_in(address, 0.5)  # there is one: it ends at once
        finally:
            bus.close()
        await stand_in(address, 0.01)  # nobody asks: so it does now

    asyncio.run(run())


@pytest.mark.parametrize(
    ("config", "good", "word"),
    [("nvme/0/1", True, ""), ("nvme/0", False, "CONTROLLER/NSID"), ("nvme/a:b/1", False, "colon")],
)
def test_configurations_are_checked(address: str, config: str, good: bool, word: str) -> None:
    async def run() -> list[object]:
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        try:
            return await ask(address, f"{PATH}/nvme", INTERFACE, "CheckConfig", config)
        finally:
            bus.close()

    answer, reason = asyncio.run(run())
    assert answer is good
    assert isinstance(reason, str)
    assert word in reason


class Manager(ServiceInterface):
    """What tcmu-runner has for handlers of others."""

    def __init__(self, *, takes: bool) -> None:
        super().__init__(f"{NAME}.HandlerManager1")
        self.takes = takes
        self.handlers: list[str] = []

    @dbus_method()
    def RegisterHandler(self, name: DBusStr, description: DBusStr) -> CheckedConfig:  # noqa: N802
        """Take a handler in."""
        self.handlers.append(name)
        return self.takes, "" if self.takes else "there is one already"


async def runner(address: str, manager: Manager) -> MessageBus:
    """Return a bus on which a tcmu-runner is."""
    bus = await MessageBus(bus_address=address).connect()
    bus.export(f"{PATH}/HandlerManager1", manager)
    await bus.request_name(NAME)
    return bus


def test_beside_tcmu_runner_and_after_it(address: str) -> None:
    async def run() -> None:
        manager = Manager(takes=True)
        other = await runner(address, manager)
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        try:
            assert bus.guest
            assert manager.handlers == ["nvme"]
            own = f"{NAME}.HandlerManager1.nvme"
            path = f"{PATH}/HandlerManager1/nvme"
            answer = await ask(address, path, INTERFACE, "CheckConfig", "nvme/0/1", to=own)
            assert answer == [True, ""]
            other.disconnect()
            await eventually(lambda: not bus.guest, "it is no guest any more")
            answer = await ask(address, f"{PATH}/nvme", INTERFACE, "CheckConfig", "nvme/0/1")
            assert answer == [True, ""]
        finally:
            bus.close()

    asyncio.run(run())


def test_only_the_bus_says_whose_the_name_is(address: str) -> None:
    async def run() -> None:
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        other = await MessageBus(bus_address=address).connect()
        try:
            lost = Message(
                destination=NAME,
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="NameLost",
                message_type=MessageType.SIGNAL,
                signature="s",
                body=[NAME],
            )
            await other.send(lost)
            # What comes from there afterwards is answered after that.
            path = f"{PATH}/nvme"
            call = Message(NAME, path, INTERFACE, "CheckConfig", signature="s", body=["nvme/0/1"])
            answer = await other.call(call)
            assert answer is not None
            assert answer.body == [True, ""]
            assert not bus.guest
        finally:
            other.disconnect()
            bus.close()

    asyncio.run(run())


def test_without_dbus_fast_a_person_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dbus_fast", None)
    monkeypatch.delitem(sys.modules, "scsi2nvme.target.tcmu.dbus")
    monkeypatch.delattr("scsi2nvme.target.tcmu.dbus")
    assert main(["daemon", "--stand-in"]) == FAILED
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "dbus-fast" in told.partition("; run: ")[2]


def test_a_runner_that_does_not_take_us_is_told_of(address: str) -> None:
    async def run() -> None:
        other = await runner(address, Manager(takes=False))
        with pytest.raises(BusUnavailable, match="there is one already"):
            await TcmuBus.connect(parse_config, lambda: USAGE, address)
        other.disconnect()

    asyncio.run(run())


def test_there_is_one_daemon(address: str) -> None:
    async def run() -> None:
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        try:
            with pytest.raises(BusUnavailable, match="no tcmu-runner"):
                await TcmuBus.connect(parse_config, lambda: USAGE, address)
        finally:
            bus.close()

    asyncio.run(run())


def test_without_a_bus(tmp_path: Path) -> None:
    with pytest.raises(BusUnavailable, match=NAME):
        asyncio.run(TcmuBus.connect(parse_config, lambda: USAGE, f"unix:path={tmp_path}/none"))


def test_the_process_that_has_the_name_is_told(address: str) -> None:
    async def scenario() -> None:
        assert await owner(address) is None
        bus = await TcmuBus.connect(parse_config, lambda: USAGE, address)
        assert await owner(address) == os.getpid()
        bus.close()

    asyncio.run(scenario())


def test_without_a_bus_nobody_has_the_name(tmp_path: Path) -> None:
    with pytest.raises(BusUnavailable, match=NAME):
        asyncio.run(owner(f"unix:path={tmp_path}/none"))
