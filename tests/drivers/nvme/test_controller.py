"""What only one kind of controller can be made to do: faults, hangs, missing interrupts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.drivers.nvme.retry import ABORTED_BY_RESET, LOST
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.qemu.transport import QemuOptions, QemuTransport
from scsi2nvme.nvme.command import AdminOpcode, Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from tests.integration.rig import BLOCK, MIB, compare, good, one, read, write
from tests.integration.test_driver import Reactor, place

# Deadlines that expire within a test.
HASTY = Timing(io_s=0.05, admin_s=5.0, grace_s=0.05, watch_s=0.05)
PATIENT = Timing(watch_s=0.05)

FAIL, HANG = 0, 1


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(limited())


@asynccontextmanager
async def emulated(**arguments: Any) -> AsyncIterator[tuple[Controller, EmulatedTransport]]:
    transport = EmulatedTransport(EmulatedOptions(size_bytes=4 * MIB, block_bytes=BLOCK, vectors=5))
    controller = await Controller.open(transport, **{"timing": PATIENT} | arguments)
    try:
        yield controller, transport
    finally:
        transport.emulator.clear_faults()
        await controller.close()


@asynccontextmanager
async def qemu(
    path: Path | None = None, vectors: int = 4, **arguments: Any
) -> AsyncIterator[tuple[Controller, QemuTransport]]:
    transport = QemuTransport(QemuOptions(path=path, size_bytes=4 * MIB, vectors=vectors))
    controller = await Controller.open(transport, **{"timing": PATIENT} | arguments)
    try:
        yield controller, transport
    finally:
        await controller.close()
    errors = transport.guest_errors().splitlines()
    errors = [line for line in errors if " status 0x7 " not in line]  # what was to be aborted
    assert not errors, errors


# ---- interrupts ----


@pytest.mark.parametrize("vectors", [0, 1])
def test_without_a_vector_of_its_own_a_queue_is_polled(tmp_path: Path, vectors: int) -> None:
    async def scenario() -> None:
        async with qemu(tmp_path / "disk", vectors, io_queues=1) as (controller, _):
            assert controller.io_queues[0].eventfd == -1
            await good(controller, write(3, b"y" * BLOCK))
            assert await good(controller, read(3, 1)) == b"y" * BLOCK
            await controller.reset()
            assert await good(controller, read(3, 1)) == b"y" * BLOCK

    run(scenario())


def test_a_queue_interrupts_the_cpu_of_its_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with emulated(io_queues=4) as (controller, transport):
            steered: list[Mapping[int, int]] = []
            monkeypatch.setattr(transport, "steer", steered.append)
            controller.steer((5, 0, 1, 0))
            assert steered == [{2: 5, 3: 0, 4: 1}]  # the last queue is polled

    run(scenario())


def test_a_lost_interrupt_is_noticed() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, transport):
            for vector in (0, 1):
                asyncio.get_running_loop().remove_reader(transport.interrupt(vector))
            await good(controller, read(0, 1))
            await controller.commands.smart_log()

    run(scenario())


def test_no_more_queues_than_are_granted() -> None:
    async def scenario() -> None:
        async with qemu(io_queues=80, depth=4, pool_bytes=BLOCK) as (controller, _):
            assert [queue.queue.qid for queue in controller.io_queues] == list(range(2, 65))
            eventfds = [queue.eventfd for queue in controller.io_queues]
            assert -1 not in eventfds[:2]  # vectors 2 and 3
            assert set(eventfds[2:]) == {-1}
            await controller.reset()
            assert controller.live

    run(scenario())


def test_no_more_queues_than_there_are_doorbells() -> None:
    async def scenario() -> None:
        transport = EmulatedTransport(EmulatedOptions())
        transport.port.queue_pairs = 4
        controller = await Controller.open(transport, io_queues=3)
        assert [queue.queue.qid for queue in controller.io_queues] == [2, 3]
        await controller.reset()
        assert controller.live
        await controller.close()

    run(scenario())


# ---- small queues ----


@pytest.mark.parametrize("mqes", [1, 2, 6, 30])
def test_commands_side_by_side_fit_queues_of_any_depth(mqes: int) -> None:
    async def scenario() -> None:
        told = (("cap", "mqes", mqes),)
        options = EmulatedOptions(size_bytes=4 * MIB, block_bytes=BLOCK, settings={"told": told})
        controller = await Controller.open(EmulatedTransport(options), timing=PATIENT, io_queues=1)
        assert controller.io_queues[0].queue.depth == mqes + 1
        data = [bytes([n]) * BLOCK for n in range(32)]
        for _ in range(2):
            done = await controller.execute(*(write(n, block) for n, block in enumerate(data)))
            assert [completion.status for completion in done] == [0] * 32
            done = await controller.execute(*(read(n, 1) for n in range(32)))
            assert [completion.data for completion in done] == data
            await controller.reset()
        await controller.close()

    run(scenario())


def test_queues_of_one_entry_are_refused_with_the_reason() -> None:
    async def scenario() -> None:
        options = EmulatedOptions(size_bytes=4 * MIB, settings={"told": (("cap", "mqes", 0),)})
        with pytest.raises(ControllerError, match=r"CAP\.MQES is 0"):
            await Controller.open(EmulatedTransport(options))

    run(scenario())


# ---- deadlines ----


def test_an_overdue_command_is_aborted() -> None:
    async def scenario() -> None:
        async with emulated(timing=HASTY) as (controller, transport):
            transport.emulator.add_fault(action=HANG, opcode=Opcode.READ, count=1)
            completion = await one(controller, read(0, 1))
            assert completion.status == StatusCode.ABORT_REQUESTED
            await good(controller, read(0, 1))

    run(scenario())


def test_a_command_that_is_not_aborted_may_still_end(tmp_path: Path) -> None:
    """QEMU aborts nothing: the command, made slow, ends in its own time.

    Newer ones say that they have not, and end it by Command Abort Requested all the same.
    """

    async def scenario() -> None:
        timing = Timing(grace_s=10.0)
        async with qemu(tmp_path / "disk", timing=timing) as (controller, transport):
            await good(controller, write(0, b"h" * BLOCK))
            limits = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
            transport.monitor.execute(
                "block_set_io_throttle", id="namespace1", **limits | {"iops": 4}
            )
            aborts = CountAborts(controller)
            slow = read(0, 1, timeout_s=0.02)
            completions = await asyncio.gather(*(one(controller, slow) for _ in range(3)))
            assert aborts.outcomes
            assert set(aborts.outcomes) == {1}
            for completion in completions:
                done = completion.status, completion.data
                assert done in ((0, b"h" * BLOCK), (StatusCode.ABORT_REQUESTED, b""))

    run(scenario())


class CountAborts:
    """Notes DW0 of every Abort command that a controller's recovery sends."""

    def __init__(self, controller: Controller) -> None:
        self.outcomes: list[int] = []
        self._execute = controller.execute
        controller.execute = self.execute  # type: ignore[method-assign]

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        completions = await self._execute(*commands)
        self.outcomes += [
            completion.dw0
            for command, completion in zip(commands, completions, strict=True)
            if command.admin and command.opcode == AdminOpcode.ABORT
        ]
        return completions


