"""What the controller does when the host has something to tell of its device."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capability import Tables
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller, ControllerState
from scsi2nvme.drivers.nvme.errors import ControllerGoneError
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.drivers.nvme.retry import LOST
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.registers import CSTS, Register, ShutdownStatus, decode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.waiting import eventually

POWER_MANAGEMENT, WRITE_CACHE = 0x02, 0x06
FLUSH = NvmeCommand(Opcode.FLUSH, 1)


class Alarming(EmulatedTransport):
    """A controller whose host raises alarms, and that remembers how it was let go."""

    def __init__(self) -> None:
        self.tables = Tables(TABLES.capabilities).offered(TABLES.settings)
        super().__init__(EmulatedOptions(size_bytes=1 << 20, vectors=5), self.tables)
        self.alarms = {alarm: os.eventfd(0, os.EFD_NONBLOCK) for alarm in Alarm}
        self.let_go_at: list[int] = []
        self.on_cut_off: Callable[[], object] = lambda: None

    def cut_off(self) -> None:
        self.on_cut_off()
        super().cut_off()

    async def let_go(self) -> None:
        self.let_go_at.append(self.read32(Register.CSTS))
        await super().let_go()


class Path:
    """A data path that only remembers."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def pause(self) -> None:
        self.log.append("pause")

    def resume(self) -> None:
        self.log.append("resume")

    def fail(self, status: int) -> None:
        self.log.append(f"fail {status:#x}")


@pytest.fixture
def transport() -> Iterator[Alarming]:
    transport = Alarming()
    yield transport
    for eventfd in transport.alarms.values():
        os.close(eventfd)


async def until_let_go(transport: Alarming) -> None:
    await eventually(lambda: transport.let_go_at, "the device is let go of")


def test_a_device_that_the_host_wants_is_shut_down_and_let_go(
    transport: Alarming, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport)
        path = Path()
        controller.attach(path)
        assert controller.gone == f"{controller.name} was dead, and is live again"  # told too late
        os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)
        await until_let_go(transport)
        assert decode(CSTS, transport.let_go_at[0]).shst == ShutdownStatus.COMPLETE
        assert path.log == ["pause", f"fail {LOST:#x}"]
        assert controller.state is ControllerState.DEAD
        assert controller.failure == "the host wants the device back"
        assert controller.gone == f"{controller.name} is dead: {controller.failure}"
        await eventually(lambda: "the device is given back" in caplog.text, "that is told")
        (completion,) = await controller.execute(FLUSH)
        assert completion.status == LOST
        assert len(transport.let_go_at) == 1
        await controller.close()

    asyncio.run(scenario())


def test_a_device_that_is_gone_already_is_let_go_at_once(transport: Alarming) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport)
        transport.remove()
        os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)
        await until_let_go(transport)
        assert controller.state is ControllerState.DEAD
        await controller.close()

    asyncio.run(scenario())


def test_what_is_gone_has_no_subsystem_to_reset(transport: Alarming) -> None:
    """All ones, which it reads as then, would say that it has such a reset."""

    async def scenario() -> None:
        controller = await Controller.open(transport)
        transport.remove()
        with pytest.raises(ControllerGoneError):
            await controller.reset_subsystem()
        await controller.close()

    asyncio.run(scenario())


QUICK = Timing(watch_s=0.01)


async def pulled_out(transport: Alarming) -> tuple[Controller, Path, list[ControllerEvent]]:
    """Return a controller whose device is gone, and what it tells."""
    controller = await Controller.open(transport, timing=QUICK)
    path, told = Path(), list[ControllerEvent]()
    controller.attach(path)
    controller.on_event = told.append
    os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)
    await until_let_go(transport)
    transport.remove()
    os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)  # it is told of more than once
    return controller, path, told


