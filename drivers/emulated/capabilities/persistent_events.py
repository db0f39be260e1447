"""The Persistent Event log: what has happened to the controller, over restarts.

Kept are the newest events of 64 KiB. Spec: NVMe Base 2.0c 5.16.1.14.
"""

from __future__ import annotations

import time
from typing import Any

from scsi2nvme.drivers.emulated.capabilities.firmware import Slots
from scsi2nvme.drivers.emulated.capabilities.health import smart_log
from scsi2nvme.drivers.emulated.capabilities.identify import identify_controller
from scsi2nvme.drivers.emulated.capabilities.timestamp import (
    NO_TIMESTAMP,
    TIMESTAMP_FEATURE,
    Timestamp,
)
from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields, LogPage, Part
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.log_structures import (
    PERSISTENT_EVENT,
    PERSISTENT_EVENT_HEADER,
    PERSISTENT_EVENT_LOG,
)
from scsi2nvme.nvme.persistent_events import (
    FIRMWARE_COMMIT,
    RESET,
    SET_FEATURE,
    TIMESTAMP_CHANGE,
    Action,
    EventKind,
)
from scsi2nvme.nvme.status import StatusCode

_KEPT = "persistent_events"
_LPA_PERSISTENT_EVENTS = 1 << 4
_UNITS = 1  # PELS, of 64 KiB
_MOST_BYTES = _UNITS << 16
_REVISION = 1
_FIRST_EVENT_BYTES = 3  # of an event's header, and those of the log's, that its length leaves out
_FIRST_LOG_BYTES = 20
_ACTION_PLACE = (41, 0)
_SUCCESS = 0
_RECORDED = frozenset(EventKind) - {
    EventKind.HARDWARE_ERROR,
    EventKind.THERMAL_EXCURSION,
    EventKind.VENDOR,
    EventKind.TCG,
}
_POWER_ON, _CONTROLLER_RESET = 1, 0  # Controller Power Cycle: whether it was one

EVENT_LOG = Option(
    "event-log",
    "on|off",
    "keep a persistent event log (default off, emulated only)",
    parse_switch,
    86,
    "event_log",
    subject="a persistent event log to choose",
)