def test_an_overdue_command_of_a_reactor_is_aborted_then_replayed() -> None:
    async def scenario() -> None:
        async with emulated(io_queues=1) as (controller, transport):
            reactor = Reactor(controller)
            transport.emulator.add_fault(action=HANG, opcode=Opcode.WRITE, count=1)
            place(reactor.queue, write(5, b"o" * BLOCK), reactor, 0)
            reactor.queue.ring()
            await controller.overdue(2, 0, again=False)
            assert await reactor.collect(1) == [StatusCode.ABORT_REQUESTED]
            assert reactor.log == []

            transport.emulator.add_fault(action=HANG, opcode=Opcode.WRITE, count=1)
            place(reactor.queue, write(5, b"o" * BLOCK), reactor, 1)
            reactor.queue.ring()
            await asyncio.sleep(0.01)
            await controller.overdue(2, 0, again=True)
            assert reactor.log == ["pause", "resume"]
            assert await reactor.collect(1) == [0]
            assert await good(controller, read(5, 1)) == b"o" * BLOCK

    run(scenario())


# ---- resets ----


def test_what_a_reset_interrupts_is_repeated() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, transport):
            transport.emulator.add_fault(action=HANG, opcode=Opcode.WRITE, count=1)
            writing = asyncio.create_task(controller.execute(write(7, b"i" * BLOCK)))
            await asyncio.sleep(0.01)
            await controller.reset()
            (completion,) = await writing
            assert completion.status == 0
            assert completion.repeated
            assert await good(controller, read(7, 1)) == b"i" * BLOCK
            (completion,) = await controller.execute(read(7, 1))
            assert not completion.repeated

    run(scenario())


