"""A reset of the NVM subsystem, as one controller of it asks for it."""

from __future__ import annotations

import asyncio

from scsi2nvme.drivers.emulated.capabilities.subsystem_reset import SUBSYSTEM_RESET
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller, ControllerState
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.registers import Register

FLUSH = NvmeCommand(Opcode.FLUSH, 1)


class Resettable(EmulatedTransport):
    """A controller that logs when its subsystem is reset."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        settings = {SUBSYSTEM_RESET.keyword: True}
        super().__init__(EmulatedOptions(size_bytes=1 << 20, settings=settings))

    def write32(self, offset: int, value: int) -> None:
        if offset == Register.NSSR:
            self.log.append("subsystem reset")
        super().write32(offset, value)


class Path:
    """A data path that only logs."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def pause(self) -> None:
        self.log.append("pause")

    def resume(self) -> None:
        self.log.append("resume")

    def fail(self, status: int) -> None:
        self.log.append(f"fail {status:#x}")


async def opened(log: list[str]) -> Controller:
    controller = await Controller.open(Resettable(log))
    controller.attach(Path(log))
    log.clear()
    return controller


def test_the_data_path_is_quiet_before() -> None:
    log: list[str] = []

    async def scenario() -> None:
        controller = await opened(log)
        await controller.reset_subsystem()
        assert log == ["pause", "subsystem reset", "resume"]
        await controller.reset()
        assert log[3:] == ["pause", "resume"]
        assert (await controller.execute(FLUSH))[0].status == 0
        await controller.close()

    asyncio.run(scenario())


def test_beside_another_reset_it_is_not_lost() -> None:
    log: list[str] = []

    async def scenario() -> None:
        controller = await opened(log)
        other = asyncio.ensure_future(controller.reset())
        while not log:  # it has gone further than where the subsystem would be reset
            await asyncio.sleep(0)
        await asyncio.gather(other, controller.reset_subsystem())
        assert log.count("subsystem reset") == 1
        assert (await controller.execute(FLUSH))[0].status == 0
        await controller.close()

    asyncio.run(scenario())


def test_a_dead_controller_is_brought_back_by_it() -> None:
    log: list[str] = []

    async def scenario() -> None:
        controller = await opened(log)
        controller.die("for a test")
        assert controller.state is ControllerState.DEAD
        log.clear()
        await controller.reset_subsystem()
        assert log == ["subsystem reset", "resume"]
        assert (await controller.execute(FLUSH))[0].status == 0
        await controller.close()

    asyncio.run(scenario())
