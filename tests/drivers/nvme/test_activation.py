"""Firmware that a controller begins to run while it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from scsi2nvme.drivers.nvme.activation import Activation
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.registers import CSTS, decode, encode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER

AT_ONCE = NvmeCommand(AdminOpcode.FIRMWARE_COMMIT, cdw10=3 << 3, admin=True)
BY_RESET = NvmeCommand(AdminOpcode.FIRMWARE_COMMIT, cdw10=1 << 3, admin=True)


class Clock:
    """Time passes by sleeping only."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Paused:
    """A controller that is paused until a moment, or for good."""

    clock: Clock
    mtfa: int = 20
    until: float = float("inf")
    gone: bool = False
    fails: bool = False
    name: str = "it"
    told: list[frozenset[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        raw = IDENTIFY_CONTROLLER.build(mtfa=self.mtfa)
        self.identity = IDENTIFY_CONTROLLER.parse(raw)

    def status(self) -> Values:
        if self.gone:
            raise ControllerGoneError("all ones")
        return decode(CSTS, encode(CSTS, rdy=1, pp=self.clock.now() < self.until))

    async def identify(self) -> frozenset[int]:
        if self.fails:
            raise ControllerError("no answer")
        return frozenset({1})

    def activation(self) -> Activation:
        def spawn(work: Coroutine[Any, Any, None]) -> object:
            return asyncio.get_running_loop().create_task(work)

        return Activation(self, self.clock, self.identify, self.told.append, spawn)


def test_a_pause_is_borne_for_as_long_as_it_may_take() -> None:
    clock = Clock()
    for mtfa, limit_s in ((20, 2.0), (0, 60.0)):
        activation = Paused(clock, mtfa).activation()
        assert activation.paused
        clock.time += limit_s
        assert activation.paused
        clock.time += 0.01
        assert not activation.paused


def test_each_pause_has_its_own_time() -> None:
    clock = Clock()
    controller = Paused(clock)
    activation = controller.activation()
    assert activation.paused
    controller.until = clock.time
    assert not activation.paused
    clock.time += 10.0
    controller.until = float("inf")
    assert activation.paused
    controller.gone = True
    assert not activation.paused


def test_what_the_controller_is_then_is_read_after_the_pause() -> None:
    clock = Clock()
    controller = Paused(clock, until=clock.time + 1.0)
    assert asyncio.run(controller.activation().ended()) == frozenset({1})
    assert clock.time >= 101.0


async def completed(controller: Paused, command: NvmeCommand, outcome: Any) -> list[Any]:
    taken: list[Any] = []
    following = controller.activation().following([command], taken.append)
    following(outcome)
    await asyncio.sleep(0.0)
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.0)
    return taken


def test_a_commit_that_activates_is_followed() -> None:
    clock = Clock()
    good, bad = (Completion(),), (Completion(status=0x107),)
    for command, outcome, told in (
        (AT_ONCE, good, [frozenset({1})]),
        (AT_ONCE, bad, []),
        (AT_ONCE, asyncio.CancelledError(), []),
        (BY_RESET, good, []),
    ):
        controller = Paused(clock, until=0.0)
        assert asyncio.run(completed(controller, command, outcome)) == [outcome]
        assert controller.told == told
    controller = Paused(clock, until=0.0, fails=True)
    assert asyncio.run(completed(controller, AT_ONCE, good)) == [good]
    assert controller.told == []
