"""Security Send and Security Receive, on request, with as much of TCG as tells what there is.

Level 0 discovery, and the reset of a communication's stack, which is answered. Nothing can be
locked. Frames of replay protected memory go to `rpmb`. Spec: NVMe Base 2.0c 5.25, 5.26;
SPC-4 7.7.1; TCG Storage Architecture Core 2.01 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.drivers.emulated.capabilities.rpmb import RPMB, ReplayProtected
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    Part,
)
from scsi2nvme.drivers.emulated.model import (
    MAXIMUM_TRANSFER_BYTES,
    CommandFailed,
    invalid_field,
)
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.rpmb import PROTOCOL, PROTOCOL_SPECIFIC
from scsi2nvme.nvme.status import StatusCode

TCG = Option(
    "tcg",
    "on|off",
    "emulated only: whether it has security commands, that tell of TCG and lock nothing "
    "(default off)",
    parse_switch,
    81,
    "tcg",
    subject="a choice",
)
_OACS_SECURITY = 1 << 0
_RPMB = (PROTOCOL, PROTOCOL_SPECIFIC)

_INFORMATION, _TCG, _TCG_MANAGEMENT = 0x00, 0x01, 0x02  # SECP
_LIST, _CERTIFICATE = 0x0000, 0x0001  # SPSP of 00h
_DISCOVERY, _COMID = 0x0001, 0x07FE  # SPSP of TCG's
_STACK_RESET = 2

PROTOCOL_LIST = Structure(
    "Supported security protocols list",
    8,
    (Field("length", 6, 0, 16),),
    spec="SPC-4 7.7.1.3",
)
CERTIFICATE = Structure("Certificate data", 4, (Field("length", 2, 0, 16),), spec="SPC-4 7.7.1.4")
DISCOVERY = Structure(
    "Level 0 discovery header",
    48,
    (Field("length", 0, 0, 32, "of what follows"), Field("revision", 4, 0, 32)),
    spec="TCG Core 2.01 3.3.6",
)
FEATURE = Structure(
    "Level 0 discovery feature",
    16,
    (
        Field("code", 0, 0, 16),
        Field("version", 2, 4, 4),
        Field("length", 3),
        Field("sync", 4, 0, 1, "of the TPer feature, 0001h"),
    ),
    spec="TCG Core 2.01 3.3.6.4",
)
REQUEST = Structure(
    "HANDLE_COMID_REQUEST",
    8,
    (Field("comid", 0, 0, 16), Field("extension", 2, 0, 16), Field("code", 4, 0, 32)),
    spec="TCG Core 2.01 3.3.4.7",
)
RESPONSE = Structure(
    "GET_COMID_RESPONSE",
    16,
    (
        Field("comid", 0, 0, 16),
        Field("extension", 2, 0, 16),
        Field("code", 4, 0, 32),
        Field("length", 10, 0, 16),
        Field("failed", 12, 0, 32),
    ),
    spec="TCG Core 2.01 3.3.4.7",
)


class Security(Part):
    """What was asked of a communication, and not yet told."""

    def __init__(self, controller: Controller) -> None:
        self._answer = b""
        self.reset()

    def reset(self) -> None:
        """See Part."""
        self._answer = RESPONSE.build(comid=_COMID)

    def handle(self, data: bytes) -> None:
        """Take a request of communication management."""
        if len(data) < REQUEST.size:
            raise invalid_field(44)
        asked = REQUEST.parse(data)
        known = (asked.comid, asked.extension, asked.code) == (_COMID, 0, _STACK_RESET)
        self._answer = RESPONSE.build(
            comid=asked.comid,
            extension=asked.extension,
            code=asked.code,
            length=4 if known else 0,
        )

    def answer(self) -> bytes:
        """Return the answer, once."""
        answer = self._answer
        self.reset()
        return answer


def _protocols(controller: Controller) -> bytes:
    tcg, rpmb = controller.settings[TCG.keyword], controller.settings[RPMB.keyword]
    known = (
        _INFORMATION,
        *((_TCG, _TCG_MANAGEMENT) if tcg else ()),
        *((PROTOCOL,) if rpmb else ()),
    )
    protocols = bytes(known)
    return PROTOCOL_LIST.build(length=len(protocols)) + protocols


def _discovery(controller: Controller) -> bytes:
    tper = FEATURE.build(code=0x0001, version=1, length=FEATURE.size - 4, sync=1)
    return DISCOVERY.build(length=DISCOVERY.size - 4 + len(tper), revision=1) + tper


_RECEIVE: dict[tuple[int, int], Callable[[Controller], bytes]] = {
    (_INFORMATION, _LIST): _protocols,
    (_INFORMATION, _CERTIFICATE): lambda controller: CERTIFICATE.build(),
    (_TCG, _DISCOVERY): _discovery,
    (_TCG_MANAGEMENT, _COMID): lambda controller: controller.part(Security).answer(),
}


def _selected(controller: Controller, command: Values) -> tuple[int, int]:
    """Return protocol and what is specific to it; NSSF is NVMe's own protocol's."""
    protocol = command.cdw10 >> 24
    if command.cdw10 & 0xFF and protocol != PROTOCOL:
        raise invalid_field(40)
    if protocol in (_TCG, _TCG_MANAGEMENT) and not controller.settings[TCG.keyword]:
        raise invalid_field(40)
    if command.cdw11 > MAXIMUM_TRANSFER_BYTES:
        raise invalid_field(44)
    return protocol, command.cdw10 >> 8 & 0xFFFF


def _received(controller: Controller, command: Values) -> bytes:
    selected = _selected(controller, command)
    if selected == _RPMB:
        return controller.part(ReplayProtected).receive(command.cdw10 & 0xFF)
    build = _RECEIVE.get(selected)
    if build is None:
        raise invalid_field(40)
    return build(controller)


def _receive(controller: Controller, command: Values) -> int:
    data = _received(controller, command)[: command.cdw11]
    if data:
        controller.to_host(command, data)
    return 0


def _send(controller: Controller, command: Values) -> int:
    selected = _selected(controller, command)
    if selected not in (_RPMB, (_TCG_MANAGEMENT, _COMID)):
        raise invalid_field(40)
    data = controller.from_host(command, command.cdw11)
    if selected == _RPMB:
        controller.part(ReplayProtected).send(command.cdw10 & 0xFF, data)
    else:
        controller.part(Security).handle(data)
    return 0


def _when_asked(
    execute: Callable[[Controller, Values], int],
) -> Callable[[Controller, Values], int]:
    """Return a command that there is only where something is asked by it."""

    def checked(controller: Controller, command: Values) -> int:
        if not _wanted(controller):
            raise CommandFailed(StatusCode.INVALID_OPCODE, 0)
        return execute(controller, command)

    return checked


def _wanted(controller: Controller) -> bool:
    return bool(controller.settings[TCG.keyword] or controller.settings[RPMB.keyword])


def _controller(controller: Controller) -> Fields:
    return {"oacs": _OACS_SECURITY if _wanted(controller) else 0}


CAPABILITY = Capability(
    "security",
    commands=(
        AdminCommand(AdminOpcode.SECURITY_RECEIVE, _when_asked(_receive)),
        AdminCommand(AdminOpcode.SECURITY_SEND, _when_asked(_send)),
    ),
    controller=_controller,
    options=(TCG,),
    settings={TCG.keyword: False},
    start=Security,
)
