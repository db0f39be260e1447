"""Bring-up against a controller whose every register access is scripted, in its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from scsi2nvme.drivers.nvme.bringup import BringUp
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError
from scsi2nvme.drivers.transport import Transport
from scsi2nvme.nvme.registers import (
    ALL_ONES_32,
    ALL_ONES_64,
    AQA,
    CAP,
    CC,
    CRTO,
    CSTS,
    Register,
    decode,
    encode,
)

NEVER = 1e9
TO_UNITS = 4  # CAP.TO: two seconds


@dataclass
class FakeClock:
    """Time that passes when somebody sleeps."""

    time: float = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeTransport:
    """A controller whose RDY follows EN after so many seconds."""

    clock: FakeClock
    cap: dict[str, int] = field(default_factory=dict)
    enable_s: float = 0.05
    disable_s: float = 0.05
    shutdown_s: float = 0.05
    crto: int = 0
    fatal: Callable[[float], bool] = lambda now: False
    gone: Callable[[float], bool] = lambda now: False
    name: str = "fake"
    vectors: int = 0
    pci_id: tuple[int, int] = (0, 0)
    parent: str = ""
    cc: int = 0
    ready: bool = False
    changed_at: float = -NEVER
    shutdown_at: float = NEVER
    nssro: bool = False
    log: list[tuple[Register, int]] = field(default_factory=list)

    def _csts(self) -> int:
        if self.gone(self.clock.time):
            return ALL_ONES_32
        enabled = bool(decode(CC, self.cc).en)
        delay = self.enable_s if enabled else self.disable_s
        if self.clock.time - self.changed_at >= delay:
            self.ready = enabled
        shst = 2 if self.clock.time - self.shutdown_at >= self.shutdown_s else 0
        cfs = self.fatal(self.clock.time)
        return encode(CSTS, rdy=self.ready, cfs=cfs, shst=shst, nssro=self.nssro)

    def read32(self, offset: int) -> int:
        if offset == Register.CSTS:
            return self._csts()
        return {Register.CC: self.cc, Register.CRTO: encode(CRTO, crwmt=self.crto)}[
            Register(offset)
        ]

    def read64(self, offset: int) -> int:
        assert offset == Register.CAP
        if self.gone(self.clock.time):
            return ALL_ONES_64
        return encode(CAP, **{"mqes": 63, "to": TO_UNITS, "css": 0x41, "mpsmax": 4} | self.cap)

    def write32(self, offset: int, value: int) -> None:
        self.log.append((Register(offset), value))
        if offset == Register.CC:
            if (value ^ self.cc) & 1:
                self._csts()
                self.changed_at = self.clock.time
            if decode(CC, value).shn:
                self.shutdown_at = self.clock.time
            self.cc = value
        if offset == Register.CSTS and decode(CSTS, value).nssro:
            self.nssro = False

    def write64(self, offset: int, value: int) -> None:
        self.log.append((Register(offset), value))


@dataclass
class FakeQueue:
    depth: int = 32
    sq_iova: int = 0x1000
    cq_iova: int = 0x2000


def make(**arguments: Any) -> tuple[BringUp, FakeTransport, FakeClock]:
    clock = FakeClock()
    transport = FakeTransport(clock, **arguments)
    return BringUp(cast(Transport, transport), clock), transport, clock


def bring_up(up: BringUp) -> None:
    async def both() -> None:
        await up.disable()
        await up.enable(FakeQueue())

    asyncio.run(both())


def test_the_admin_queue_is_told_before_enable() -> None:
    up, transport, _ = make()
    bring_up(up)
    written = [register for register, _ in transport.log]
    assert written == [
        Register.CC,
        Register.AQA,
        Register.ASQ,
        Register.ACQ,
        Register.CC,
        Register.CC,
    ]
    values = dict(transport.log[1:4])
    assert (values[Register.ASQ], values[Register.ACQ]) == (0x1000, 0x2000)
    assert dict(decode(AQA, values[Register.AQA])) == {"asqs": 31, "acqs": 31}
    cc = decode(CC, transport.cc)
    assert (cc.en, cc.css, cc.mps, cc.iosqes, cc.iocqes) == (1, 6, 0, 6, 4)


def test_nvm_command_set_alone() -> None:
    up, transport, _ = make(cap={"css": 1})
    bring_up(up)
    assert decode(CC, transport.cc).css == 0


def test_a_controller_found_enabled_is_disabled_without_shutdown() -> None:
    up, transport, _ = make(cc=encode(CC, en=1, iosqes=6, iocqes=4), ready=True)
    asyncio.run(up.disable())
    assert not transport.ready
    assert [decode(CC, value).shn for register, value in transport.log] == [0]


def test_enable_is_not_cleared_before_ready_has_followed_it() -> None:
    up, transport, clock = make(cc=1, changed_at=0.0, enable_s=1.0)
    asyncio.run(up.disable())
    (first, *_) = transport.log
    assert first == (Register.CC, 0)
    assert 1.0 <= transport.changed_at <= clock.time


def test_fatal_status_does_not_keep_it_from_being_disabled() -> None:
    up, _, _ = make(cc=1, enable_s=NEVER, fatal=lambda now: True)
    asyncio.run(up.disable())


def test_reset_notice_is_cleared() -> None:
    up, transport, _ = make(nssro=True)
    asyncio.run(up.disable())
    assert not transport.nssro


@pytest.mark.parametrize(
    ("arguments", "state", "limit_s"),
    [
        ({"disable_s": NEVER, "cc": 1, "ready": True}, "disable", 2.5),
        ({"enable_s": NEVER, "cc": 1, "changed_at": 0.0}, "settle", 2.5),
        ({"enable_s": NEVER}, "enable", 2.5),
        ({"enable_s": NEVER, "cap": {"crwms": 1}, "crto": 20}, "enable", 10.5),
        ({"enable_s": NEVER, "cap": {"crwms": 1}, "crto": 1}, "enable", 2.5),
    ],
)
def test_time_outs(arguments: dict[str, Any], state: str, limit_s: float) -> None:
    up, _, clock = make(**arguments)
    with pytest.raises(ControllerError, match=rf"fake: {state} takes more than {limit_s:g} s"):
        bring_up(up)
    assert limit_s <= clock.time < limit_s + 0.1


def test_just_in_time() -> None:
    up, transport, _ = make(enable_s=2.4, disable_s=2.4, cc=1, ready=True)
    bring_up(up)
    assert transport.ready


def test_fatal_status_while_enabling() -> None:
    up, _, _ = make(fatal=lambda now: now > 0.02)
    with pytest.raises(ControllerError, match="fatal"):
        bring_up(up)


def test_absent_from_the_beginning() -> None:
    with pytest.raises(ControllerGoneError, match="CAP reads all ones"):
        make(gone=lambda now: True)


def test_gone_while_waiting() -> None:
    up, _, clock = make(enable_s=NEVER, gone=lambda now: now > 0.5)
    with pytest.raises(ControllerGoneError, match="CSTS reads all ones"):
        bring_up(up)
    assert clock.time < 0.6


@pytest.mark.parametrize(
    ("cap", "words"), [({"mpsmin": 1}, "CAP.MPSMIN"), ({"css": 0x80}, "CAP.CSS=0x80")]
)
def test_controllers_that_this_driver_cannot_drive(cap: dict[str, int], words: str) -> None:
    up, transport, _ = make(cap=cap)
    with pytest.raises(ControllerError, match=words):
        bring_up(up)
    assert not decode(CC, transport.cc).en


def test_slow_disable_quirk_leaves_the_registers_alone() -> None:
    up, _, clock = make(pci_id=(0x144D, 0xA821))
    asyncio.run(up.disable())
    assert clock.time >= 2.3


def test_depth_limits() -> None:
    assert make(cap={"mqes": 15})[0].maximum_depth == 16
    assert make(cap={"mqes": 1})[0].maximum_depth == 2
    assert make(cap={"mqes": 0}, pci_id=(0x144D, 0xA822))[0].maximum_depth == 64
    for pci_id in ((0x106B, 0x2001), (0x1217, 0x8760)):
        assert make(cap={"mqes": 1023}, pci_id=pci_id)[0].maximum_depth == 2
    with pytest.raises(ControllerError, match=r"one entry \(CAP.MQES is 0\)"):
        _ = make(cap={"mqes": 0})[0].maximum_depth


def test_a_secondary_controller_that_is_offline_is_told_in_one_line() -> None:
    words = r"fake: its secondary controller is offline: .* primary controller, 0000:01:00\.0$"
    with pytest.raises(ControllerError, match=words):
        make(cap={"mqes": 0}, parent="0000:01:00.0", fatal=lambda now: True)
    up, transport, _ = make(parent="0000:01:00.0")
    transport.fatal = lambda now: True
    with pytest.raises(ControllerError, match=words):
        asyncio.run(up.disable())
    make(parent="0000:01:00.0")
    make(fatal=lambda now: True)  # an earlier owner's, which to disable it ends


def test_shutdown_waits_for_its_status() -> None:
    up, transport, clock = make(shutdown_s=3.0)
    bring_up(up)
    began = clock.time
    asyncio.run(up.shut_down(10.0))
    assert 3.0 <= clock.time - began < 3.1
    cc = decode(CC, transport.cc)
    assert (cc.en, cc.shn) == (1, 1)
    transport.shutdown_s = NEVER
    with pytest.raises(ControllerError, match="shut down"):
        asyncio.run(up.shut_down(10.0))


def test_shutdown_of_one_that_never_says_complete() -> None:
    up, _, clock = make(shutdown_s=NEVER, pci_id=(0x15AD, 0x07F0))
    bring_up(up)
    began = clock.time
    asyncio.run(up.shut_down(10.0))
    assert clock.time == began
