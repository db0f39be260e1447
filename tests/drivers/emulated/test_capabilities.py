"""Capabilities of the emulated controller: that one module with its record is all it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Feature,
    LogPage,
    Part,
    Tables,
    merged,
)
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.fields import Values
from scsi2nvme.nvme.registers import CAP, Register, decode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE
from tests.drivers.emulated.host import MIB, Host, admin, get_feature, identify, log_page

COUNT = 0xC0


class Counter(Part):
    """Counts commands over resets and restarts."""

    def __init__(self, controller: Controller) -> None:
        self._kept = controller.model.state.kept
        self.count = self._kept.get("counter", controller.settings["first"])
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def add(self) -> int:
        self.count += 1
        self._kept["counter"] = self.count
        return int(self.count)


def count(controller: Controller, command: Values) -> int:
    return controller.part(Counter).add()


COUNTER = Capability(
    "counter",
    commands=(AdminCommand(COUNT, count, effects=1 << 1),),
    log_pages=(LogPage(COUNT, lambda controller: bytes([controller.part(Counter).count] * 4)),),
    features=(Feature(COUNT, default=7),),
    cap={"cmbs": 1},
    controller=lambda controller: {"oacs": 1 << 3},
    namespace=lambda controller, namespace: {"nmic": 1},
    settings={"first": 0},
    start=Counter,
)


def opened(path: Path, **settings: int) -> Host:
    """Return a host with a controller that can count."""
    tables = Tables((*TABLES.capabilities, COUNTER))
    return Host(tables, path=path, size_bytes=MIB, **settings).enable()


def test_a_record_is_all_that_a_capability_needs(tmp_path: Path) -> None:
    async def first() -> None:
        host = opened(tmp_path / "disk", first=4)
        assert (await host.execute(admin(COUNT))).dw0 == 5
        assert await host.ok(log_page(COUNT, 4)) == bytes([5] * 4)
        assert (await host.execute(get_feature(COUNT))).dw0 == 7
        effects = await host.ok(log_page(0x05, 4096))
        assert effects[4 * COUNT] == 1 | 1 << 1
        assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oacs == 0b11010
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1))).nmic == 1
        assert decode(CAP, host.transport.read64(Register.CAP)).cmbs == 1
        host.close()

    async def second() -> None:
        host = opened(tmp_path / "disk")
        assert (await host.execute(admin(COUNT))).dw0 == 6
        host.close()

    asyncio.run(first())
    asyncio.run(second())


def test_what_two_capabilities_claim_is_found() -> None:
    with pytest.raises(AssertionError, match="two capabilities"):
        Tables((*TABLES.capabilities, Capability("other", features=(Feature(0x06),))))
    with pytest.raises(AssertionError, match="two capabilities give sn"):
        merged(({"sn": b"1"}, {"sn": b"2"}))


def test_bits_of_a_number_may_come_from_several() -> None:
    assert merged(({"oncs": 1, "sn": b"1"}, {"oncs": 4})) == {"oncs": 5, "sn": b"1"}


def test_a_setting_that_no_capability_has_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        EmulatedTransport(EmulatedOptions.of(size_bytes=MIB, colour="red"))
