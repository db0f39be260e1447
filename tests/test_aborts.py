"""What one nexus aborts of another's: the real data plane, the portal, a controller that waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.service import runs
from scsi2nvme.unit.mode_pages.control import CONTROL
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import TASK_MANAGEMENT_RESPONSE, Pdu
from tests.model_controller import Awaited
from tests.support import row
from tests.target.iscsi.portal_bench import ALICE, DISK, Bench, ready, serving

CLEAR_TASK_SET = 4
TASK_ABORTED = 0x40
READ = row("READ (10)").build(transfer_length=1)
SECONDS = 20


class Held(Awaited):
    """A controller whose commands wait until `release`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.arrived = threading.Event()
        self.gate = asyncio.Event()

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        self.arrived.set()
        ended = asyncio.ensure_future(self.gate.wait())
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            await ended  # whoever gives it up waits for what the controller has under way
            raise
        return self.bench.model.execute(*commands)

    def release(self) -> None:
        self.bench.loop.call_soon_threadsafe(self.gate.set)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A portal that answers for no READ before the controller has ended it."""
    monkeypatch.setattr(runs, "ANSWER_SECONDS", SECONDS)
    with serving() as bench:
        yield bench


def hold(bench: Bench) -> Held:
    held = Held(bench)
    bench.service._registry.units[bench.lu].executor = held
    return held


def set_tas(bench: Bench, tas: bool) -> None:
    async def change() -> None:
        bench.lu.mode.change(CONTROL, CONTROL.layout.build(tas=int(tas)))

    bench.run(change())


def begin_read(initiator: Initiator, held: Held) -> int:
    """Send a READ that the controller keeps; return its tag."""
    itt = initiator.next_itt()
    initiator.send(initiator.command_bhs(0, READ, itt=itt, edtl=512, read=True))
    assert held.arrived.wait(SECONDS)
    return itt


def clear_task_set(bench: Bench, initiator: Initiator, held: Held) -> Pdu:
    """Request CLEAR TASK SET; the controller goes on once it has aborted what it concerns."""
    ordered = threading.Semaphore(0)
    abort = bench.plane.abort

    def order(*arguments: Any, **options: Any) -> None:
        abort(*arguments, **options)
        ordered.release()

    bench.plane.abort = order  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(initiator.task_management, CLEAR_TASK_SET)
        assert ordered.acquire(timeout=SECONDS)
        assert not response.done()
        held.release()
        return response.result(SECONDS)


@pytest.mark.parametrize("tas", [True, False])
def test_clear_task_set_is_for_the_own_task_set(bench: Bench, tas: bool) -> None:
    """TST is 001b: what another nexus has under way goes on, and nobody tells it anything."""
    with bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        ready(one)
        ready(other)
        set_tas(bench, tas)
        held = hold(bench)
        itt = begin_read(other, held)
        assert one.task_management(CLEAR_TASK_SET).response == 0
        held.release()
        data = other.receive()
        assert (data.itt, data.scsi_status, len(data.data)) == (itt, 0, 512)
        assert other.command(0, bytes(6)).status == 0


def test_the_own_tasks_end_without_a_response(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
        held = hold(bench)
        begin_read(one, held)
        response = clear_task_set(bench, one, held)
        assert response.opcode == TASK_MANAGEMENT_RESPONSE
        assert one.command(0, bytes(6)).status == 0