class PersistentEvents(Part):
    """The events, the newest first, and what the host has established as the log to read."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._model = controller.model
        kept = self._model.state.kept.get(_KEPT, [])
        self._events = _parsed(kept, self._model.image.name)
        self._context = b""
        self._generation = 0
        self._before = b""  # the timestamp, before a command that may set it
        self._began = time.monotonic()
        self._powered = False
        self._model.record = self.record
        self._model.ended = self.ended

    def record(self, kind: EventKind, data: bytes) -> None:
        """Keep an event, durably; the oldest ones make room for it."""
        if self._model.image.traceless:
            return
        head = PERSISTENT_EVENT.build(
            event_type=kind,
            event_type_rev=_REVISION,
            event_header_len=PERSISTENT_EVENT.size - _FIRST_EVENT_BYTES,
            **self._timestamp("event_"),
            event_len=len(data),
        )
        self._events.insert(0, head + data)
        while PERSISTENT_EVENT_HEADER.size + sum(map(len, self._events)) > _MOST_BYTES:
            self._events.pop()
        self._model.state.kept[_KEPT] = [event.hex() for event in self._events]
        self._model.try_save()

    def _now(self) -> bytes:
        """Return the data of the Timestamp feature, of a controller without it zeros."""
        clock = self._controller.part_if_any(Timestamp)
        return NO_TIMESTAMP if clock is None else clock.get()

    def _timestamp(self, prefix: str, data: bytes = b"") -> dict[str, int]:
        """Return the fields that tell the time, or that of a timestamp's data."""
        now = data or self._now()
        milliseconds = int.from_bytes(now[:6], "little")
        return {f"{prefix}timestamp": milliseconds, f"{prefix}timestamp_attributes": now[6]}

    @property
    def _milliseconds(self) -> int:
        """How long it has been since the last reset."""
        return int((time.monotonic() - self._began) * 1000)

    # ---- what happens ----

    def reset(self) -> None:
        """See Part: the first one is that of power on."""
        cycle = _CONTROLLER_RESET if self._powered else _POWER_ON
        self._context = b""
        self.record(
            EventKind.RESET,
            RESET.build(
                fw_rev=int.from_bytes(self._controller.part(Slots).running.fr, "little"),
                ctrl_power_cycle=cycle,
                power_on_ml_secs=int(self._model.smart().power_on_seconds * 1000),
                **self._timestamp("ctrl_"),
            ),
        )
        if not self._powered:
            self.record(EventKind.SMART_SNAPSHOT, smart_log(self._controller))
        self._powered, self._began = True, time.monotonic()

    def check(self, command: Values) -> None:
        """See Part: nothing is refused, but what will be otherwise is noted."""
        if command.opc == AdminOpcode.SET_FEATURES:
            self._before = self._now()

    def ended(self, command: Values, status: int) -> None:
        """An admin command has ended."""
        if command.opc == AdminOpcode.FIRMWARE_COMMIT:
            self._committed(command, status)
        elif command.opc == AdminOpcode.SET_FEATURES and status == _SUCCESS:
            self._set(command)

    def _committed(self, command: Values, status: int) -> None:
        slots, slot = self._controller.part(Slots), command.cdw10 & 7
        new = slots.stored.get(slot, slots.running).fr
        data = FIRMWARE_COMMIT.build(
            old_fw_rev=int.from_bytes(slots.running.fr, "little"),
            new_fw_rev=int.from_bytes(new, "little"),
            fw_commit_action=command.cdw10 >> 3 & 7,
            fw_slot=slot,
            sct_fw=status >> 8 & 7,
            sc_fw=status & 0xFF,
        )
        self.record(EventKind.FIRMWARE_COMMIT, data)

    def _set(self, command: Values) -> None:
        if command.cdw10 & 0xFF == TIMESTAMP_FEATURE:
            data = TIMESTAMP_CHANGE.build(
                ml_secs_since_reset=self._milliseconds,
                **self._timestamp("previous_", self._before),
            )
            self.record(EventKind.TIMESTAMP_CHANGE, data)
            return
        data = SET_FEATURE.build(dword_cnt=2, cdw10=command.cdw10, cdw11=command.cdw11)
        self.record(EventKind.SET_FEATURE, data)

    # ---- the log ----

    def asked(self, command: Values) -> None:
        """The host reads the log, or is about to, or has done so."""
        try:
            action = Action(command.cdw10 >> 8 & 3)
        except ValueError:
            raise invalid_field(*_ACTION_PLACE) from None
        established = bool(self._context)
        if action is Action.RELEASE:
            self._context = b""
        elif established is (action is Action.ESTABLISH):
            raise CommandFailed(StatusCode.COMMAND_SEQUENCE_ERROR)
        elif not established:
            self._context = self._log()

    def log(self) -> bytes:
        """Return what was established, the bare header if nothing is."""
        return self._context or PERSISTENT_EVENT_HEADER.build(lid=PERSISTENT_EVENT_LOG)

    def _log(self) -> bytes:
        totals, identity = self._model.smart(), identify_controller(self._controller)
        body = b"".join(self._events)
        self._generation = self._generation + 1 & 0xFFFF
        head = PERSISTENT_EVENT_HEADER.build(
            lid=PERSISTENT_EVENT_LOG,
            total_num_of_events=len(self._events),
            total_log_len=PERSISTENT_EVENT_HEADER.size + len(body),
            log_revision=_REVISION,
            head_len=PERSISTENT_EVENT_HEADER.size - _FIRST_LOG_BYTES,
            **self._timestamp(""),
            power_on_hours=int(totals.power_on_seconds) // 3600,
            power_cycle_count=totals.power_cycles,
            pci_vid=identity.vid,
            pci_ssvid=identity.ssvid,
            sn=identity.sn,
            mn=identity.mn,
            subnqn=identity.subnqn,
            generation=self._generation,
            context_exists=1,
            supported_events=sum(1 << kind for kind in _RECORDED),
        )
        return head + body


def _parsed(kept: Any, name: str) -> list[bytes]:
    """Return kept events; TransportError if they are none of ours."""
    try:
        events = [bytes.fromhex(each) for each in kept]
        whole = all(
            PERSISTENT_EVENT.size + PERSISTENT_EVENT.parse(event).event_len == len(event)
            for event in events
        )
    except (TypeError, ValueError):
        whole = False
    if not whole or PERSISTENT_EVENT_HEADER.size + sum(map(len, events)) > _MOST_BYTES:
        raise TransportError(f"{name}: what is kept of persistent events is damaged")
    return events


def _asked(controller: Controller, command: Values) -> None:
    controller.part(PersistentEvents).asked(command)


def _log(controller: Controller) -> bytes:
    return controller.part(PersistentEvents).log()


def _controller(controller: Controller) -> Fields:
    return {"lpa": _LPA_PERSISTENT_EVENTS, "pels": _UNITS}


CAPABILITY = Capability(
    "persistent event log",
    log_pages=(LogPage(PERSISTENT_EVENT_LOG, _log, asked=_asked, controller_only=True),),
    controller=_controller,
    options=(EVENT_LOG,),
    settings={EVENT_LOG.keyword: False},
    start=PersistentEvents,
    offered=lambda settings: bool(settings[EVENT_LOG.keyword]),
)