def test_a_fused_pair_that_a_reset_interrupts_is_not_repeated() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, transport):
            transport.emulator.add_fault(action=HANG)
            pair = asyncio.create_task(controller.execute(*fused(0, bytes(BLOCK), b"n" * BLOCK)))
            await asyncio.sleep(0.01)
            transport.emulator.clear_faults()
            await controller.reset()
            assert [completion.status for completion in await pair] == [ABORTED_BY_RESET] * 2
            assert await good(controller, read(0, 1)) == bytes(BLOCK)

    run(scenario())


@pytest.mark.parametrize(
    ("opcode", "status", "repeated"),
    [
        (Opcode.COMPARE, StatusCode.NAMESPACE_NOT_READY, True),
        (Opcode.WRITE, StatusCode.NAMESPACE_NOT_READY, True),
        (Opcode.COMPARE, StatusCode.COMMAND_INTERRUPTED, False),
        (Opcode.COMPARE, StatusCode.TRANSIENT_TRANSPORT_ERROR, False),
        (Opcode.WRITE, StatusCode.COMMAND_INTERRUPTED, False),
        (Opcode.WRITE, StatusCode.TRANSIENT_TRANSPORT_ERROR, False),
    ],
)
def test_a_fused_pair_is_not_repeated_once_it_may_be_done(
    opcode: Opcode, status: StatusCode, repeated: bool
) -> None:
    """Whichever half says so: the Compare of another would meet what it wrote."""

    async def scenario() -> None:
        async with emulated() as (controller, transport):
            transport.emulator.add_fault(opcode=opcode, status=status, done=not repeated, count=1)
            pair = await controller.execute(*fused(0, bytes(BLOCK), b"n" * BLOCK))
            statuses = [completion.status for completion in pair]
            halves = [StatusCode.FAILED_FUSED] * 2
            halves[opcode == Opcode.WRITE] = status
            assert statuses == ([0, 0] if repeated else halves)
            assert await good(controller, read(0, 1)) == b"n" * BLOCK

    run(scenario())


def fused(slba: int, expected: bytes, data: bytes) -> tuple[NvmeCommand, NvmeCommand]:
    return (
        replace(compare(slba, expected), fuse=Fuse.FIRST),
        replace(write(slba, data), fuse=Fuse.SECOND),
    )


def test_fused_compare_and_write() -> None:
    async def scenario() -> None:
        async with emulated(depth=3) as (controller, _):
            assert controller.identity.fuses & 1
            for expected, statuses in (
                (bytes(BLOCK), [0, 0]),
                (bytes(BLOCK), [StatusCode.COMPARE_FAILURE, StatusCode.FAILED_FUSED]),
                (b"F" * BLOCK, [0, 0]),
            ):
                pair = await controller.execute(*fused(2, expected, b"F" * BLOCK))
                assert [completion.status for completion in pair] == statuses

    run(scenario())


