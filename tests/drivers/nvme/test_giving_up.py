"""Who is cancelled while it waits for commands: they end, and keep what they use until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.faults import parse_fault
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme import execution
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.retry import ABORTED_BY_RESET
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.log_page import get_log_page
from tests.waiting import eventually

SECONDS = 20
FLUSH = NvmeCommand(Opcode.FLUSH, nsid=1)
READ = NvmeCommand(Opcode.READ, nsid=1, data_in=512)
SMART = get_log_page(LogPage.SMART, 0xFFFFFFFF, 512)
FORMAT = NvmeCommand(AdminOpcode.FORMAT_NVM, nsid=1, admin=True)


@asynccontextmanager
async def controller(
    *faults: str, depth: int = 256, timing: Timing | None = None, size_bytes: int = 1 << 20
) -> AsyncIterator[Controller]:
    options = EmulatedOptions(
        size_bytes=size_bytes, settings={"faults": [parse_fault(fault) for fault in faults]}
    )
    opened = await Controller.open(EmulatedTransport(options), depth=depth, timing=timing)
    try:
        yield opened
    finally:
        await opened.close()


async def begun(opened: Controller, *commands: NvmeCommand) -> asyncio.Task[Any]:
    """Return what waits for commands that the controller has been given."""
    work: Coroutine[Any, Any, Any] = opened.execute(*commands)
    task = asyncio.get_running_loop().create_task(work)
    await eventually(
        lambda: any(run.placed for run in opened._executor._runs),
        "the controller is given them",
    )
    return task


async def given_up(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=SECONDS)
    assert task.cancelled()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a second."""
    monkeypatch.setattr(execution, "_URGE_S", 0.01)
    monkeypatch.setattr(execution, "_INSIST_S", 0.05)


def test_what_hangs_is_aborted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_INSIST_S", SECONDS)  # an Abort has time to help

    async def story() -> None:
        async with controller("read:hang:count=1") as opened:
            await given_up(await begun(opened, READ))
            (completion,) = await opened.execute(READ)
            assert not completion.status

    asyncio.run(story())
    assert "is not wanted any more: aborted" in caplog.text
    assert "controller reset" not in caplog.text


def test_an_abort_that_comes_late_is_of_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_INSIST_S", SECONDS)  # until the command ends by itself

    async def story() -> None:
        async with controller("read:delay=500:count=2", "flush:delay=200") as opened:
            turn = opened._recovery._aborts = asyncio.Semaphore(0)
            await given_up(await begun(opened, READ))
            await opened.execute(READ)  # which ends after it
            others = [await begun(opened, FLUSH) for _ in range(3)]
            turn.release()
            for other in others:
                (completion,) = await other
                assert not completion.status

    asyncio.run(story())
    assert "is not wanted any more: not aborted" in caplog.text


@pytest.mark.parametrize(
    ("command", "faults"),
    [
        (READ, ("read:hang:count=1", "abort:status=0/06")),
        (READ, ("read:hang:count=1", "abort:hang:count=1")),
        (SMART, ("get-log-page:hang:after=1:count=1",)),
    ],
)
def test_what_cannot_be_aborted_ends_with_a_reset(
    command: NvmeCommand, faults: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with controller(*faults) as opened:
            other = await begun(opened, FLUSH)
            await other
            await given_up(await begun(opened, command))
            (completion,) = await opened.execute(command)
            assert not completion.status

    asyncio.run(story())
    assert "cannot be aborted" in caplog.text


def test_a_reset_repeats_what_is_wanted_only() -> None:
    async def story() -> None:
        faults = ("read:hang:count=1", "flush:hang:count=1", "abort:status=0/06")
        async with controller(*faults) as opened:
            unwanted = await begun(opened, READ)
            wanted = asyncio.get_running_loop().create_task(opened.execute(FLUSH))
            await asyncio.sleep(0)
            before = opened.transport.emulator.counters()["host_reads"]  # type: ignore[attr-defined]
            await given_up(unwanted)
            (completion,) = await asyncio.wait_for(wanted, SECONDS)
            assert not completion.status
            after = opened.transport.emulator.counters()["host_reads"]  # type: ignore[attr-defined]
            assert after == before

    asyncio.run(story())


def test_no_reset_interrupts_a_format(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with controller("format-nvm:delay=500") as opened:
            await given_up(await begun(opened, FORMAT))

    asyncio.run(story())
    assert "controller reset" not in caplog.text


def test_what_cannot_be_aborted_waits_for_anothers_format(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        faults = ("format-nvm:delay=500", "read:hang:count=1", "abort:status=0/06")
        async with controller(*faults) as opened:
            formats = await begun(opened, FORMAT)
            reads = asyncio.get_running_loop().create_task(opened.execute(READ))
            await asyncio.sleep(0)
            await given_up(reads)
            (completion,) = await formats
            assert not completion.status
            (completion,) = await opened.execute(READ)
            assert not completion.status

    asyncio.run(story())
    told = [record.getMessage() for record in caplog.records]
    put_off = [index for index, text in enumerate(told) if "would leave the disk half" in text]
    reset = [index for index, text in enumerate(told) if "controller reset" in text]
    assert len(put_off) == len(reset) == 1
    assert put_off < reset


def test_formats_that_are_overdue_do_not_wait_for_one_another() -> None:
    async def story() -> None:
        overdue = replace(FORMAT, timeout_s=0.05)
        async with controller("format-nvm:hang:count=2", timing=Timing(grace_s=0.05)) as opened:
            formats = [await begun(opened, overdue) for _ in range(2)]
            assert not (await asyncio.wait(formats, timeout=SECONDS))[1]
            assert [one.result()[0].status for one in formats] == [ABORTED_BY_RESET] * 2
            (completion,) = await opened.execute(FORMAT)
            assert not completion.status

    asyncio.run(story())


def test_what_was_not_placed_never_is() -> None:
    async def story() -> None:
        async with controller("read:hang:count=1", depth=2) as opened:
            first = await begun(opened, READ)
            waits = asyncio.get_running_loop().create_task(opened.execute(FLUSH))
            await asyncio.sleep(0)
            await given_up(waits)
            assert not first.done()
            await given_up(first)

    asyncio.run(story())


def test_who_is_cancelled_twice_waits_all_the_same() -> None:
    async def story() -> None:
        async with controller("read:hang:count=1", "abort:status=0/06") as opened:
            task = await begun(opened, READ)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            assert not task.done()
            await given_up(task)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("fault", "patience"), [("flush:hang", "_FLUSH_S"), ("delete-sq:hang", "_DRAIN_S")]
)
def test_what_hangs_keeps_no_controller_open(
    fault: str, patience: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(f"scsi2nvme.drivers.nvme.controller.{patience}", 0.01)

    async def story() -> None:
        async with controller(fault):
            pass

    asyncio.run(asyncio.wait_for(story(), SECONDS))
    assert ("Flush takes more than" in caplog.text) == (fault == "flush:hang")
