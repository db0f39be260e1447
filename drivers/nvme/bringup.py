"""From whatever state a controller is in to enabled, as a table of states.

Knows registers and time; the admin queue's commands come later. Spec: NVMe
Base 2.0c 3.5 (initialization), 3.6 (shutdown), 3.7 (reset).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from scsi2nvme.drivers.nvme.errors import (
    ControllerError,
    ControllerGoneError,
    UnsupportedControllerError,
)
from scsi2nvme.drivers.nvme.quirks import Quirk, quirks_of
from scsi2nvme.drivers.transport import Transport
from scsi2nvme.fields import Values
from scsi2nvme.nvme.registers import (
    ALL_ONES_32,
    ALL_ONES_64,
    AQA,
    CAP,
    CC,
    CRTO,
    CSTS,
    Register,
    ShutdownStatus,
    decode,
    encode,
    update,
)
from scsi2nvme.records import dataclass

_POLL_S = 0.001
_UNIT_S = 0.5  # of CAP.TO and CRTO
_SLOW_DISABLE_S = 2.3
_BEFORE_ENABLE_S = 0.0001  # some controllers miss a CC.EN that follows RDY=0 at once
_IOSQES, _IOCQES = 6, 4
_WIDE = {Register.CAP, Register.ASQ, Register.ACQ, Register.CMBMSC}  # of 8 bytes
# But for what is only written, and the doorbells. Spec: NVMe Base 2.0c figure 35.
_READABLE = tuple(
    register
    for register in Register
    if register not in (Register.NSSR, Register.CSTS, Register.DOORBELLS)
)
_ALL_COMMAND_SETS, _NVM_ONLY = 6, 0


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return monotonic seconds."""

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""


class RealClock:
    """The machine's time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds)


class AdminQueue(Protocol):
    """What the registers have to be told of the admin queue pair."""

    depth: int

    @property
    def sq_iova(self) -> int:
        """Where the submission queue lies."""

    @property
    def cq_iova(self) -> int:
        """Where the completion queue lies."""


class BringUp:
    """The registers of one controller. Every method may raise ControllerError."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self.transport = transport
        self.clock = clock
        self.quirks = quirks_of(transport.pci_id)
        self._check_online()
        self.cap = self._capabilities()

    def _check_online(self) -> None:
        """Raise a ControllerError that says so if it is a secondary controller that is offline.

        That is fatal status, whatever is done; other registers tell nothing then.
        Spec: NVMe Base 2.0c 8.22.3 (secondary controller states).
        """
        parent = self.transport.parent
        if parent and self.status().cfs:
            raise ControllerError(
                f"{self.transport.name}: its secondary controller is offline: give it queues and "
                f"interrupts and bring it online (virt-mgmt) by its primary controller, {parent}"
            )

    def _capabilities(self) -> Values:
        value = self.transport.read64(Register.CAP)
        if value == ALL_ONES_64:
            raise ControllerGoneError(f"{self.transport.name}: CAP reads all ones")
        return decode(CAP, value)

    def status(self) -> Values:
        """Return CSTS; ControllerGoneError when it reads all ones."""
        value = self.transport.read32(Register.CSTS)
        if value == ALL_ONES_32:
            raise ControllerGoneError(f"{self.transport.name}: CSTS reads all ones")
        return decode(CSTS, value)

    def properties(self) -> dict[int, int]:
        """Return what the controller has of those that may be read any time, by their offsets.

        One that is gone reads all ones, and nothing more is asked of it.
        """
        found: dict[int, int] = {Register.CSTS: self.transport.read32(Register.CSTS)}
        if found[Register.CSTS] == ALL_ONES_32:
            return found
        for register in _READABLE:
            read = self.transport.read64 if register in _WIDE else self.transport.read32
            found[register] = read(register)
        return found

    @property
    def maximum_depth(self) -> int:
        """Entries that an I/O queue may have; ControllerError if that is one, as none is usable.

        Spec: NVMe Base 2.0c 3.1.3.1 (MQES), 3.3.3.1 (a queue has at least two entries).
        """
        if Quirk.QDEPTH_ONE in self.quirks:
            return 2
        if self.cap.mqes:
            return self.cap.mqes + 1
        if Quirk.SMALL_QUEUES in self.quirks:
            return 64
        raise UnsupportedControllerError(
            "its I/O queues have one entry (CAP.MQES is 0), at least two are needed"
        )

    @property
    def ready_limit_s(self) -> float:
        """How long RDY may take to follow EN. Some report a CRTO less than TO."""
        units = self.cap.to
        if self.cap.crwms:
            units = max(units, decode(CRTO, self.transport.read32(Register.CRTO)).crwmt)
        return (units + 1) * _UNIT_S

    async def disable(self) -> None:
        """Leave the controller disabled: it touches no memory of ours any more.

        ControllerError if RDY does not follow in time. Spec: NVMe Base 2.0c 3.7.
        """
        for state in DISABLE:
            await self._run(state, None)
        self._check_online()

    async def enable(self, queue: AdminQueue) -> None:
        """Enable a disabled controller with `queue` as its admin queue pair.

        The queue's memory is the controller's until it is disabled. ControllerError if it
        does not become ready, or if we cannot drive it. Spec: NVMe Base 2.0c 3.5.
        """
        for state in ENABLE:
            await self._run(state, queue)

    async def shut_down(self, limit_s: float) -> None:
        """Announce the end, normally, and wait until the controller is prepared.

        ControllerError if that takes more than `limit_s`. Spec: NVMe Base 2.0c 3.6.
        """
        cc = self.transport.read32(Register.CC)
        self.transport.write32(Register.CC, update(CC, cc, shn=1))
        if Quirk.NO_SHUTDOWN_STATUS not in self.quirks:
            await self._wait("shut down", _shut_down, limit_s)

    async def _run(self, state: State, queue: AdminQueue | None) -> None:
        limit_s = self.ready_limit_s
        state.enter(self, queue)
        await self.clock.sleep(state.pause_s(self))
        await self._wait(state.name, state.done, limit_s)

    async def _wait(
        self, name: str, done: Callable[[Values, Values], bool], limit_s: float
    ) -> None:
        """Poll until `done`, a predicate of CC and CSTS; it raises on CSTS.CFS if that matters."""
        deadline = self.clock.now() + limit_s
        while True:
            csts = self.status()
            if done(decode(CC, self.transport.read32(Register.CC)), csts):
                return
            if self.clock.now() >= deadline:
                raise ControllerError(
                    f"{self.transport.name}: {name} takes more than {limit_s:g} s, {csts!r}"
                )
            await self.clock.sleep(_POLL_S)


