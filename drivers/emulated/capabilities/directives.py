"""Directives, on request, with that of streams: until a reset, none is enabled but Identify.

Spec: NVMe Base 2.0c 5.12, 5.13, 8.7.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    Part,
)
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.directives import (
    IDENTIFY_PARAMETERS,
    OACS_DIRECTIVES,
    STREAMS_PARAMETERS,
    DirectiveType,
    Receive,
    Send,
)
from scsi2nvme.nvme.status import StatusCode

_MOST = 64
_WRITE_BYTES, _WRITES = 64 << 10, 16  # SWS, SGS
_NSID, _CDW11, _CDW12 = 4, 44, 48  # where they stand in an entry
_IDENTIFY, _STREAMS = 1 << DirectiveType.IDENTIFY, 1 << DirectiveType.STREAMS
_STATUS_BYTES = 0x20000


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST):
        raise ValueError(f"is not a number up to {_MOST}")
    return int(text)


STREAMS = Option(
    "streams",
    "N",
    "emulated only: how many streams of writes may be open, of all namespaces together (Streams "
    "directive; default 0: there are none)",
    _number,
    65,
    "streams",
)


class Directives(Part):
    """Where streams are enabled, with the namespaces' births, and who has some alone, by NSID."""

    def __init__(self, controller: Controller) -> None:
        self.model = controller.model
        self.limit = int(controller.settings[STREAMS.keyword])
        self.enabled: dict[int, int] = {}
        self.own: dict[int, int] = {}
        self.model.emulator.set_streams(self.limit)

    def reset(self) -> None:
        """See Part. Spec: NVMe Base 2.0c 8.7.2 (a controller level reset disables them)."""
        for nsid in self.enabled:
            self.model.emulator.enable_streams(nsid, enabled=False)
        self.enabled.clear()
        self.own.clear()

    @property
    def shared(self) -> int:
        """How many streams nobody has to itself."""
        return self.limit - sum(self.own.values())

    def enable(self, namespaces: list[NamespaceState], *, enabled: bool) -> None:
        """Enable streams of namespaces, or disable them, which closes all of theirs."""
        for each in namespaces:
            if enabled:
                self.model.emulator.enable_streams(each.nsid, enabled=True)
                self.enabled[each.nsid] = each.birth
            else:
                self._disable(each.nsid)

    def _disable(self, nsid: int) -> None:
        self.model.emulator.enable_streams(nsid, enabled=False)
        self.enabled.pop(nsid, None)
        self.own.pop(nsid, None)

    def forget_deleted(self) -> None:
        """What is known of namespaces that were deleted is not true of those with their numbers."""
        births = {each.nsid: each.birth for each in self.model.state.namespaces}
        for nsid in [nsid for nsid, birth in self.enabled.items() if births.get(nsid) != birth]:
            self._disable(nsid)

    def allocate(self, nsid: int, wanted: int) -> int:
        """Give a namespace streams to itself, as many as there are; return how many."""
        if not wanted or nsid in self.own:
            raise invalid_field(_CDW12)
        if not self.shared:
            raise CommandFailed(StatusCode.STREAM_RESOURCE_ALLOCATION_FAILED)
        granted = min(wanted, self.shared)
        self.model.emulator.own_streams(nsid, granted)
        self.own[nsid] = granted
        return granted

    def share(self, nsid: int) -> None:
        """Have a namespace's own streams be anybody's."""
        self.model.emulator.own_streams(nsid, 0)
        self.own.pop(nsid, None)

    def parameters(self, namespace: NamespaceState) -> bytes:
        """Return the data of Return Parameters."""
        opened = {nsid: len(self.model.emulator.open_streams(nsid)) for nsid in self.enabled}
        own = self.own.get(namespace.nsid, 0)
        return STREAMS_PARAMETERS.build(
            msl=self.limit,
            nssa=self.shared,
            nsso=sum(count for nsid, count in opened.items() if nsid not in self.own),
            sws=_WRITE_BYTES // namespace.block_bytes,
            sgs=_WRITES,
            nsa=own,
            nso=opened.get(namespace.nsid, 0) if own else 0,
        )

    def status(self, nsid: int) -> bytes:
        """Return the data of Get Status: how many are open, and which."""
        found = sorted(self.model.emulator.open_streams(nsid))
        return b"".join(each.to_bytes(2, "little") for each in (len(found), *found))


def _told(controller: Controller, command: Values, kind: int, operation: int) -> bytes:
    part, nsid = controller.part(Directives), command.nsid
    if nsid == BROADCAST_NSID:
        raise invalid_field(_NSID)
    namespace = controller.model.namespace(nsid)
    match kind, operation:
        case DirectiveType.IDENTIFY, Receive.PARAMETERS:
            streams = _STREAMS if nsid in part.enabled else 0
            return IDENTIFY_PARAMETERS.build(
                supported=_IDENTIFY | _STREAMS, enabled=_IDENTIFY | streams
            )
        case DirectiveType.STREAMS, Receive.PARAMETERS if nsid in part.enabled:
            return part.parameters(namespace)
        case DirectiveType.STREAMS, Receive.STATUS if nsid in part.enabled:
            return part.status(nsid)
    raise invalid_field(_CDW11)


def _receive(controller: Controller, command: Values) -> int:
    part = controller.part(Directives)
    part.forget_deleted()
    operation, kind = command.cdw11 & 0xFF, command.cdw11 >> 8 & 0xFF
    if (kind, operation) == (DirectiveType.STREAMS, Receive.ALLOCATE):
        nsid = controller.model.namespace(command.nsid).nsid
        if nsid not in part.enabled:
            raise invalid_field(_CDW11)
        return part.allocate(nsid, command.cdw12 & 0xFFFF)
    data = _told(controller, command, kind, operation)
    size = min((command.cdw10 + 1) * 4, _STATUS_BYTES)
    controller.to_host(command, data[:size].ljust(size, b"\0"))
    return 0


def _send(controller: Controller, command: Values) -> int:
    part = controller.part(Directives)
    part.forget_deleted()
    operation, kind = command.cdw11 & 0xFF, command.cdw11 >> 8 & 0xFF
    if (kind, operation) == (DirectiveType.IDENTIFY, Send.ENABLE):
        if command.cdw12 >> 8 & 0xFF != DirectiveType.STREAMS:
            raise invalid_field(_CDW12 + 1)
        selected = controller.model.selected(command.nsid)
        part.enable(selected, enabled=bool(command.cdw12 & 1))
        return 0
    nsid = controller.model.namespace(command.nsid).nsid
    if kind != DirectiveType.STREAMS or nsid not in part.enabled:
        raise invalid_field(_CDW11 + 1)
    match operation:
        case Send.RELEASE_IDENTIFIER:
            controller.model.emulator.close_stream(nsid, command.cdw11 >> 16)
        case Send.RELEASE_RESOURCES:
            part.share(nsid)
        case _:
            raise invalid_field(_CDW11)
    return 0


def _controller(controller: Controller) -> Fields:
    return {"oacs": 1 << OACS_DIRECTIVES}


CAPABILITY = Capability(
    "Directives: streams",
    commands=(
        AdminCommand(AdminOpcode.DIRECTIVE_SEND, _send),
        AdminCommand(AdminOpcode.DIRECTIVE_RECEIVE, _receive),
    ),
    controller=_controller,
    options=(STREAMS,),
    settings={STREAMS.keyword: 0},
    start=Directives,
    offered=lambda settings: bool(settings[STREAMS.keyword]),
)
