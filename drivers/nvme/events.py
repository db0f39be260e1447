"""Asynchronous events. Spec: NVMe Base 2.0c 5.2."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import field, replace
from enum import IntEnum
from typing import Any

from scsi2nvme.drivers.nvme.admin import Feature, LogPage
from scsi2nvme.drivers.nvme.commands import Commands
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.identify import MEDIUM_READ_ONLY
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry
from scsi2nvme.fields import Values
from scsi2nvme.native.nvme import QueueCompletion
from scsi2nvme.nvme.ana import ANA_CHANGED, ANA_LOG, ANA_NOTICE
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, NvmeCommand
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS
from scsi2nvme.nvme.reservations import RESERVATION_NOTIFICATION
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY, SMART_LOG
from scsi2nvme.nvme.zoned import CHANGED_ZONES, CHANGED_ZONES_LOG, ZONE_NOTICES, ZONES_CHANGED
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

MAXIMUM_REQUESTS = 4
MOST_NOTIFICATIONS = 256  # of reservations, that are read for one event
RETRY_S, _MOST_RETRY_S = 1.0, 60.0  # between attempts to read the namespaces
REARM_S = 60.0  # between looks whether a critical warning that was told of has passed

# Feature 0Bh: critical warnings, and the notices that are dealt with. Not that of telemetry which a
# controller has saved: all other notices would wait for whoever reads that log, and to read it so
# that they do not has the controller forget it.
_ALL_WARNINGS = 0x1F
# Of namespaces, of a firmware activation, of access, of zones.
_NOTICES = 1 << 8 | 1 << 9 | ANA_NOTICE | ZONE_NOTICES
_PERSISTENT_INTERNAL_ERROR = 3
_ACTIVATION_STARTING = 1

_REQUEST = NvmeCommand(AdminOpcode.ASYNC_EVENT_REQUEST, admin=True)


class EventType(IntEnum):
    """Asynchronous event type. Spec: NVMe Base 2.0c figure 147."""

    ERROR = 0
    HEALTH = 1
    NOTICE = 2
    IMMEDIATE = 3
    IO_COMMAND_SET = 6
    VENDOR = 7


# What a type of event and its information mean. Spec: NVMe Base 2.0c figures 147 to 150.
_MEANINGS: dict[tuple[int, int], str] = {
    (EventType.ERROR, 0): "write to an invalid doorbell register",
    (EventType.ERROR, 1): "invalid doorbell write value",
    (EventType.ERROR, 2): "diagnostic failure",
    (EventType.ERROR, _PERSISTENT_INTERNAL_ERROR): "persistent internal error",
    (EventType.ERROR, 4): "transient internal error",
    (EventType.ERROR, 5): "firmware image load error",
    (EventType.HEALTH, 0): "NVM subsystem reliability",
    (EventType.HEALTH, 1): "temperature threshold",
    (EventType.HEALTH, 2): "spare below threshold",
    (EventType.NOTICE, 0): "namespaces changed",
    (EventType.NOTICE, _ACTIVATION_STARTING): "firmware activation starting",
    (EventType.NOTICE, 2): "telemetry log changed",
    (EventType.NOTICE, ANA_CHANGED): "asymmetric access changed",
    (EventType.NOTICE, ZONES_CHANGED): "the controller has changed zones by itself",
    (EventType.IO_COMMAND_SET, 0): "another host has changed reservations",
    (EventType.IO_COMMAND_SET, 1): "a sanitize operation has ended",
    (EventType.IO_COMMAND_SET, 2): "a sanitize operation has ended, and deallocated all blocks",
}
_NSIDS_SHOWN = 8

# How much of a log is read to acknowledge an event; of others a kilobyte.
_LOG_BYTES: dict[int, int] = {
    LogPage.ERROR: ERROR_LOG_ENTRY.size,
    LogPage.SMART: SMART_LOG.size,
    LogPage.FIRMWARE: 512,
    LogPage.CHANGED_NAMESPACES: 4096,
    LogPage.RESERVATION_NOTIFICATION: RESERVATION_NOTIFICATION.size,
    LogPage.SANITIZE_STATUS: SANITIZE_STATUS.size,
}
_OTHER_LOG_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ControllerEvent:
    """Something happened. `raw` is the log that tells of it, as far as it was read.

    `namespaces` are the NSIDs that appeared, vanished or changed. `returned`: the
    controller was dead, and is up again. `passed`: a critical warning is none any more.
    `unset` are the NSIDs of namespaces with a feature that a reset returned to its
    default, and that could not be set again; `displaced` those of which nothing is placed again
    that was under way at the reset, as others have their numbers, or their blocks are others.
    """

    type: int
    info: int
    log_id: int
    raw: bytes = field(default=b"", repr=False)
    namespaces: frozenset[int] = field(default_factory=frozenset)
    returned: bool = False
    unset: frozenset[int] = field(default_factory=frozenset)
    passed: bool = False
    displaced: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(cls, dw0: int) -> ControllerEvent:
        """Decode an Asynchronous Event Request's completion."""
        return cls(dw0 & 7, dw0 >> 8 & 0xFF, dw0 >> 16 & 0xFF)

    def __str__(self) -> str:
        """What happened, and to which namespaces: one short line for people."""
        parts = []
        if self.returned:
            parts.append("is back")
        if self.passed:
            parts.append("a warning has passed")
        if self.unset:
            parts.append(f"a feature could not be set again: {_listed(self.unset)}")
        if self.displaced:
            parts.append(f"what was under way may be another's: {_listed(self.displaced)}")
        if self.namespaces or not parts:
            unknown = f"event of type {self.type}, information {self.info:#04x}"
            meaning = _MEANINGS.get((self.type, self.info), unknown)
            parts.append(f"{meaning}: {_listed(self.namespaces)}" if self.namespaces else meaning)
        return "; ".join(parts)

    @property
    def health(self) -> Values | None:
        """The SMART log, if that is what it is about, and could be read."""
        if self.log_id != LogPage.SMART or len(self.raw) < SMART_LOG.size:
            return None
        return SMART_LOG.parse(self.raw)

    @property
    def needs_reset(self) -> bool:
        """Whether the controller calls for its own reset."""
        return self.type == EventType.ERROR and self.info == _PERSISTENT_INTERNAL_ERROR