def test_a_device_that_comes_back_is_used_again(transport: Alarming) -> None:
    async def scenario() -> None:
        controller, path, told = await pulled_out(transport)
        transport.insert()
        await eventually(lambda: controller.live, "it is back")
        assert path.log == ["pause", f"fail {LOST:#x}", "resume"]
        assert [(event.namespaces, event.returned) for event in told] == [(frozenset({1}), True)]
        (completion,) = await controller.execute(FLUSH)
        assert completion.status == 0
        assert len(transport.let_go_at) == 1
        os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)
        await eventually(lambda: len(transport.let_go_at) == 2, "it is let go of again")
        await controller.close()

    asyncio.run(scenario())


def test_a_device_that_comes_back_has_what_was_set(transport: Alarming) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport, timing=QUICK)
        await controller.commands.set_feature(WRITE_CACHE, 0)
        os.eventfd_write(transport.alarms[Alarm.UNPLUG], 1)
        await until_let_go(transport)
        transport.remove()
        transport.insert()
        await eventually(lambda: controller.live, "it is back")
        assert (await controller.commands.get_feature(WRITE_CACHE)).dw0 == 0
        await controller.close()

    asyncio.run(scenario())


def test_what_cannot_be_set_again_is_told_before_anything_goes_on(transport: Alarming) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport, timing=QUICK)
        path = Path()
        controller.attach(path)
        controller.on_event = lambda event: path.log.append(f"unset {sorted(event.unset)}")
        await controller.commands.set_feature(POWER_MANAGEMENT, 1)
        features = transport.tables.features
        features[POWER_MANAGEMENT] = replace(features[POWER_MANAGEMENT], changeable=False)
        await controller.reset()
        assert path.log == ["pause", "unset [1]", "resume"]
        assert controller.live
        await controller.close()

    asyncio.run(scenario())


def test_another_device_in_its_place_is_left_alone(transport: Alarming) -> None:
    async def scenario() -> None:
        controller, path, told = await pulled_out(transport)
        controller.identity = IDENTIFY_CONTROLLER.parse(bytes(4096))
        transport.insert()
        await eventually(lambda: len(transport.let_go_at) == 2, "it is let go of again")
        assert controller.state is ControllerState.DEAD
        assert "another disk is in its place" in controller.failure
        assert "resume" not in path.log
        assert told == []
        (completion,) = await controller.execute(FLUSH)
        assert completion.status == LOST
        await controller.close()

    asyncio.run(scenario())


def test_one_that_is_given_up_reaches_no_memory_before_others_do_its_work(
    transport: Alarming,
) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport)
        path = Path()
        controller.attach(path)
        transport.on_cut_off = lambda: path.log.append("cut off")
        controller.die("for a test")
        assert path.log == ["cut off", f"fail {LOST:#x}"]
        await controller.close()

    asyncio.run(scenario())


def test_one_that_may_still_write_is_told_of(
    transport: Alarming, caplog: pytest.LogCaptureFixture
) -> None:
    def stays() -> None:
        raise TransportError("its bus mastering stays")

    async def scenario() -> None:
        controller = await Controller.open(transport)
        path = Path()
        controller.attach(path)
        transport.on_cut_off = stays
        controller.die("for a test")
        assert path.log == [f"fail {LOST:#x}"]
        (record,) = [one for one in caplog.records if "bus mastering" in one.getMessage()]
        assert (record.levelname, record.exc_info) == ("WARNING", None)
        await controller.close()

    asyncio.run(scenario())


def test_a_dead_controller_is_brought_up_on_request(transport: Alarming) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport)
        controller.die("for a test")
        await controller.reset()
        assert controller.live
        (completion,) = await controller.execute(FLUSH)
        assert completion.status == 0
        controller.die("for a test")
        transport.remove()
        await controller.reset()
        assert not controller.live
        await controller.close()

    asyncio.run(scenario())


def test_a_bus_error_leads_to_a_reset(transport: Alarming) -> None:
    async def scenario() -> None:
        controller = await Controller.open(transport)
        path = Path()
        controller.attach(path)
        os.eventfd_write(transport.alarms[Alarm.ERROR], 1)
        await eventually(lambda: path.log == ["pause", "resume"], "it is reset")
        (completion,) = await controller.execute(FLUSH)
        assert completion.status == 0
        assert not transport.let_go_at
        await controller.close()

    asyncio.run(scenario())