def test_fused_pairs_of_many_tasks_stay_together() -> None:
    async def scenario() -> None:
        async with emulated(depth=4) as (controller, _):

            async def count_up(slba: int) -> None:
                for n in range(10):
                    before, after = bytes([n]) * BLOCK, bytes([n + 1]) * BLOCK
                    pair = await controller.execute(*fused(slba, before, after))
                    assert [completion.status for completion in pair] == [0, 0]

            await asyncio.gather(*(count_up(slba) for slba in range(8)))

    run(scenario())


def misplace(write64: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Tell the controller of an admin queue that it must refuse."""

    def write(offset: int, value: int) -> None:
        write64(offset, value + 64)

    return write


def test_a_hopeless_reset_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with emulated(io_queues=1) as (controller, transport):
            reactor = Reactor(controller)
            reset: list[str] = []

            async def function_reset() -> None:
                reset.append("function")

            monkeypatch.setattr(transport, "reset", function_reset)
            transport.emulator.add_fault(action=HANG)
            reading = asyncio.create_task(controller.execute(read(0, 1)))
            await asyncio.sleep(0.01)
            monkeypatch.setattr(transport, "write64", misplace(transport.write64))
            await controller.reset()
            assert reset == ["function"]
            assert not controller.live
            assert "fatal" in controller.failure
            (completion,) = await reading
            assert completion.status == LOST
            assert reactor.log == ["pause", "fail"]

    run(scenario())


def test_what_the_end_interrupts_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scsi2nvme.drivers.nvme.controller._DRAIN_S", 0.01)

    async def scenario() -> None:
        transport = EmulatedTransport(EmulatedOptions(size_bytes=4 * MIB, block_bytes=BLOCK))
        controller = await Controller.open(transport, timing=PATIENT)
        transport.emulator.add_fault(action=HANG, opcode=Opcode.READ)
        reading = asyncio.create_task(controller.commands.succeed(read(0, 1)))
        await asyncio.sleep(0)
        await controller.close()
        with pytest.raises(ControllerError, match=f"^{controller.name} is closed$"):
            await reading
        with pytest.raises(ControllerError, match=f"^{controller.name} is closed$"):
            await controller.execute(read(0, 1))

    run(scenario())


# ---- statuses ----


def test_a_status_that_passes_is_waited_for() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, transport):
            not_ready = StatusCode.NAMESPACE_NOT_READY
            transport.emulator.add_fault(action=FAIL, status=not_ready, count=3)
            await good(controller, write(0, b"p" * BLOCK))
            transport.emulator.add_fault(action=FAIL, status=not_ready)
            assert (await one(controller, read(0, 1))).status == not_ready

    run(scenario())


def test_a_status_that_stays_is_given_on_at_once() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, transport):
            status = StatusCode.UNRECOVERED_READ_ERROR
            transport.emulator.add_fault(action=FAIL, status=status, count=1)
            assert (await one(controller, read(0, 1))).status == status
            await good(controller, read(0, 1))

    run(scenario())


# ---- namespaces ----


def test_a_changed_namespace_is_read_again() -> None:
    async def scenario() -> None:
        async with emulated() as (controller, _):
            events: asyncio.Queue[ControllerEvent] = asyncio.Queue()
            controller.on_event = events.put_nowait
            formats = [f.lbads for f in controller.namespaces[1].lba_formats]
            await good(
                controller,
                NvmeCommand(AdminOpcode.FORMAT_NVM, 1, cdw10=formats.index(9), admin=True),
            )
            event = await events.get()
            assert event.namespaces == {1}
            assert controller.namespaces[1].block_bytes == 512

    run(scenario())


# ---- the end ----


def test_close_leaves_nothing_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def scenario() -> None:
        async with emulated(io_queues=2), qemu(io_queues=2):
            pass
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
    assert len(os.listdir("/proc/self/fd")) == before
