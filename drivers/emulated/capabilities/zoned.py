"""The Zoned Namespace Command Set, where it is asked for: every namespace has zones then.

Spec: ZNS Command Set 1.1b; NVMe Base 2.0c 5.17.2.21, 5.27.1.21 (I/O Command Set Profile).
"""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.drivers.emulated.capability import (
    Capability,
    Controller,
    Feature,
    IdentifyData,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.lba_formats import BLOCK_BYTES
from scsi2nvme.drivers.emulated.model import LBCC, ZONES_CHANGED, Zoning, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_size
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.zoned import (
    CHANGED_ZONES,
    CHANGED_ZONES_LOG,
    IDENTIFY_ZONED_CONTROLLER,
    IDENTIFY_ZONED_NAMESPACE,
    LBA_FORMAT_EXTENSION,
    NO_LIMIT,
    ZONE_NOTICES,
    ZONED_COMMAND_SET,
)

_MOST_ZONES = 1 << 20
_SEVERAL_COMMAND_SETS = 1 << 6  # CAP.CSS
_NVM, _ZONED = 1 << 0, 1 << ZONED_COMMAND_SET  # I/O Command Set vector
_ZASL = 5  # 128 KiB
_EXCURSIONS = 1 << 1  # ZOC
_MOST_CHANGED = 511  # that are listed
_RETAIN = 1 << 15  # CDW10


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) < NO_LIMIT):
        raise ValueError("is not a number from 1 on")
    return int(text)


def _option(
    name: str, values: str, doc: str, parse: Callable[[str], object], rank: int, keyword: str
) -> Option:
    return Option(name, values, f"emulated only: {doc}", parse, rank, keyword, subject="zones")


ZONED = _option(
    "zoned",
    "BYTES",
    "divide each namespace into zones of that size, which are written from their start to their "
    "end (only of emulated:memory; default: no zones)",
    parse_size,
    84,
    "zone_bytes",
)
ZONE_CAPACITY = _option(
    "zone-capacity",
    "BYTES",
    "how much of a zone can be written (default: all)",
    parse_size,
    85,
    "zone_capacity_bytes",
)
MAX_OPEN = _option(
    "max-open",
    "N",
    "how many zones may be open (default: any number)",
    _number,
    86,
    "max_open_zones",
)
MAX_ACTIVE = _option(
    "max-active",
    "N",
    "how many zones may be open or closed (default: any number)",
    _number,
    87,
    "max_active_zones",
)


def _zoning(controller: Controller) -> Zoning:
    """Return what the options say; TransportError if that cannot be."""
    settings, image = controller.settings, controller.model.image
    size = settings[ZONED.keyword]
    zoning = Zoning(
        size,
        settings[ZONE_CAPACITY.keyword] or size,
        settings[MAX_OPEN.keyword],
        settings[MAX_ACTIVE.keyword],
        4096 << _ZASL,
    )
    if image.capacity is not None:
        raise TransportError(f"{image.name}: namespaces with zones do not come and go")
    if image.path is not None:
        raise TransportError(f"{image.name}: zones are only for emulated:memory")
    if size % max(BLOCK_BYTES) or zoning.capacity_bytes % max(BLOCK_BYTES):
        raise TransportError(f"{image.name}: zones of {size} bytes are no whole blocks of 4096")
    if image.namespace_bytes % size or image.namespace_bytes // size > _MOST_ZONES:
        raise TransportError(
            f"{image.name}: the size is not 1 to {_MOST_ZONES} zones of {size} bytes"
        )
    if zoning.capacity_bytes > size:
        raise TransportError(f"{image.name}: a zone's capacity is more than its size")
    return zoning