def _listed(nsids: frozenset[int]) -> str:
    shown = ", ".join(str(nsid) for nsid in sorted(nsids)[:_NSIDS_SHOWN])
    more = len(nsids) - _NSIDS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def changed_namespaces(raw: bytes) -> frozenset[int]:
    """Decode the Changed Namespace List; empty when more changed than it can hold."""
    nsids = {int.from_bytes(raw[n : n + 4], "little") for n in range(0, len(raw) - 3, 4)} - {0}
    return frozenset() if BROADCAST_NSID in nsids else frozenset(nsids)


class EventMonitor:
    """Keeps Asynchronous Event Requests with a controller.

    `rescan` reads the namespaces again and returns the NSIDs of those that changed; `activated`
    does so when firmware that is being activated runs, and reads what the controller is as well.
    `zoned` returns the NSIDs of namespaces with zones.
    `report` is called once an event's log has been read and the next request
    is on its way; `spawn` runs a coroutine in the background.
    """

    def __init__(
        self,
        commands: Commands,
        rescan: Callable[[], Awaitable[frozenset[int]]],
        activated: Callable[[], Awaitable[frozenset[int]]],
        zoned: Callable[[], list[int]],
        queue: ControlQueue,
        report: Callable[[ControllerEvent], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._commands = commands
        self._rescan = rescan
        self._activated = activated
        self._zoned = zoned
        self._queue = queue
        self._report = report
        self._spawn = spawn
        self._mask = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._retry: asyncio.Task[None] | None = None
        self._rearming: asyncio.Task[None] | None = None

    def configuration(self, identity: Values) -> int:
        """Begin anew: return what feature 0Bh shall be set to."""
        self._mask = _ALL_WARNINGS | identity.oaes & _NOTICES
        return self._mask

    def start(self, identity: Values) -> None:
        """Send as many requests as the controller takes."""
        requests = min(identity.aerl + 1, MAXIMUM_REQUESTS)
        self._tasks = [self._spawn(self._watch()) for _ in range(requests)]

    def stop(self) -> None:
        """Forget the requests, as the controller does in a reset."""
        for task in self._tasks:
            task.cancel()

    async def _watch(self) -> None:
        entry = [Entry(_REQUEST.sqe(), None, 0)]
        loop = asyncio.get_running_loop()
        request = loop.create_task(self._submit(entry))
        while True:
            outcome = await request
            if outcome is None or outcome.status:
                return  # a reset took it, or the controller takes no more
            event = ControllerEvent.of(outcome.dw0)
            try:
                event = await self._acknowledge(event)
            except ControllerError as error:
                _log.warning("%s: %s", event, error)
            request = loop.create_task(self._submit(entry))
            loop.call_soon(self._report, event)

    async def _submit(self, entry: Sequence[Entry]) -> QueueCompletion | None:
        (placed,) = await self._queue.submit(entry)
        return await placed.ended

    async def _acknowledge(self, event: ControllerEvent) -> ControllerEvent:
        """Read an event's log, so that the controller may tell of the next, and act on it."""
        if event.log_id == 0:
            return event
        changed = frozenset[int]()
        if event.log_id == LogPage.CHANGED_NAMESPACES:
            raw = await self._changed_list()
            changed = await self._read_again() | changed_namespaces(raw)
            return replace(event, raw=raw, namespaces=changed)
        if (event.type, event.info) == (EventType.NOTICE, _ACTIVATION_STARTING):
            changed = await self._activated()
        if event.log_id == CHANGED_ZONES_LOG:
            return replace(event, raw=await self._changed_zones())
        length = _LOG_BYTES.get(event.log_id, _OTHER_LOG_BYTES)
        raw = await self._commands.get_log(event.log_id, BROADCAST_NSID, length, retain=False)
        if event.log_id == LogPage.RESERVATION_NOTIFICATION:
            await self._notifications(raw)
        if event.log_id == LogPage.SMART:
            # What persists would be told again and again.
            warnings = SMART_LOG.parse(raw).critical_warning
            self._mask &= ~warnings
            await self._commands.set_feature(Feature.ASYNC_EVENTS, self._mask)
            if self._rearming is None or self._rearming.done():
                self._rearming = self._spawn(self._rearm())
                self._tasks.append(self._rearming)
            if warnings & MEDIUM_READ_ONLY:
                changed = await self._read_again()
        if event.log_id == ANA_LOG:
            changed = await self._read_again()
        return replace(event, raw=raw, namespaces=changed)

    async def _changed_zones(self) -> bytes:
        """Read the list of each namespace with zones, as none is kept here of what they are.

        One that cannot be read keeps none of the others from telling of the next change.
        """
        log, size, lists = CHANGED_ZONES_LOG, CHANGED_ZONES.size, list[bytes]()
        for nsid in self._zoned() or [BROADCAST_NSID]:  # one was just read to have none
            try:
                lists.append(await self._commands.get_log(log, nsid, size, retain=False))
            except ControllerError as error:
                _log.warning("changed zones of namespace %d: %s", nsid, error)
        return b"".join(lists)

    async def _notifications(self, raw: bytes) -> None:
        """Read the notifications that follow one: who is told reads the reservations themselves."""
        size = RESERVATION_NOTIFICATION.size
        for _ in range(MOST_NOTIFICATIONS):
            if not RESERVATION_NOTIFICATION.parse(raw).nalp:
                return
            log = LogPage.RESERVATION_NOTIFICATION
            raw = await self._commands.get_log(log, BROADCAST_NSID, size, retain=False)

    async def _rearm(self) -> None:
        """Have the controller tell again of warnings that have passed, should they return.

        Once the medium can be written again, that is told.
        """
        while _ALL_WARNINGS & ~self._mask:
            await asyncio.sleep(REARM_S)
            passed = 0
            try:
                raw = await self._commands.get_log(LogPage.SMART, BROADCAST_NSID, SMART_LOG.size)
                passed = _ALL_WARNINGS & ~self._mask & ~SMART_LOG.parse(raw).critical_warning
                if passed:
                    self._mask |= passed
                    await self._commands.set_feature(Feature.ASYNC_EVENTS, self._mask)
            except ControllerError as error:
                self._mask &= ~passed  # which is neither told of, nor asked for, yet
                _log.warning("%s", error)
                continue
            changed = await self._read_again() if passed & MEDIUM_READ_ONLY else frozenset[int]()
            if passed:
                smart = EventType.HEALTH, 0, LogPage.SMART, raw
                self._report(ControllerEvent(*smart, changed, passed=True))

    async def _changed_list(self) -> bytes:
        """Return the log that acknowledges the event; the namespaces are read in any case."""
        log = LogPage.CHANGED_NAMESPACES
        try:
            return await self._commands.get_log(log, BROADCAST_NSID, _LOG_BYTES[log], retain=False)
        except ControllerError as error:
            _log.warning("%s", error)
            return b""

    async def _read_again(self) -> frozenset[int]:
        """Read the namespaces; where that fails it is tried until it succeeds, and told then."""
        try:
            return await self._rescan()
        except ControllerError as error:
            _log.warning("the namespaces cannot be read, and are tried again: %s", error)
        if self._retry is None or self._retry.done():
            self._retry = self._spawn(self._read_later())
            self._tasks.append(self._retry)
        return frozenset()

    async def _read_later(self) -> None:
        pause_s = RETRY_S
        while True:  # a reset, which reads them as well, ends this
            await asyncio.sleep(pause_s)
            try:
                changed = await self._rescan()
            except ControllerError:
                pause_s = min(2 * pause_s, _MOST_RETRY_S)
                continue
            log = LogPage.CHANGED_NAMESPACES
            self._report(ControllerEvent(EventType.NOTICE, 0, log, b"", changed))
            return
