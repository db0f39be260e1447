"""What was set in a controller holds after a reset, or whoever relies on it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.identify import displaced
from scsi2nvme.drivers.nvme.settings import Settings
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from tests.support import make_facts

GOOD = Completion()
WRITE_CACHE, TEMPERATURE, TIMESTAMP, HOST_IDENTIFIER, WRITE_PROTECTION = 6, 4, 0xE, 0x81, 0x84
LBA_RANGE_TYPE = 3
OVER, UNDER = 0, 1 << 20
TWO = {nsid: make_facts(nsid=nsid) for nsid in (1, 2)}


@dataclass
class FakeClock:
    """A clock that only sleeping moves."""

    time_s: float = 0.0

    def now(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds


@dataclass
class Bench:
    """A list, and a controller that remembers what it is told to repeat."""

    answers: list[Completion] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    executed: list[NvmeCommand] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = Settings("a controller", self.clock)

    def set(
        self, fid: int, cdw11: int = 0, nsid: int = 0, data_out: bytes = b"", save: bool = False
    ) -> NvmeCommand:
        command = admin.set_features(fid, cdw11, nsid=nsid, data_out=data_out, save=save)
        self.settings.record(command, GOOD)
        return command

    async def execute(self, command: NvmeCommand) -> Completion:
        self.executed.append(command)
        return self.answers.pop(0) if self.answers else GOOD

    def repeat(
        self,
        old: Mapping[int, NamespaceFacts] = TWO,
        new: Mapping[int, NamespaceFacts] = TWO,
    ) -> list[NvmeCommand]:
        """Reset the controller; return the commands that bring-up sends."""
        self.executed.clear()
        asyncio.run(self.settings.repeat(self.execute, old, new))
        return self.executed


def refusal(status: StatusCode, *, dnr: bool = True) -> Completion:
    return Completion(status, dnr=dnr)


def test_the_last_value_of_each_feature_is_repeated_in_the_order_in_which_they_were_set() -> None:
    bench = Bench()
    bench.set(WRITE_CACHE, 1)
    over = bench.set(TEMPERATURE, 350 | OVER)
    under = bench.set(TEMPERATURE, 280 | UNDER)
    protection = [bench.set(WRITE_PROTECTION, 1, nsid) for nsid in (1, 2)]
    identifier = bench.set(HOST_IDENTIFIER, 1, data_out=bytes(range(16)))
    cache = bench.set(WRITE_CACHE, 0)
    assert bench.repeat() == [over, under, *protection, identifier, cache]
    assert bench.repeat() == [over, under, *protection, identifier, cache]
    assert bench.settings.take_unset() == frozenset()


def test_a_saved_value_is_not_saved_again() -> None:
    bench = Bench()
    bench.set(WRITE_CACHE, 0, save=True)
    assert bench.repeat() == [admin.set_features(WRITE_CACHE, 0)]


def test_what_failed_and_what_bring_up_sets_itself_is_not_kept() -> None:
    bench = Bench()
    refused = admin.set_features(WRITE_CACHE, 0)
    bench.settings.record(refused, refusal(StatusCode.INVALID_FIELD))
    for fid in (0x07, 0x0B, 0x0D, 0x16):
        bench.set(fid, 1)
    bench.settings.record(NvmeCommand(AdminOpcode.SET_FEATURES, cdw10=WRITE_CACHE), GOOD)  # Verify
    assert bench.repeat() == []


def test_the_time_goes_on() -> None:
    bench = Bench()
    bench.set(TIMESTAMP, data_out=(1000).to_bytes(6, "little") + b"\0\0")
    bench.clock.time_s = 2.5
    (command,) = bench.repeat()
    assert command.data_out == (3500).to_bytes(6, "little") + b"\0\0"


def test_a_namespace_that_has_gone_takes_its_settings_along() -> None:
    bench = Bench()
    kept = bench.set(WRITE_PROTECTION, 1, 1)
    bench.set(WRITE_PROTECTION, 1, 2)
    cache = bench.set(WRITE_CACHE, 0)
    assert bench.repeat(TWO, {1: TWO[1]}) == [kept, cache]
    assert bench.repeat() == [kept, cache]


def test_another_namespace_of_that_number_is_not_taken_for_it() -> None:
    bench = Bench()
    bench.set(WRITE_PROTECTION, 1, 2)
    other = make_facts(nsid=2, namespace={"eui64": bytes(8), "nguid": bytes(range(16))})
    bench.settings.follow(displaced(TWO, {1: TWO[1], 2: other}, blocks=False))
    assert bench.repeat() == []


@pytest.mark.parametrize("nsid", [1, BROADCAST_NSID])
def test_a_deleted_namespace_takes_its_settings_along(nsid: int) -> None:
    bench = Bench()
    bench.set(WRITE_PROTECTION, 1, 1)
    cache = bench.set(WRITE_CACHE, 0)
    delete = NvmeCommand(AdminOpcode.NAMESPACE_MANAGEMENT, nsid, cdw10=1, admin=True)
    bench.settings.record(delete, GOOD)
    assert bench.repeat() == [cache]


def test_a_format_undoes_what_is_said_of_blocks() -> None:
    bench = Bench()
    bench.set(LBA_RANGE_TYPE, 0, 1, bytes(64))
    kept = bench.set(WRITE_PROTECTION, 0, 1)
    bench.settings.record(NvmeCommand(AdminOpcode.FORMAT_NVM, 1, admin=True), GOOD)
    assert bench.repeat() == [kept]


@pytest.mark.parametrize(("nsid", "told"), [(0, {1, 2}), (BROADCAST_NSID, {1, 2}), (2, {2})])
def test_what_cannot_be_set_again_is_told_once(nsid: int, told: set[int]) -> None:
    bench = Bench([refusal(StatusCode.INVALID_FIELD), refusal(StatusCode.INVALID_FIELD)])
    bench.set(5, 1, nsid)
    bench.repeat()
    assert bench.settings.take_unset() == told
    assert bench.repeat() == []
    assert bench.settings.take_unset() == frozenset()


def test_a_refusal_of_what_holds_already_is_none() -> None:
    """So a controller may answer to a write protection until the power goes."""
    bench = Bench([refusal(StatusCode.FEATURE_NOT_CHANGEABLE), Completion(dw0=2)])
    command = bench.set(WRITE_PROTECTION, 2, 1)
    assert [c.opcode for c in bench.repeat()] == [
        AdminOpcode.SET_FEATURES,
        AdminOpcode.GET_FEATURES,
    ]
    assert bench.settings.take_unset() == frozenset()
    assert bench.repeat() == [command]


def test_another_value_than_was_set_is_told() -> None:
    bench = Bench([refusal(StatusCode.FEATURE_NOT_CHANGEABLE), Completion(dw0=1)])
    bench.set(WRITE_CACHE, 0)
    bench.repeat()
    assert bench.settings.take_unset() == {1, 2}


def test_a_controller_that_is_not_ready_yet_is_asked_again() -> None:
    busy = refusal(StatusCode.NAMESPACE_NOT_READY, dnr=False)
    bench = Bench([busy, busy])
    command = bench.set(WRITE_PROTECTION, 1, 1)
    assert bench.repeat() == [command] * 3
    assert bench.settings.take_unset() == frozenset()


def test_more_data_than_bring_up_has_memory_for_is_told() -> None:
    bench = Bench()
    bench.set(0xC0, data_out=bytes(8192))
    assert bench.repeat() == []
    assert bench.settings.take_unset() == {1, 2}