class ZoneChanges(Part):
    """The zones that the controller has changed by itself, of each namespace.

    Spec: ZNS Command Set 1.1b 2.1.1.4 (excursions), 4.1.4.2.
    """

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model
        self._changed: dict[int, set[int]] = {}
        self._asked = 0
        self._model.divide(_zoning(controller))

    def finish(self, nsid: int, lba: int) -> None:
        """Finish the active zone that begins with a block, and say so."""
        self._model.emulator.finish_zone(nsid, lba)
        self._changed.setdefault(nsid, set()).add(lba)
        self._model.notify(ZONES_CHANGED)

    def asked(self, command: Values) -> None:
        """The host reads the log of a namespace."""
        self._asked = self._model.namespace(command.nsid).nsid

    def answered(self, command: Values) -> None:
        """It has been read, and begins anew unless the host wants it to stay."""
        if not command.cdw10 & _RETAIN:
            self._changed.pop(command.nsid, None)

    def log(self) -> bytes:
        """Return the Changed Zone List."""
        zones = sorted(self._changed.get(self._asked, ()))
        number = len(zones) if len(zones) <= _MOST_CHANGED else 0xFFFF
        listed = b"".join(lba.to_bytes(8, "little") for lba in zones[:_MOST_CHANGED])
        return CHANGED_ZONES.build(nrzid=number, zids=int.from_bytes(listed, "little"))


def _changes(controller: Controller) -> bytes:
    return controller.part(ZoneChanges).log()


def _asked(controller: Controller, command: Values) -> None:
    controller.part(ZoneChanges).asked(command)


def _answered(controller: Controller, command: Values) -> None:
    controller.part(ZoneChanges).answered(command)


def _namespace(controller: Controller, command: Values) -> bytes:
    zoning = controller.model.zoning
    assert zoning is not None
    controller.model.namespace(command.nsid)
    extensions = (LBA_FORMAT_EXTENSION.build(zsze=zoning.bytes // size) for size in BLOCK_BYTES)
    return IDENTIFY_ZONED_NAMESPACE.build(
        zoc=_EXCURSIONS,
        mar=zoning.maximum_active - 1 if zoning.maximum_active else NO_LIMIT,
        mor=zoning.maximum_open - 1 if zoning.maximum_open else NO_LIMIT,
        lbafes=b"".join(extensions),
    )


def _controller(controller: Controller, command: Values) -> bytes:
    return IDENTIFY_ZONED_CONTROLLER.build(zasl=_ZASL)


def _active_list(controller: Controller, command: Values) -> bytes:
    return controller.tables.identify[0x02, 0].build(controller, command)


def _command_sets(controller: Controller, command: Values) -> bytes:
    """Spec: NVMe Base 2.0c 5.17.2.21 (CNS 1Ch)."""
    return (_NVM | _ZONED).to_bytes(8, "little")


def _profile(controller: Controller, value: int) -> int:
    if value & 0x1FF:  # there is one combination
        raise invalid_field(44)
    return 0


CAPABILITY = Capability(
    "Zoned Namespace Command Set",
    io_commands={
        Opcode.ZONE_MANAGEMENT_SEND: LBCC,
        Opcode.ZONE_MANAGEMENT_RECEIVE: 0,
        Opcode.ZONE_APPEND: LBCC,
    },
    log_pages=(LogPage(CHANGED_ZONES_LOG, _changes, asked=_asked, answered=_answered),),
    features=(Feature(0x19, check=_profile),),
    controller=lambda controller: {"oaes": ZONE_NOTICES},
    identify=(
        IdentifyData(0x05, _namespace, command_set=ZONED_COMMAND_SET),
        IdentifyData(0x06, _controller, command_set=ZONED_COMMAND_SET),
        IdentifyData(0x07, _active_list, command_set=ZONED_COMMAND_SET),
        IdentifyData(0x1C, _command_sets),
    ),
    cap={"css": _SEVERAL_COMMAND_SETS},
    options=(ZONED, ZONE_CAPACITY, MAX_OPEN, MAX_ACTIVE),
    settings={
        ZONED.keyword: None,
        ZONE_CAPACITY.keyword: None,
        MAX_OPEN.keyword: 0,
        MAX_ACTIVE.keyword: 0,
    },
    start=ZoneChanges,
    offered=lambda settings: settings[ZONED.keyword] is not None,
)
