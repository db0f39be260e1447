"""What is lent to a controller: how much, when, and that it is given again after resets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.faults import parse_fault
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode
from tests.integration.rig import good, read

MIB = 1 << 20
RETURNED = 2


class Watched(EmulatedTransport):
    """A controller that tells how its memory was given to it, and has no more than it may."""

    def __init__(self, most: int = 1 << 30, *faults: str, **options: Any) -> None:
        self.most = most
        self.asked: list[int] = []
        super().__init__(
            EmulatedOptions.of(
                size_bytes=MIB,
                block_bytes=4096,
                faults=tuple(map(parse_fault, faults)),
                **options,
            )
        )
        self.given: list[int] = []
        self.statuses: list[int] = []
        ended = self._model.ended

        def watch(command: Any, status: int) -> None:
            if command.opc == AdminOpcode.SET_FEATURES and command.cdw10 & 0xFF == 0x0D:
                self.given.append(command.cdw11)
                self.statuses.append(status)
            ended(command, status)

        self._model.ended = watch

    def allocate(self, length: int) -> Region:
        self.asked.append(length)
        if length > self.most:
            raise TransportError("no more memory")
        return super().allocate(length)


def scenario(
    steps: Callable[[Controller, Watched], Awaitable[None]],
    transport: Callable[[], Watched],
    limit: int = 64 * MIB,
) -> Watched:
    async def main() -> Watched:
        watched = transport()
        controller = await Controller.open(watched, host_memory_bytes=limit)
        try:
            await steps(controller, watched)
        finally:
            await controller.close()
        return watched

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("limit", "lent"), [(64, 8), (8, 8), (5, 5), (2, 2)], ids=["more", "all", "some", "least"]
)
def test_it_is_lent_what_it_prefers_or_what_we_allow(limit: int, lent: int) -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        assert controller.host_memory.lent_bytes == lent * MIB
        assert await good(controller, read(0, 1)) == bytes(4096)

    watched = scenario(steps, lambda: Watched(hmpre=8 * MIB), limit * MIB)
    assert watched.given == [1, 0]  # and taken back before the end
    assert watched.statuses == [0, 0]  # nobody has touched it


@pytest.mark.parametrize(("limit", "lines"), [(0, 0), (1, 1)], ids=["off", "too little"])
def test_it_works_without(limit: int, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        await controller.reset()
        assert controller.host_memory.lent_bytes == 0
        assert await good(controller, read(0, 1)) == bytes(4096)

    assert scenario(steps, lambda: Watched(hmpre=8 * MIB), limit * MIB).given == []
    told = [line for line in caplog.messages if "host memory buffer" in line]
    assert len(told) == lines
    assert all("wants 2 MiB of memory; hmb= does not let it" in line for line in told)


def test_who_wants_none_gets_none() -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        assert controller.host_memory.lent_bytes == 0

    assert scenario(steps, Watched).given == []


def test_after_a_reset_it_gets_the_same_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def steps(controller: Controller, watched: Watched) -> None:
        for _ in range(3):
            await controller.commands.smart_log()
            await controller.reset()
        assert controller.host_memory.lent_bytes == 8 * MIB
        assert watched.asked.count(8 * MIB + 4096) == 1

    watched = scenario(steps, lambda: Watched(hmpre=8 * MIB))
    assert watched.given == [1, 1 | RETURNED, 1 | RETURNED, 1 | RETURNED, 0]
    assert set(watched.statuses) == {0}
    assert len([line for line in caplog.messages if "is lent 8 MiB of memory" in line]) == 1


def test_a_device_that_was_away_does_not_get_it_as_what_it_had() -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        controller.die("it was pulled out")
        await controller.reset()
        assert controller.live

    assert scenario(steps, lambda: Watched(hmpre=8 * MIB)).given == [1, 1, 0]


def test_what_it_does_not_take_as_the_same_it_gets_as_new() -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        await controller.commands.smart_log()
        memory = controller.host_memory._memory
        assert memory is not None
        memory.view()[:] = bytes(memory.length)
        await controller.reset()
        assert controller.host_memory.lent_bytes == 8 * MIB

    watched = scenario(steps, lambda: Watched(hmpre=8 * MIB))
    assert watched.given == [1, 1 | RETURNED, 1, 0]
    assert watched.statuses[1]
    assert not any(watched.statuses[2:])


def test_less_is_lent_where_there_is_less(caplog: pytest.LogCaptureFixture) -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        assert controller.host_memory.lent_bytes == 16 * MIB

    scenario(steps, lambda: Watched(17 * MIB, hmpre=64 * MIB))
    assert any("gets no 64 MiB of memory: no more memory" in line for line in caplog.messages)


def test_no_memory_at_all_is_told_and_no_reason_to_stay_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        await controller.reset()
        assert watched.asked.count(64 * MIB + 4096) == 1
        assert controller.host_memory.lent_bytes == 0

    scenario(steps, lambda: Watched(16 * MIB, hmpre=256 * MIB))
    assert len([line for line in caplog.messages if "gets no 64 MiB" in line]) == 1


def test_a_controller_that_refuses_goes_without(caplog: pytest.LogCaptureFixture) -> None:
    async def steps(controller: Controller, watched: Watched) -> None:
        assert controller.host_memory.lent_bytes == 0
        assert await good(controller, read(0, 1)) == bytes(4096)

    fault = "set-features:status=0/06:after=1:count=1"  # the first is of the number of queues
    watched = scenario(steps, lambda: Watched(1 << 30, fault, hmpre=8 * MIB))
    assert watched.given == [1]  # nothing is taken back that it has not
    assert any("does not take memory" in line for line in caplog.messages)
