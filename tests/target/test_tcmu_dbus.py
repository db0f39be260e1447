"""The handler on a bus of its own, asked as targetcli asks."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from scsi2nvme.target.tcmu import parse_config
from scsi2nvme.target.tcmu_dbus import INTERFACE, NAME, PATH, BusUnavailable, TcmuBus


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


async def ask(address: str, path: str, interface: str, member: str, *values: str) -> list[object]:
    client = await MessageBus(bus_address=address).connect()
    try:
        reply = await client.call(
            Message(
                destination=NAME,
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
        bus = await TcmuBus.connect(parse_config, address)
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


@pytest.mark.parametrize(
    ("config", "good", "word"),
    [("nvme/0/1", True, ""), ("nvme/0", False, "CONTROLLER/NSID"), ("nvme/a:b/1", False, "colon")],
)
def test_configurations_are_checked(address: str, config: str, good: bool, word: str) -> None:
    async def run() -> list[object]:
        bus = await TcmuBus.connect(parse_config, address)
        try:
            return await ask(address, f"{PATH}/nvme", INTERFACE, "CheckConfig", config)
        finally:
            bus.close()

    answer, reason = asyncio.run(run())
    assert answer is good
    assert isinstance(reason, str)
    assert word in reason


def test_there_is_one_daemon(address: str) -> None:
    async def run() -> None:
        bus = await TcmuBus.connect(parse_config, address)
        try:
            with pytest.raises(BusUnavailable, match="tcmu-runner"):
                await TcmuBus.connect(parse_config, address)
        finally:
            bus.close()

    asyncio.run(run())


def test_without_a_bus(tmp_path: Path) -> None:
    with pytest.raises(BusUnavailable, match=NAME):
        asyncio.run(TcmuBus.connect(parse_config, f"unix:path={tmp_path}/none"))
