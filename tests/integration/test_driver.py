"""The driver against every controller."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.drivers.nvme.controller import Controller, ControllerState
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError, StatusError
from scsi2nvme.drivers.nvme.events import ControllerEvent, EventType
from scsi2nvme.drivers.nvme.retry import LOST, MAXIMUM_RETRIES
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.pci.configuration import COMMAND
from scsi2nvme.drivers.qemu.transport import QemuTransport
from scsi2nvme.drivers.transport import Transport, TransportError
from scsi2nvme.drivers.vfio.transport import VfioTransport
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.registers import CSTS, Register, ShutdownStatus, decode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import DSM_RANGE
from tests.integration.rig import BLOCK, MIB, Disk, Rig, compare, good, io, one, read, write

OVER_TEMPERATURE = 0x04
ONCS_COMPARE, ONCS_DSM, ONCS_WRITE_ZEROES = 0, 2, 3
# Time-outs that expire within a test.
HASTY = Timing(io_s=0.2, admin_s=5.0, grace_s=0.2, watch_s=0.05)


# ---- bring-up ----


@pytest.mark.parametrize("block_bytes", [512, 4096])
async def test_bring_up_finds_the_namespaces(rig: Rig, block_bytes: int) -> None:
    disk = Disk(namespaces=2, block_bytes=block_bytes)
    async with rig.controller(disk, io_queues=2) as controller:
        assert controller.state is ControllerState.LIVE
        assert controller.identity.text("sn")
        assert sorted(controller.namespaces) == [1, 2]
        assert [queue.queue.qid for queue in controller.io_queues] == [2, 3]
        identifiers = set()
        for facts in controller.namespaces.values():
            assert facts.block_bytes == block_bytes
            assert facts.capacity_blocks == disk.size_bytes // block_bytes
            assert 0 < facts.maximum_transfer_bytes <= 2 * MIB
            identifiers.add((facts.uuid, facts.nguid, facts.eui64))
        assert len(identifiers) == 2
        assert (b"", b"", b"") not in identifiers


async def test_bring_up_leaves_no_trace_of_what_was_before(rig: Rig) -> None:
    async with rig.controller() as controller:
        await good(controller, write(0, b"x" * BLOCK))
        await controller.reset()
        assert await good(controller, read(0, 1)) == b"x" * BLOCK


async def test_close_shuts_down_and_data_lasts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = rig.transport()
    controller = await Controller.open(transport)
    data = random.randbytes(7 * BLOCK)
    await good(controller, write(11, data))
    seen = []
    let_go = transport.let_go

    async def look_and_let_go() -> None:
        seen.append(decode(CSTS, transport.read32(Register.CSTS)).shst)
        await let_go()

    monkeypatch.setattr(transport, "let_go", look_and_let_go)
    await controller.close()
    assert seen == [ShutdownStatus.COMPLETE]
    with pytest.raises(ControllerError, match="closed"):
        await controller.commands.smart_log()
    async with rig.controller() as controller:
        assert await good(controller, read(11, 7)) == data


# ---- data ----


@dataclass(frozen=True)
class Step:
    opcode: Opcode
    slba: int
    blocks: int
    seed: int


COMMANDS = 200
AREA = 300  # blocks that scripts play in


@st.composite
def steps(draw: st.DrawFn) -> Step:
    opcode = draw(
        st.sampled_from(
            [
                Opcode.READ,
                Opcode.WRITE,
                Opcode.COMPARE,
                Opcode.WRITE_ZEROES,
                Opcode.FLUSH,
            ]
        )
    )
    blocks = draw(st.one_of(st.integers(1, 4), st.integers(1, 128)))
    return Step(opcode, draw(st.integers(0, AREA - blocks)), blocks, draw(st.integers(0, 99)))


async def play(controller: Controller, content: bytearray, script: list[Step]) -> None:
    """Play a script in order; `content` is what the disk must hold."""
    for step in script:
        place = slice(step.slba * BLOCK, (step.slba + step.blocks) * BLOCK)
        data = random.Random(step.seed).randbytes(step.blocks * BLOCK)
        match step.opcode:
            case Opcode.READ:
                assert await good(controller, read(step.slba, step.blocks)) == content[place]
            case Opcode.WRITE:
                await good(controller, write(step.slba, data))
                content[place] = data
            case Opcode.COMPARE:
                await good(controller, compare(step.slba, bytes(content[place])))
            case Opcode.WRITE_ZEROES:
                await good(controller, io(Opcode.WRITE_ZEROES, step.slba, step.blocks))
                content[place] = bytes(len(data))
            case Opcode.FLUSH:
                await good(controller, NvmeCommand(Opcode.FLUSH, 1))


def test_scripts_of_commands_keep_the_data(rig: Rig) -> None:
    content = bytearray(AREA * BLOCK)
    with asyncio.Runner() as runner:
        # An emulated processor is slow at making examples.
        @settings(max_examples=20)
        @given(st.lists(steps(), max_size=12))
        def scripts(script: list[Step]) -> None:
            runner.run(play(controller, content, script))

        opening = rig.controller(depth=5)
        controller = runner.run(opening.__aenter__())
        try:
            scripts()
            whole = [read(at, 100) for at in range(0, AREA, 100)]
            found = runner.run(controller.execute(*whole))
            assert b"".join(completion.data for completion in found) == content
        finally:
            runner.run(opening.__aexit__(None, None, None))


async def test_compare_tells_of_a_difference(rig: Rig) -> None:
    rig.expects_guest_errors = True  # QEMU's oracle counts failed commands
    async with rig.controller() as controller:
        assert controller.namespaces[1].controller_bit("oncs", ONCS_COMPARE)
        await good(controller, write(5, b"a" * BLOCK))
        completion = await one(controller, compare(5, b"a" * (BLOCK - 1) + b"b"))
        assert completion.status == StatusCode.COMPARE_FAILURE


async def test_deallocated_blocks_read_as_zeroes(rig: Rig) -> None:
    async with rig.controller() as controller:
        assert controller.namespaces[1].controller_bit("oncs", ONCS_DSM)
        await good(controller, write(8, b"d" * 16 * BLOCK))
        ranges = DSM_RANGE.build(slba=8, nlb=4) + DSM_RANGE.build(slba=16, nlb=8)
        deallocate = NvmeCommand(
            Opcode.DATASET_MANAGEMENT, 1, cdw10=1, cdw11=1 << 2, data_out=ranges
        )
        await good(controller, deallocate)
        found = await good(controller, read(8, 16))
        assert found == bytes(4 * BLOCK) + b"d" * 4 * BLOCK + bytes(8 * BLOCK)


@pytest.mark.parametrize("block_bytes", [512, 4096])
async def test_transfers_of_every_shape(rig: Rig, block_bytes: int) -> None:
    """One page, two, a list, a list that fills its page; with odd lengths at 512 bytes."""
    async with rig.controller(Disk(block_bytes=block_bytes)) as controller:
        largest = controller.namespaces[1].maximum_transfer_bytes
        lengths = {block_bytes * n for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 33)}
        for length in sorted(lengths | {largest - block_bytes, largest}):
            data = random.randbytes(length)
            await good(controller, write(1, data, block_bytes))
            got = await good(controller, read(1, length // block_bytes, block_bytes))
            assert got == data, length


async def test_more_than_the_driver_can_carry_is_refused(rig: Rig) -> None:
    async with rig.controller() as controller:
        with pytest.raises(ValueError, match="at most 2097152"):
            await controller.execute(read(0, 2 * MIB // BLOCK + 1))


@pytest.mark.parametrize("depth", [2, 7, 256])
async def test_more_commands_than_slots(rig: Rig, depth: int) -> None:
    """Queues wrap many times over, and nothing is lost or mixed up."""
    async with rig.controller(depth=depth) as controller:
        data = [random.randbytes(BLOCK) for _ in range(COMMANDS)]
        await asyncio.gather(
            *(good(controller, write(slba, block)) for slba, block in enumerate(data))
        )
        found = await asyncio.gather(*(good(controller, read(slba, 1)) for slba in range(COMMANDS)))
        assert found == data


async def test_commands_given_together_complete_together(rig: Rig) -> None:
    async with rig.controller(depth=8) as controller:
        completions = await controller.execute(
            write(0, b"0" * BLOCK), write(1, b"1" * BLOCK), NvmeCommand(Opcode.FLUSH, 1)
        )
        assert [completion.status for completion in completions] == [0, 0, 0]
        first, second = await controller.execute(read(0, 1), read(1, 1))
        assert (first.data[:1], second.data[:1]) == (b"0", b"1")


async def test_more_at_once_than_the_queue_holds_goes_in_turns(rig: Rig) -> None:
    async with rig.controller(depth=3) as controller:
        for lba in range(3):
            await good(controller, write(lba, bytes([lba]) * BLOCK))
        done = await controller.execute(read(0, 1), read(1, 1), read(2, 1))
        assert [each.data for each in done] == [bytes([lba]) * BLOCK for lba in range(3)]


async def test_a_command_goes_on_without_its_caller(rig: Rig) -> None:
    async with rig.controller() as controller:
        task = asyncio.create_task(controller.execute(write(0, b"w" * 64 * BLOCK)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await controller.reset()  # repeats it, had it not ended
        assert await good(controller, read(0, 64)) == b"w" * 64 * BLOCK


# ---- administration ----


async def test_features(rig: Rig) -> None:
    async with rig.controller() as controller:
        await controller.commands.set_feature(OVER_TEMPERATURE, 350)
        assert (await controller.commands.get_feature(OVER_TEMPERATURE)).dw0 & 0xFFFF == 350
        assert (await controller.commands.get_feature(0x06, nsid=0)).dw0 in (0, 1)


async def test_a_refusal_is_an_exception_with_its_status(rig: Rig) -> None:
    rig.expects_guest_errors = True
    async with rig.controller() as controller:
        with pytest.raises(StatusError, match=r"Get Features .* 0/02") as caught:
            await controller.commands.get_feature(0xBF)
        assert caught.value.completion.status == StatusCode.INVALID_FIELD


async def test_logs(rig: Rig) -> None:
    async with rig.controller() as controller:
        await good(controller, write(0, b"l" * BLOCK))
        await good(controller, read(0, 1))
        smart = await controller.commands.smart_log()
        assert smart.host_read_commands >= 1
        assert smart.host_write_commands >= 1
        assert 250 < smart.temperature < 400
        assert await controller.commands.error_log() == []
        assert len(await controller.commands.get_log(LogPage.SMART, 0xFFFFFFFF, 10)) == 10
        effects = await controller.commands.get_log(0x05, 0, 4096)  # read with offsets
        assert any(effects)


async def test_an_event_is_reported_with_its_log(rig: Rig) -> None:
    async with rig.controller() as controller:
        reported: asyncio.Queue[ControllerEvent] = asyncio.Queue()
        controller.on_event = reported.put_nowait
        await controller.commands.set_feature(OVER_TEMPERATURE, 200)  # kelvin: it is warmer
        event = await asyncio.wait_for(reported.get(), 5)
        assert event.type == EventType.HEALTH
        assert event.log_id == LogPage.SMART
        assert event.raw[0] == 2
        # Asked for again, but not of the warning that persists.
        assert (await controller.commands.get_feature(0x0B)).dw0 & 0xFF == 0x1D
        await controller.reset()
        await good(controller, read(0, 1))


# ---- trouble ----


async def load(controller: Controller, first: int, stop: asyncio.Event) -> int:
    """Write and read back until told to stop; return how often."""
    rounds = 0
    while not stop.is_set():
        data = random.randbytes(4 * BLOCK)
        await good(controller, write(first, data))
        assert await good(controller, read(first, 4)) == data
        rounds += 1
    return rounds


async def test_reset_under_load_loses_nothing(rig: Rig) -> None:
    async with rig.controller(depth=16) as controller:
        stop = asyncio.Event()
        loads = [asyncio.create_task(load(controller, 4 * n, stop)) for n in range(24)]
        for _ in range(MAXIMUM_RETRIES):  # on a busy machine each may meet the same command
            await asyncio.gather(*(controller.reset() for _ in range(3)))  # one reset
            await good(controller, read(0, 1))
        stop.set()
        assert all(rounds > 0 for rounds in await asyncio.gather(*loads))


class Reactor:
    """A data path in miniature, over the first of a controller's queue pairs."""

    def __init__(self, controller: Controller) -> None:
        self.log: list[str] = []
        self.queue = controller.io_queues[0].queue
        self.pool = controller.io_queues[0].pool
        self.eventfd = controller.io_queues[0].eventfd
        controller.attach(self)

    async def pause(self) -> None:
        self.log.append("pause")

    def resume(self) -> None:
        self.log.append("resume")
        self.queue.reset(replay=True)
        self.queue.ring()

    def fail(self, status: int) -> None:
        self.log.append("fail")
        self.queue.abandon(status)

    async def collect(self, count: int) -> list[int]:
        """Wait for `count` completions; return their statuses by cookie."""
        ended: dict[int, int] = {}
        async with asyncio.timeout(10):
            while len(ended) < count:
                for completion in self.queue.poll():
                    ended[completion.cookie] = completion.status
                await asyncio.sleep(0.001)
        return [ended[cookie] for cookie in sorted(ended)]


