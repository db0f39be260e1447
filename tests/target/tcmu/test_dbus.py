"""The handler on a bus of its own, asked as targetcli asks."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusStr
from dbus_fast.service import ServiceInterface, dbus_method

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
