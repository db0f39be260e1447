"""The ladder, with a controller that only counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError
from scsi2nvme.drivers.nvme.recovery import Recovery, with_function_reset
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.registers import CSTS, decode, encode


@dataclass
class Patient:
    """Writes down what is done to it."""

    name: str = "pci:0000:01:00.0"
    known_as: str = "pci:01:00.0,readonly=on"
    live: bool = True
    paused: bool = False
    csts: int = encode(CSTS, rdy=1)
    gone: bool = False
    hopeless: bool = False
    delicate: set[tuple[int, int]] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    aborting: int = 0
    most_aborting: int = 0

    def status(self) -> Values:
        if self.gone:
            raise ControllerGoneError("all ones")
        return decode(CSTS, self.csts)

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        (command,) = commands
        assert command.opcode == AdminOpcode.ABORT
        self.done.append(f"abort {command.cdw10 & 0xFFFF}/{command.cdw10 >> 16}")
        self.aborting += 1
        self.most_aborting = max(self.most_aborting, self.aborting)
        await asyncio.sleep(0)
        self.aborting -= 1
        return (Completion(dw0=1),)

    def uninterruptible(self) -> frozenset[tuple[int, int]]:
        return frozenset(self.delicate)

    async def restart(self) -> None:
        self.done.append("restart")
        self.live = False
        await asyncio.sleep(0)
        if self.hopeless:
            raise ControllerError("hopeless")
        self.live = True

    def die(self, reason: str) -> None:
        self.done.append(f"die: {reason}")
        self.live = False


Scenario = Callable[[Recovery], Coroutine[Any, Any, None]]


def treat(patient: Patient, scenario: Scenario) -> list[str]:
    async def run() -> None:
        recovery = Recovery(patient, 1.0, patient.uninterruptible)
        recovery.set_abort_limit(3)
        await scenario(recovery)

    asyncio.run(run())
    return patient.done


async def overdue_once(recovery: Recovery) -> None:
    await recovery.expired(2, 7, again=False)


async def overdue_twice(recovery: Recovery) -> None:
    await overdue_once(recovery)
    await recovery.expired(2, 7, again=True)


def test_first_abort_then_reset() -> None:
    assert treat(Patient(), overdue_once) == ["abort 2/7"]
    assert treat(Patient(), overdue_twice) == ["abort 2/7", "restart"]


def test_what_nobody_waits_for_is_aborted_and_no_more() -> None:
    async def scenario(recovery: Recovery) -> None:
        await recovery.give_up(2, 7)
        await recovery.give_up(2, 7)
        await recovery.expired(2, 7, again=False)

    assert treat(Patient(), scenario) == ["abort 2/7"] * 3
    assert treat(Patient(live=False), scenario) == []


def test_while_firmware_is_activated_nothing_is_overdue() -> None:
    async def scenario(recovery: Recovery) -> None:
        for again in (False, True):
            await recovery.expired(2, 7, again=again)
            await recovery.give_up(2, 8, again)
            await recovery.expired(0, 1, again=again)

    assert treat(Patient(paused=True), scenario) == []
    assert treat(Patient(paused=True, csts=encode(CSTS, rdy=1, cfs=1)), overdue_once) == ["restart"]


def test_no_command_is_worth_that_another_is_left_half_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    patient = Patient(delicate={(0, 3)})

    async def scenario(recovery: Recovery) -> None:
        for _ in range(2):
            await recovery.give_up(2, 7, again=True)
            await recovery.expired(2, 8, again=True)
            await recovery.expired(0, 4, again=False)
        assert patient.done == []
        patient.delicate.clear()
        await recovery.give_up(2, 7, again=True)

    assert treat(patient, scenario) == ["restart"]
    assert caplog.text.count("a reset would leave the disk half") == 1


def test_what_must_not_be_left_half_done_is_reset_when_it_is_overdue_itself() -> None:
    patient = Patient(delicate={(0, 3)})

    async def scenario(recovery: Recovery) -> None:
        await recovery.expired(0, 3, again=False)

    assert treat(patient, scenario) == ["restart"]


def test_a_controller_that_has_failed_is_reset_whatever_it_does() -> None:
    assert treat(Patient(csts=0, delicate={(0, 3)}), overdue_once) == ["restart"]


def test_an_overdue_admin_command_resets_at_once() -> None:
    async def scenario(recovery: Recovery) -> None:
        await recovery.expired(0, 3, again=False)

    assert treat(Patient(), scenario) == ["restart"]


@pytest.mark.parametrize("csts", [encode(CSTS, rdy=1, cfs=1), 0, encode(CSTS, rdy=1, nssro=1)])
def test_bad_status_resets_at_once(csts: int) -> None:
    assert treat(Patient(csts=csts), overdue_once) == ["restart"]


def test_all_ones_is_the_end() -> None:
    assert treat(Patient(gone=True), overdue_once) == ["die: all ones"]


def test_a_reset_that_fails_is_the_end() -> None:
    assert treat(Patient(hopeless=True), overdue_twice) == [
        "abort 2/7",
        "restart",
        "die: hopeless",
    ]


def test_triggers_at_the_same_time_make_one_reset() -> None:
    async def scenario(recovery: Recovery) -> None:
        await asyncio.gather(
            *(recovery.reset("test") for _ in range(5)),
            recovery.expired(0, 1, again=False),
            recovery.finish(),
        )

    assert treat(Patient(), scenario) == ["restart"]


def test_who_waits_for_a_reset_may_give_up_without_ending_it() -> None:
    async def scenario(recovery: Recovery) -> None:
        waiter = asyncio.create_task(recovery.reset("test"))
        await asyncio.sleep(0)
        waiter.cancel()
        await recovery.finish()

    patient = Patient()
    assert treat(patient, scenario) == ["restart"]
    assert patient.live


def test_the_abort_limit_is_respected() -> None:
    async def scenario(recovery: Recovery) -> None:
        await asyncio.gather(*(recovery.expired(2, cid, again=False) for cid in range(10)))

    patient = Patient()
    assert len(treat(patient, scenario)) == 10
    assert patient.most_aborting == 3


def test_what_waits_to_be_aborted_is_not_after_a_reset() -> None:
    """Its CID may be another command's by then."""

    async def scenario(recovery: Recovery) -> None:
        await asyncio.gather(
            *(recovery.give_up(2, cid) for cid in range(5)), recovery.reset("test")
        )

    assert treat(Patient(), scenario) == ["abort 2/0", "abort 2/1", "abort 2/2", "restart"]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([None], ["attempt"]),
        ([ControllerError("slow"), None], ["attempt", "reset", "attempt"]),
    ],
)
def test_function_reset(errors: list[Exception | None], expected: list[str]) -> None:
    done: list[str] = []

    async def attempt() -> None:
        done.append("attempt")
        error = errors.pop(0)
        if error is not None:
            raise error

    async def reset() -> None:
        done.append("reset")

    asyncio.run(with_function_reset(attempt, reset))
    assert done == expected


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [([ControllerGoneError("gone")], 1), ([ControllerError("a"), ControllerError("b")], 2)],
)
def test_function_reset_in_vain(errors: list[Exception], attempts: int) -> None:
    made: list[Exception] = []

    async def attempt() -> None:
        made.append(errors[len(made)])
        raise made[-1]

    async def reset() -> None:
        pass

    with pytest.raises(ControllerError) as caught:
        asyncio.run(with_function_reset(attempt, reset))
    assert caught.value is errors[-1]
    assert len(made) == attempts
