"""What a controller does not answer while it is brought up: done without, or told in one line."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.faults import AdminFaults, parse_fault
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.setup import SetUp
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from tests.integration.rig import good, read
from tests.waiting import eventually

MIB = 1 << 20
_HURRY = 500.0


class Hurried:
    """A clock that goes faster than the machine's."""

    def now(self) -> float:
        return time.monotonic() * _HURRY

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / _HURRY)


async def opened(*faults: str, **told: int) -> Controller:
    """Bring up a controller with such faults, which tells such fields of itself."""
    options = EmulatedOptions.of(
        size_bytes=MIB,
        block_bytes=4096,
        faults=tuple(parse_fault(fault) for fault in faults),
        told=tuple(("ctrl", name, value) for name, value in told.items()),
    )
    timing = Timing(watch_s=0.005)
    return await Controller.open(EmulatedTransport(options), timing=timing, clock=Hurried())


def run(story: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(limited())


# Every Set Features but that of the number of queues, which comes first.
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("get-log-page:hang", "Get Log Page"),
        ("identify:hang:after=1:count=1", "Identify"),  # CNS 06h
        ("set-features:hang:after=1:count=1", "Set Features"),
    ],
)
def test_what_is_not_essential_is_done_without(
    fault: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        controller = await opened(fault)
        assert await good(controller, read(0, 1)) == bytes(4096)
        assert not controller.namespaces[1].medium_read_only
        await controller.rescan()  # which does without it, too
        await controller.close()

    run(story)
    lines = [line for line in caplog.messages if "done without" in line]
    assert len(lines) == 1
    assert f"{words} takes more than 10 s, and is done without" in lines[0]


def test_what_is_essential_is_waited_for_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        with pytest.raises(ControllerError, match=r"takes more than 60 s$"):
            await opened("identify:hang")

    run(story)
    assert any("is waited for, at most 60 s" in line for line in caplog.messages)


def test_an_endless_delay_before_retries_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def accept(self: SetUp, command: NvmeCommand) -> bool:
        return True

    monkeypatch.setattr(SetUp, "accept", accept)

    async def story() -> None:
        controller = await opened(crdt1=0xFFFF, crdt2=7, crdt3=0)
        assert controller._executor.retry_delays_s == pytest.approx((5.0, 0.7, 0.0))
        await controller.close()

    run(story)


def test_an_error_log_that_no_command_can_carry_is_read_in_part() -> None:
    async def story() -> None:
        controller = await opened(elpe=255, mdts=1, lpa=0)
        assert await controller.commands.error_log() == []
        await controller.close()

    run(story)


def test_namespaces_that_could_not_be_read_are_read_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scsi2nvme.drivers.nvme.events.RETRY_S", 0.01)

    async def story() -> None:
        options = EmulatedOptions(size_bytes=MIB, block_bytes=4096, namespaces=2)
        transport = EmulatedTransport(options)
        controller = await Controller.open(transport)
        told: list[frozenset[int]] = []
        controller.on_event = lambda event: told.append(event.namespaces)
        status = int(StatusCode.INTERNAL_ERROR)
        for command in ("identify", "get-log-page"):
            fault = f"{command}:status={status >> 8:x}/{status & 0xFF:02x}:count=3"
            faults = transport._admin.part(AdminFaults)
            faults.add({key: value for key, value in parse_fault(fault).items() if key != "admin"})
        transport.detach(2)
        await eventually(lambda: set(controller.namespaces) == {1}, "one has gone")
        await eventually(lambda: frozenset({2}) in told, "that is told")
        await controller.close()

    run(story)