# ---- what is done in each state ----


def _clear_reset_occurred(up: BringUp, _: AdminQueue | None) -> None:
    if up.status().nssro:
        up.transport.write32(Register.CSTS, encode(CSTS, nssro=1))


def _clear_enable(up: BringUp, _: AdminQueue | None) -> None:
    # Not a shutdown: the queues that are enabled may be in memory of a previous owner.
    cc = up.transport.read32(Register.CC)
    up.transport.write32(Register.CC, update(CC, cc, en=0, shn=0))


def _set_enable(up: BringUp, queue: AdminQueue | None) -> None:
    assert queue is not None
    cap = up.cap
    if cap.mpsmin:
        raise UnsupportedControllerError(
            f"pages of {4096 << cap.mpsmin} bytes, 4096 wanted (CAP.MPSMIN)"
        )
    if not cap.css & 0x41:
        raise UnsupportedControllerError(f"no NVM command set (CAP.CSS={cap.css:#x})")
    transport = up.transport
    size = queue.depth - 1
    transport.write32(Register.AQA, encode(AQA, asqs=size, acqs=size))
    transport.write64(Register.ASQ, queue.sq_iova)
    transport.write64(Register.ACQ, queue.cq_iova)
    command_sets = _ALL_COMMAND_SETS if cap.css & 0x40 else _NVM_ONLY
    cc = encode(CC, css=command_sets, iosqes=_IOSQES, iocqes=_IOCQES)
    transport.write32(Register.CC, cc)
    up.cap = up._capabilities()  # may depend on CC.CSS
    transport.write32(Register.CC, update(CC, cc, en=1))


# ---- when a state is left ----


def _settled(cc: Values, csts: Values) -> bool:
    """Clearing EN before RDY has followed it is undefined."""
    return bool(csts.cfs or cc.en == csts.rdy)


def _not_ready(cc: Values, csts: Values) -> bool:
    return not csts.rdy


def _ready(cc: Values, csts: Values) -> bool:
    if csts.cfs:
        raise ControllerError("controller fatal status while it was enabled")
    return bool(csts.rdy)


def _shut_down(cc: Values, csts: Values) -> bool:
    return bool(csts.cfs or csts.shst == ShutdownStatus.COMPLETE)


@dataclass(frozen=True, slots=True)
class State:
    """What to write, how long to leave the registers alone, and what to wait for."""

    name: str
    enter: Callable[[BringUp, AdminQueue | None], None]
    done: Callable[[Values, Values], bool]
    pause_s: Callable[[BringUp], float] = lambda up: 0.0


DISABLE = (
    State("settle", _clear_reset_occurred, _settled),
    State(
        "disable",
        _clear_enable,
        _not_ready,
        lambda up: _SLOW_DISABLE_S if Quirk.SLOW_DISABLE in up.quirks else 0.0,
    ),
)
ENABLE = (
    State("pause", lambda up, queue: None, _not_ready, lambda up: _BEFORE_ENABLE_S),
    State("enable", _set_enable, _ready),
)
