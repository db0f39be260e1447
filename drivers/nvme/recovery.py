"""The ladder: Abort, controller reset, function reset, the end.

Every command has a deadline, which its queue pair keeps. What follows when it passes:

1. The owner of the queue pair polls once more, as an interrupt may have been lost. It
   gives the command some more time, the grace, and tells of it, and tells again after each grace.
2. CSTS is read. All ones: the device is gone, and resetting what is not there is of no
   use, so the controller is dead. A fatal status, a subsystem reset or RDY=0 goes to 4.
3. An I/O command that is told of for the first time is aborted. The Abort is answered
   before or after the victim, whatever it says; only the victim's own completion
   ends that, and until then the device may write to its buffer. Whatever ends
   meanwhile, no other command gets the victim's CID before the Abort is over. The second
   time, or if it is an admin command, for which Abort is of little help: 4, but not while
   something is under way that a reset would leave half done (`retry.interruptible`) and that is
   not overdue itself: whoever keeps the queue pair tells of it again.
4. Controller reset. New commands wait at the gates, event requests are dropped, and the
   data path pauses, so that nobody touches a queue. CC.EN is cleared: once RDY has
   followed, the device touches neither memory nor queues. Then all is set up anew, as at
   the start; queues keep their memory, depth and numbers, and what was set in the
   controller is set again (`settings`).
5. Function reset, if 4 fails other than by the device being gone; then 4 once more.
6. What was under way is settled. A reactor's queue pair places it again, in its
   order and with its CIDs, or ends it. The control thread's own commands are repeated
   where that is harmless (`repeatable`), and else end with ABORTED_BY_RESET, as
   nobody knows whether they were executed.
7. If 5 fails too, the controller is dead: everything ends with LOST, now and from now on,
   until somebody asks for a reset, or the device that was let go of is back.

One reset runs at a time; who wants another waits for that one.

While a controller that activates firmware has paused (CSTS.PP) nothing ends or is begun. That is
waited for as long as the controller has said that it may take (MTFA): nothing is overdue then.

What an initiator gave up is not overdue, but must end within two seconds. It has one second to
end by itself; then it is aborted, admin commands too; half a second later the controller is
reset (4), and what was given up is not placed again. No such reset ends a command that could leave
the disk useless (`retry.interruptible`), whosesoever it is: that one goes on, and the reset waits.

Spec: NVMe Base 2.0c 3.7 (resets), 5.1 (Abort).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.errors import (
    ControllerError,
    ControllerGoneError,
    UnansweredError,
    UnsupportedControllerError,
)
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.happenings import tell
from scsi2nvme.nvme.command import Completion, NvmeCommand

_log = logging.getLogger(__name__)

_NOT_ABORTED = 1  # DW0 bit 0


class Patient(Protocol):
    """What recovery needs of the controller."""

    known_as: str

    @property
    def name(self) -> str:
        """Which controller it is, for people."""

    @property
    def live(self) -> bool:
        """Whether commands are being executed, so that there is something to recover."""

    def status(self) -> Values:
        """Return CSTS; ControllerGoneError when it reads all ones."""

    @property
    def paused(self) -> bool:
        """Whether it executes nothing because it activates firmware, and may still take so long."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """Execute commands."""

    async def restart(self) -> None:
        """Pause, reset, set up anew, resume; an exception leaves it paused."""

    def die(self, reason: str) -> None:
        """End every command, now and from now on."""


class Witness(Protocol):
    """Who wants to know what a controller was doing when it has to be reset."""

    async def before_reset(self, reason: str) -> None:
        """It is about to be reset; it may be asked, in the short time that this may take."""

    def paused(self) -> None:
        """Nobody touches its queues, which are as it left them. Returns at once."""

    def after_reset(self) -> None:
        """It is up again, or dead. Returns at once."""


class Recovery:
    """Decides what to do about one controller that misbehaves.

    `abort_s` is how long an Abort command itself may take. `uninterruptible` returns the queue
    pairs and CIDs of what a reset would leave half done.
    """

    def __init__(
        self,
        patient: Patient,
        abort_s: float,
        uninterruptible: Callable[[], frozenset[tuple[int, int]]],
    ) -> None:
        self._patient = patient
        self._uninterruptible = uninterruptible
        self._aborts = asyncio.Semaphore(1)
        self._abort_s = abort_s
        self._reset: asyncio.Task[None] | None = None
        self._resets = 0  # that were begun
        self._put_off = False  # a reset was, for the sake of another command
        self._witness: Witness | None = None

    def witness_by(self, witness: Witness) -> None:
        """Have this one know of resets that a controller's misbehaviour asks for."""
        self._witness = witness

    def paused(self) -> None:
        """The reset that is under way has come so far that nobody touches the queues."""
        with self._whatever_comes():
            if self._witness is not None:
                self._witness.paused()

    @contextmanager
    def _whatever_comes(self) -> Iterator[None]:
        """Have no fault of a witness keep a controller from being brought back."""
        try:
            yield
        except Exception:
            _log.exception("%s: what it was doing is not noted", self._patient.name)

    def set_abort_limit(self, limit: int) -> None:
        """Set how many Abort commands may be under way: ACL + 1."""
        self._aborts = asyncio.Semaphore(limit)

    async def expired(self, qid: int, cid: int, *, again: bool) -> None:
        """A deadline passed: abort an I/O command once, else reset. Returns when that is done."""
        if not self._patient.live:
            return  # a reset ends or repeats the command
        if await self.examine() and not self._patient.paused:
            if again or qid == 0:
                await self._reset_for(qid, cid, "is overdue")
            else:
                await self._abort(qid, cid, "is overdue")

    async def give_up(self, qid: int, cid: int, again: bool = False) -> None:
        """Nobody waits for a command any more; it is not overdue. `again`: Abort did not help."""
        if self._patient.live and self._patient.paused:
            return  # whoever keeps the queue pair tells of it again
        if again:
            await self._reset_for(qid, cid, "cannot be aborted")
        elif self._patient.live:
            await self._abort(qid, cid, "is not wanted any more")

    async def _reset_for(self, qid: int, cid: int, reason: str) -> None:
        """Reset the controller for the sake of one command, unless that harms another one."""
        harmed = self._uninterruptible() - {(qid, cid)}
        if not harmed:
            await self.reset(f"command {cid} of queue {qid} {reason}")
        elif not self._put_off:
            reasons = f"{reason}, but a reset would leave the disk half formatted or changed"
            _log.warning(
                "%s: command %d of queue %d %s: it waits", self._patient.name, cid, qid, reasons
            )
        self._put_off = bool(harmed)

    async def examine(self) -> bool:
        """Look at CSTS; False if that was bad and has been dealt with."""
        try:
            csts = self._patient.status()
        except (ControllerGoneError, TransportError) as error:
            self._patient.die(str(error))
            return False
        if csts.cfs or csts.nssro or not csts.rdy:
            await self.reset(repr(csts))
            return False
        return True

    async def _abort(self, qid: int, cid: int, reason: str) -> None:
        resets = self._resets
        async with self._aborts:
            if resets != self._resets or not self._patient.live:
                return  # it has ended, or is placed again: its CID may be another's
            command = admin.abort(qid, cid, self._abort_s)
            (completion,) = await self._patient.execute(command)
        outcome = "not aborted" if completion.status or completion.dw0 & _NOT_ABORTED else "aborted"
        told = (self._patient.name, cid, qid, reason, outcome)
        _log.warning("%s: command %d of queue %d %s: %s", *told)

    async def reset(self, reason: str) -> None:
        """Reset the controller, or wait for the reset that is under way."""
        if self._reset is None and self._patient.live:
            which = self._patient
            told = ("%s: controller reset: %s", which.known_as, reason)
            tell(_log, logging.WARNING, "controller-reset", *told, controller=which.known_as)
            self._reset = asyncio.create_task(self._run(reason))
        await self.finish()

    async def finish(self) -> None:
        """Wait for the reset that is under way, if any."""
        if self._reset is not None:
            await asyncio.shield(self._reset)

    async def stop(self, limit_s: float) -> None:
        """End the reset that is under way, if any, after so many seconds if it does not before."""
        reset = self._reset
        if reset is None:
            return
        if not (await asyncio.wait([reset], timeout=limit_s))[0]:
            reset.cancel()
            await asyncio.wait([reset])

    async def _run(self, reason: str) -> None:
        self._resets += 1
        try:
            with self._whatever_comes():
                if self._witness is not None:
                    await self._witness.before_reset(reason)
            await self._patient.restart()
        except (ControllerError, TransportError) as error:
            self._patient.die(str(error))
        finally:
            self._reset = None
            with self._whatever_comes():
                if self._witness is not None:
                    self._witness.after_reset()


async def with_function_reset(
    attempt: Callable[[], Awaitable[None]], reset: Callable[[], Awaitable[None]]
) -> None:
    """Run `attempt`, and if it fails reset the function and run it once more.

    An attempt is begun anew for each command that the controller does not answer and that
    is left out then. What the second attempt raises is raised, and ControllerGoneError and
    UnsupportedControllerError at once: there is nothing that a reset could mend.
    """
    try:
        await _without_unanswered(attempt)
    except (ControllerGoneError, UnsupportedControllerError):
        raise
    except ControllerError as error:
        _log.warning("function reset: %s", error)
        await reset()
        await _without_unanswered(attempt)


async def _without_unanswered(attempt: Callable[[], Awaitable[None]]) -> None:
    while True:  # each time with one command less
        try:
            await attempt()
        except UnansweredError as error:
            _log.warning("%s", error)
        else:
            return
