"""Resets after which a namespace, or its blocks, are others, and readings that tell of it."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.identify import Execute
from scsi2nvme.drivers.nvme.retry import ABORTED_BY_RESET
from scsi2nvme.nvme.command import Completion, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from tests.drivers.nvme.test_controller import HANG, emulated, run
from tests.integration.rig import BLOCK, good, read, write
from tests.waiting import eventually


@pytest.mark.parametrize("other", ["namespace", "layout"])
def test_nothing_is_repeated_on_other_blocks_than_it_was_for(other: str) -> None:
    """Nor placed that waited; whoever queues commands is told before the rest goes on."""

    async def scenario() -> None:
        async with emulated(io_queues=1) as (controller, transport):
            late = list[asyncio.Task[tuple[Completion, ...]]]()
            log = Logged(late, controller)
            controller.attach(log)
            controller.on_event = lambda event: log.told.append(sorted(event.displaced))
            transport.emulator.add_fault(action=HANG, opcode=Opcode.WRITE, count=1)
            writing = asyncio.create_task(controller.execute(write(7, b"i" * BLOCK)))
            await eventually(lambda: controller.pairs()[1].state().pending, "the write is placed")
            state = transport._model.state.namespaces[0]
            if other == "namespace":
                state.birth += 1
            else:
                state.block_bytes = 512
                transport._model.attach(state)
            await controller.reset()
            for each in (writing, *late):
                (completion,) = await each
                assert completion.status == ABORTED_BY_RESET
            assert log.told[:3] == ["pause", [1], "resume"]
            assert not any(await good(controller, read(0, 16)))
            (completion,) = await controller.execute(write(7, b"i" * BLOCK))
            assert completion.status == 0

    run(scenario())


class Logged:
    """A data path that remembers, and in a pause of which somebody begins to write."""

    def __init__(
        self, late: list[asyncio.Task[tuple[Completion, ...]]], controller: Controller
    ) -> None:
        self.told: list[object] = []
        self._late, self._controller = late, controller

    async def pause(self) -> None:
        self.told.append("pause")
        late = self._controller.execute(write(8, b"i" * BLOCK))
        self._late.append(asyncio.create_task(late))

    def resume(self) -> None:
        self.told.append("resume")

    def fail(self, status: int) -> None:
        self.told.append(status)


def test_namespaces_are_read_by_one_at_a_time_and_not_beside_a_reset() -> None:
    """Two readings that interleave would tell of a namespace what it was, and keep it so."""

    async def scenario() -> None:
        async with emulated() as (controller, _):
            read, at_once, most, begun = controller._read_namespaces, 0, 0, 0

            async def reading(execute: Execute) -> dict[int, NamespaceFacts]:
                nonlocal at_once, most, begun
                begun, at_once = begun + 1, at_once + 1
                most = max(most, at_once)
                found = await read(execute)
                at_once -= 1
                return found

            controller._read_namespaces = reading  # type: ignore[method-assign]
            results = await asyncio.gather(*(controller.rescan() for _ in range(8)))
            assert results == [frozenset()] * 8
            assert (begun, most) == (1, 1)
            rescanning = asyncio.create_task(controller.rescan())
            await asyncio.sleep(0)
            resetting = asyncio.create_task(controller.reset())
            await asyncio.gather(rescanning, resetting)
            assert begun == 4  # before the reset, by it, and after it

    run(scenario())