def place(queue: QueuePair, command: NvmeCommand, reactor: Reactor, cookie: int) -> None:
    buffer = reactor.pool.slice(cookie * BLOCK, BLOCK)
    if command.data_out:
        buffer.view()[:] = command.data_out
    assert queue.place(command.sqe(), buffer, cookie, 0) is not None


async def test_the_data_path_is_paused_and_replays(rig: Rig) -> None:
    async with rig.controller(io_queues=1) as controller:
        reactor = Reactor(controller)
        for cookie in range(20):
            place(reactor.queue, write(cookie, bytes([cookie]) * BLOCK), reactor, cookie)
        # Not rung: the controller has seen none of them when it is reset.
        await controller.reset()
        assert reactor.log == ["pause", "resume"]
        assert await reactor.collect(20) == [0] * 20
        found = await good(controller, read(0, 20))
        assert found == b"".join(bytes([cookie]) * BLOCK for cookie in range(20))
        assert os.eventfd_read(reactor.eventfd) > 0


async def fatal(controller: Controller) -> None:
    """Drive the controller into fatal status."""
    transport = controller.transport
    if isinstance(transport, QemuTransport):
        transport.function.write(COMMAND, 2, 0x402)  # no bus mastering: it cannot fetch
    elif isinstance(transport, VfioTransport):
        transport.write_configuration(COMMAND, 2, 0x402)
    else:
        assert isinstance(transport, EmulatedTransport)
        transport.fail()


