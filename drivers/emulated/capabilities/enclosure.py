"""NVMe-MI Send and Receive, on request, and behind them an enclosure: the slot of this disk, and a
sensor of its temperature.

Spec: NVMe Base 2.0c 5.21, 5.22; NVMe-MI 1.2 4.3, 5.8, 5.9; SES-3 6.1, 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scsi2nvme.drivers.emulated.capabilities.health import Health
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Fields,
    Part,
)
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass

SES = Option(
    "ses",
    "on|off",
    "emulated only: whether it is in an enclosure, of which NVMe-MI tells (default off)",
    parse_switch,
    81,
    "ses",
    subject="a choice",
)
_OACS_MANAGEMENT, _NVMSR_DEVICE, _NVMSR_ENCLOSURE = 1 << 6, 1 << 0, 1 << 1
_MOST = 4096  # bytes of a message's data

HEADER = Structure(
    "NVMe-MI message header and command, as CDW10 to CDW13",
    16,
    (
        Field("mt", 0, 0, 7, "message type: 4h"),
        Field("ic", 0, 7, 1, "integrity check: none in band"),
        Field("nmimt", 1, 3, 4, "NVMe-MI message type: 1h, a command"),
        Field("ror", 1, 7, 1, "a response"),
        Field("opc", 4),
        Field("page_code", 8),
        Field("length", 12, 0, 16),
    ),
    order="little",
    spec="NVMe-MI 1.2 figure 34, 5.8, 5.9",
)
_MESSAGE, _COMMAND = 0x4, 0x1
_SES_RECEIVE, _SES_SEND = 0x08, 0x09
# In DW0 of the completion. Spec: NVMe-MI 1.2 figure 29.
_INVALID_OPCODE, _INVALID_PARAMETER, _INVALID_SIZE = 0x03, 0x04, 0x06

PAGE = Structure(
    "SES page header",
    8,
    (Field("page_code", 0), Field("page_length", 2, 0, 16), Field("generation", 4, 0, 32)),
    spec="SES-3 6.1.3",
)
_BEFORE_GENERATION = 4
ENCLOSURE = Structure(
    "Enclosure descriptor",
    40,
    (
        Field("process", 0, 4, 3, "this enclosure services process"),
        Field("processes", 0, 0, 3),
        Field("types", 2, doc="type descriptor headers"),
        Field("length", 3, doc="of what follows"),
        Field("logical_identifier", 4, 0, 64),
        Field("vendor", 12, 0, 64),
        Field("product", 20, 0, 128),
        Field("revision", 36, 0, 32),
    ),
    spec="SES-3 6.1.2.2",
)
TYPE = Structure(
    "Type descriptor header",
    4,
    (Field("element_type", 0), Field("elements", 1), Field("text_length", 3)),
    spec="SES-3 6.1.2.3",
)
SLOT = Structure(
    "Array Device Slot element",
    4,
    (
        Field("select", 0, 7, 1, "control: change it"),
        Field("status", 0, 0, 4),
        Field("ident", 2, 1, 1),
        Field("fault_requested", 3, 5, 1),
    ),
    spec="SES-3 7.3.3",
)
SENSOR = Structure(
    "Temperature Sensor element",
    4,
    (Field("status", 0, 0, 4), Field("temperature", 2, doc="degrees Celsius above -20")),
    spec="SES-3 7.3.5",
)
_OK, _ZERO_KELVIN, _LEAST = 1, 273, -20


@dataclass(frozen=True)
class _Type:
    code: int
    name: bytes
    element: bytes


# In the order in which pages have them: an element of each, behind one for all of its type.
_TYPES = (_Type(0x17, b"slots", b"slot 0"), _Type(0x04, b"temperatures", b"disk"))


class Enclosure(Part):
    """The lights of the slot, which nothing but a control page changes."""

    def __init__(self, controller: Controller) -> None:
        self.ident = self.fault = 0


def _page(code: int, body: bytes) -> bytes:
    length = PAGE.size - _BEFORE_GENERATION + len(body)
    return PAGE.build(page_code=code, page_length=length) + body


def _configuration(controller: Controller) -> bytes:
    enclosure = ENCLOSURE.build(
        process=1,
        processes=1,
        types=len(_TYPES),
        length=ENCLOSURE.size - 4,
        logical_identifier=0x3 << 60
        | int.from_bytes(controller.model.state.serial[-7:].encode(), "big"),
        vendor=b"NVMe    ",
        product=b"Enclosure".ljust(16),
        revision=b"1".ljust(4),
    )
    heads = (
        TYPE.build(element_type=each.code, elements=1, text_length=len(each.name))
        for each in _TYPES
    )
    return _page(0x01, enclosure + b"".join(heads) + b"".join(each.name for each in _TYPES))


def _status(controller: Controller) -> bytes:
    kept = controller.part(Enclosure)
    celsius = controller.part(Health).kelvin(0) - _ZERO_KELVIN
    slot = SLOT.build(status=_OK, ident=kept.ident, fault_requested=kept.fault)
    sensor = SENSOR.build(status=_OK, temperature=min(max(celsius - _LEAST, 1), 255))
    overall = bytes([_OK, 0, 0, 0])
    return _page(0x02, overall + slot + overall + sensor)


def _names(controller: Controller) -> bytes:
    names = (bytes(2) + len(name).to_bytes(2, "big") + name for name in _all_names())
    return _page(0x07, b"".join(names))


def _all_names() -> Iterator[bytes]:
    for each in _TYPES:
        yield each.name
        yield each.element


def _supported(controller: Controller) -> bytes:
    codes = bytes(_PAGES)
    return PAGE.build(page_code=0x0D, page_length=len(codes))[:_BEFORE_GENERATION] + codes


_PAGES: dict[int, Callable[[Controller], bytes]] = {
    0x01: _configuration,
    0x02: _status,
    0x07: _names,
    0x0D: _supported,
}


def _control(controller: Controller, page: bytes) -> int:
    """Take an Enclosure Control page; return what the response says."""
    size = PAGE.size + 2 * len(_TYPES) * SLOT.size
    if len(page) < size:
        return _INVALID_PARAMETER
    head = PAGE.parse(page)
    if (head.page_code, head.page_length, head.generation) != (0x02, size - 4, 0):
        return _INVALID_PARAMETER
    for at in (PAGE.size, PAGE.size + SLOT.size):  # all slots, and then the only one
        slot, kept = SLOT.parse(page[at:]), controller.part(Enclosure)
        if slot.select:
            kept.ident, kept.fault = slot.ident, slot.fault_requested
    return 0


def _message(controller: Controller, command: Values) -> Values:
    if not controller.settings[SES.keyword]:
        raise CommandFailed(StatusCode.INVALID_OPCODE, 0)
    words = (command.cdw10, command.cdw11, command.cdw12, command.cdw13)
    head = HEADER.parse(b"".join(word.to_bytes(4, "little") for word in words))
    if (head.mt, head.ic, head.nmimt, head.ror) != (_MESSAGE, 0, _COMMAND, 0):
        raise invalid_field(40)
    if head.length > _MOST:
        raise invalid_field(52)
    return head


def _receive(controller: Controller, command: Values) -> int:
    head = _message(controller, command)
    if head.opc != _SES_RECEIVE:
        return _INVALID_OPCODE
    build = _PAGES.get(head.page_code)
    if build is None:
        return _INVALID_PARAMETER
    data = build(controller)[: head.length]
    if data:
        controller.to_host(command, data)
    return 0


def _send(controller: Controller, command: Values) -> int:
    head = _message(controller, command)
    if head.opc != _SES_SEND:
        return _INVALID_OPCODE
    if not head.length:
        return _INVALID_SIZE
    return _control(controller, controller.from_host(command, head.length))


def _controller(controller: Controller) -> Fields:
    if not controller.settings[SES.keyword]:
        return {}
    return {"oacs": _OACS_MANAGEMENT, "nvmsr": _NVMSR_DEVICE | _NVMSR_ENCLOSURE}


CAPABILITY = Capability(
    "enclosure",
    commands=(
        AdminCommand(AdminOpcode.NVME_MI_RECEIVE, _receive),
        AdminCommand(AdminOpcode.NVME_MI_SEND, _send),
    ),
    controller=_controller,
    options=(SES,),
    settings={SES.keyword: False},
    start=Enclosure,
)
