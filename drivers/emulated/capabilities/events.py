"""Asynchronous events, and the log of what changed. Spec: NVMe Base 2.0c 5.2, 5.16."""

from __future__ import annotations

from collections import deque

from scsi2nvme.drivers.emulated.capabilities.features import Features
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Feature,
    Fields,
    LogPage,
    Part,
    merged,
)
from scsi2nvme.drivers.emulated.model import CHANGED_NAMESPACES, CommandFailed, Event
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.zoned import ZONES_CHANGED

_REQUESTS = 4
_CONFIGURATION = 0x0B
_WARNINGS = 0x1F  # the critical ones
_NAMESPACE_ATTRIBUTE_NOTICES = 1 << 8  # OAES
_ERROR, _HEALTH, _IO_COMMAND_SET = 0, 1, 6  # types
_NOTICES = {ZONES_CHANGED: 27}  # bits of Feature 0Bh that do not follow from the information
_LIST_ENTRIES = 1024


class Events(Part):
    """Requests that wait for events, and events that wait for requests."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.reset()
        controller.model.notify = self.notify

    def reset(self) -> None:
        """See Part."""
        self._requests: deque[Values] = deque()
        self._events: deque[Event] = deque()
        self._masked: dict[int, int] = {}  # types whose log was not read yet: that log

    def request(self, command: Values) -> None:
        """Keep a request until there is an event for it."""
        if len(self._requests) == _REQUESTS:
            raise CommandFailed(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED)
        self._requests.append(command)

    def abort(self, cid: int) -> bool:
        """End the request of this CID; whether there is one."""
        for request in self._requests:
            if request.cid == cid:
                self._requests.remove(request)
                self._controller.reply(request, 0, StatusCode.ABORT_REQUESTED)
                return True
        return False

    def acknowledge(self, lid: int) -> None:
        """A log was read: events of the types that it tells more of may follow."""
        self._masked = {kind: log for kind, log in self._masked.items() if log != lid}

    def notify(self, event: Event) -> None:
        """Tell the host of an event, once it asks for one, if it wants to know."""
        if self._controller.enabled and self._wanted(event) and event not in self._events:
            self._events.append(event)
            self._controller.post()

    def _wanted(self, event: Event) -> bool:
        if event.type in (_ERROR, _IO_COMMAND_SET):
            return True
        bit = event.warning if event.type == _HEALTH else _NOTICES.get(event.info, 8 + event.info)
        return bool(self._controller.part(Features).current(_CONFIGURATION) >> bit & 1)

    def before_posting(self) -> None:
        """Complete requests with events whose type's log was read since the last one."""
        for event in list(self._events):
            if self._requests and event.type not in self._masked:
                self._events.remove(event)
                self._masked[event.type] = event.lid
                dw0 = event.type | event.info << 8 | event.lid << 16
                self._controller.reply(self._requests.popleft(), dw0)


def _request(controller: Controller, command: Values) -> None:
    controller.part(Events).request(command)


def _changed_namespaces(controller: Controller) -> bytes:
    nsids = sorted(controller.model.changed)
    if len(nsids) > _LIST_ENTRIES:
        nsids = [BROADCAST_NSID]
    return b"".join(nsid.to_bytes(4, "little") for nsid in nsids).ljust(4 * _LIST_ENTRIES, b"\0")


def _check(controller: Controller, value: int) -> int:
    """Keep the bits of what there is: the warnings, and the notices of OAES."""
    fields = merged(one.controller(controller) for one in controller.tables.capabilities)
    oaes = fields["oaes"]
    assert isinstance(oaes, int)
    return value & (_WARNINGS | oaes)


def _controller(controller: Controller) -> Fields:
    return {"oaes": _NAMESPACE_ATTRIBUTE_NOTICES, "aerl": _REQUESTS - 1}


CAPABILITY = Capability(
    "asynchronous events",
    commands=(AdminCommand(AdminOpcode.ASYNC_EVENT_REQUEST, _request),),
    log_pages=(
        LogPage(
            CHANGED_NAMESPACES,
            _changed_namespaces,
            taken=lambda controller: controller.model.changed.clear(),
        ),
    ),
    features=(
        Feature(
            _CONFIGURATION,
            check=_check,
            apply=lambda controller, _: controller.model.warn_again(),
        ),
    ),
    controller=_controller,
    start=Events,
)