async def test_fatal_status_leads_to_a_reset(rig: Rig) -> None:
    rig.expects_guest_errors = True
    async with rig.controller() as controller:
        await good(controller, write(0, b"f" * BLOCK))
        await fatal(controller)
        async with asyncio.timeout(10):
            assert await good(controller, read(0, 1)) == b"f" * BLOCK
        assert controller.live


async def pull(transport: Transport) -> None:
    """Pull the controller out."""
    if isinstance(transport, QemuTransport):
        os.kill(transport.pid, signal.SIGKILL)
    else:
        await transport.let_go()


async def test_surprise_removal_ends_every_command(rig: Rig) -> None:
    async with rig.controller(io_queues=1) as controller:
        reactor = Reactor(controller)
        await good(controller, write(0, b"r" * BLOCK))
        stop = asyncio.Event()
        loads = [asyncio.create_task(load(controller, 4 * n, stop)) for n in range(4)]
        await asyncio.sleep(0)
        place(reactor.queue, read(0, 1), reactor, 0)
        await pull(controller.transport)
        async with asyncio.timeout(10):
            for result in await asyncio.gather(*loads, return_exceptions=True):
                assert isinstance(result, AssertionError)
                assert f"{LOST:#05x}" in str(result)
        assert controller.state is ControllerState.DEAD
        assert reactor.log == ["fail"]
        assert await reactor.collect(1) == [LOST]
        assert (await one(controller, read(0, 1))).status == LOST
        with pytest.raises(ControllerGoneError, match="all ones"):
            await controller.commands.smart_log()


async def test_removal_before_bring_up_is_one_clear_error(rig: Rig) -> None:
    transport = rig.transport()
    await pull(transport)
    with pytest.raises((ControllerError, TransportError), match=transport.name):
        await Controller.open(transport)
