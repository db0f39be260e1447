"""Telemetry logs: what the controller knows of itself, as it was at a moment.

Area 1 is the SMART log, area 2 the error log as well. Spec: NVMe Base 2.0c 5.16.1.8, 5.16.1.9.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, LogPage, Part
from scsi2nvme.drivers.emulated.model import TELEMETRY_CHANGED
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.fields import Values
from scsi2nvme.nvme.log_structures import TELEMETRY_CONTROLLER, TELEMETRY_HEADER, TELEMETRY_HOST
from scsi2nvme.nvme.persistent_events import EventKind

_OUI = 0x525400
_BLOCK = 512
_SMART, _ERRORS = 0x02, 0x01
_LPA_TELEMETRY, _TELEMETRY_NOTICES = 1 << 3, 1 << 10
_CREATE = 1 << 8  # CDW10
_RETAIN = 1 << 15
_HOST_GENERATION = 381

TELEMETRY = Option(
    "telemetry",
    "on|off",
    "have telemetry logs (default off, emulated only); the controller saves one when a command "
    "has failed",
    parse_switch,
    86,
    "telemetry",
    subject="telemetry logs to choose",
)


class Telemetry(Part):
    """The two snapshots. The controller saves one once an error was logged, until it is read."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._host = self._saved = b""
        self._host_generation = self._saved_generation = 0
        self._errors = controller.model.error_count

    def _snapshot(self) -> tuple[int, int, bytes]:
        """Return the last blocks of areas 1 and 2, and both areas."""
        pages = self._controller.tables.log_pages
        built = (pages[lid].build(self._controller) for lid in (_SMART, _ERRORS))
        smart, errors = (each.ljust(-(-len(each) // _BLOCK) * _BLOCK, b"\0") for each in built)
        first = len(smart) // _BLOCK
        return first, first + len(errors) // _BLOCK, smart + errors

    def asked(self, command: Values) -> None:
        """The host reads a log: it may want a snapshot to be made."""
        lid = command.cdw10 & 0xFF
        if lid == TELEMETRY_HOST and command.cdw10 & _CREATE:
            self._host_generation = self._host_generation + 1 & 0xFF
            self._host = self._log(lid, self._host_generation)
            self._controller.model.record(EventKind.TELEMETRY_CREATED, self._host[:_BLOCK])

    def host(self) -> bytes:
        """Return the host-initiated log, which may be of nothing yet."""
        return self._host or TELEMETRY_HEADER.build(lid=TELEMETRY_HOST, ieee=_OUI)

    def saved(self) -> bytes:
        """Return the controller-initiated log."""
        self._save()
        return self._saved or TELEMETRY_HEADER.build(
            lid=TELEMETRY_CONTROLLER, ieee=_OUI, generation=self._saved_generation
        )

    def _save(self) -> bool:
        """Save one, if none waits to be read and there were errors; whether it was so."""
        errors = self._controller.model.error_count
        if self._saved or errors == self._errors:
            return False
        self._errors = errors
        self._saved_generation = self._saved_generation + 1 & 0xFF
        self._saved = self._log(TELEMETRY_CONTROLLER, self._saved_generation)
        self._controller.model.record(EventKind.TELEMETRY_CREATED, self._saved[:_BLOCK])
        return True

    def before_posting(self) -> None:
        """See Part: a log that was saved is told of."""
        if self._controller.enabled and self._save():
            self._controller.model.notify(TELEMETRY_CHANGED)

    def taken(self, command: Values) -> None:
        """The host has read a log; it lets another be saved unless it retains the event."""
        if command.cdw10 & 0xFF == TELEMETRY_CONTROLLER and not command.cdw10 & _RETAIN:
            self._saved = b""

    def _log(self, lid: int, generation: int) -> bytes:
        first, second, areas = self._snapshot()
        own = lid == TELEMETRY_CONTROLLER
        header = bytearray(
            TELEMETRY_HEADER.build(
                lid=lid,
                ieee=_OUI,
                area1_last=first,
                area2_last=second,
                area3_last=second,
                available=own or bool(self._saved),
                generation=self._saved_generation,
            )
        )
        header[_HOST_GENERATION] = 0 if own else generation
        return bytes(header) + areas


def _host(controller: Controller) -> bytes:
    return controller.part(Telemetry).host()


def _saved(controller: Controller) -> bytes:
    return controller.part(Telemetry).saved()


def _asked(controller: Controller, command: Values) -> None:
    controller.part(Telemetry).asked(command)


def _answered(controller: Controller, command: Values) -> None:
    controller.part(Telemetry).taken(command)


CAPABILITY = Capability(
    "telemetry",
    log_pages=(
        LogPage(TELEMETRY_HOST, _host, asked=_asked, controller_only=True),
        LogPage(TELEMETRY_CONTROLLER, _saved, answered=_answered, controller_only=True),
    ),
    controller=lambda controller: {"lpa": _LPA_TELEMETRY, "oaes": _TELEMETRY_NOTICES},
    options=(TELEMETRY,),
    settings={TELEMETRY.keyword: False},
    start=Telemetry,
    offered=lambda settings: bool(settings[TELEMETRY.keyword]),
)
