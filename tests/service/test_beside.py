"""I/O that people write, beside what has its logical unit alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from scsi2nvme import service
from scsi2nvme.command import Command
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.beside import TakesLongError
from scsi2nvme.service.served_unit import GoneError
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import Bench, settle, told
from tests.support import row

FORMAT = row("FORMAT UNIT")
ERASE = row("SANITIZE, BLOCK ERASE")


def refused(asking: asyncio.Task[None]) -> str:
    error = asking.exception() if asking.done() else None
    assert isinstance(error, TakesLongError)
    return str(error)


async def io(bench: Bench, until: asyncio.Event | None = None) -> None:
    async with bench.service.beside(bench.lu):
        if until is not None:
            await until.wait()


@told
async def test_a_format_begins_when_it_has_ended(bench: Bench) -> None:
    ended = asyncio.Event()
    asking = asyncio.create_task(io(bench, ended))
    await settle()
    task = await bench.run(FORMAT.build())
    assert bench.lu.readiness is Readiness.READY
    assert bench.controller.opcodes == []
    ended.set()
    await settle()
    await bench.drained()
    assert task.status == Status.GOOD
    await asking


@pytest.mark.parametrize(
    ("command", "words"), [(FORMAT, "is being formatted"), (ERASE, "is being sanitized")]
)
def test_it_does_not_wait_for_what_takes_long(command: Command, words: str) -> None:
    @told
    async def story(bench: Bench) -> None:
        bench.lu.may_be_sanitized = True
        unit = bench.service._registry.units[bench.lu]
        before = list(unit.followers)
        bench.controller.held = True
        await bench.run(command.build())
        waiting = asyncio.create_task(io(bench))
        await settle()
        assert not waiting.done()  # nobody knows yet what that is
        await bench.drained()
        assert refused(waiting) == words
        late = asyncio.create_task(io(bench))
        await settle()
        assert refused(late) == words
        while bench.controller.waiting:
            await bench.controller.release()
        await io(bench)
        assert unit.followers == before
        assert not unit.lock.in_use

    story()


@told
async def test_who_waits_for_a_short_command_has_its_turn(bench: Bench) -> None:
    unit = bench.service._registry.units[bench.lu]
    async with unit.lock.hold(exclusive=True):
        waiting = asyncio.create_task(io(bench))
        await settle()
        assert not waiting.done()
    await waiting


async def hanging(bench: Bench) -> None:
    await io(bench, asyncio.Event())


async def by_hand(bench: Bench) -> None:
    bench.controller.held = True
    await bench.service.run_by_hand(bench.lu, row("READ (10)").build(transfer_length=1), b"", 512)


@pytest.mark.parametrize("work", [hanging, by_hand])
def test_a_logical_unit_that_goes_waits_for_it_for_a_while_only(
    work: Callable[[Bench], Coroutine[None, None, None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RETIRING_SECONDS", 0.0)

    @told
    async def story(bench: Bench) -> None:
        asking = asyncio.create_task(work(bench))
        await settle()
        unit = bench.service._registry.units[bench.lu]
        going = bench.service.remove_unit(bench.lu)
        async with asyncio.timeout(5):
            while not going.done():
                while bench.plane.aborts:
                    await bench.aborted()
                await asyncio.sleep(0)
        assert isinstance(asking.exception(), GoneError)
        assert not unit.guests

    story()
