"""TransportIDs of iSCSI initiator ports. Spec: SPC-4 7.6.4.6."""

from __future__ import annotations

import re

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.ports import ISCSI_NAME_BYTES, PortName

ISCSI = 0x5  # PROTOCOL IDENTIFIER
DEVICE_FORMAT, PORT_FORMAT = 0, 1
MINIMUM_ADDITIONAL_LENGTH = 20
SEPARATOR = ",i,0x"

HEADER = Structure(
    "iSCSI TransportID",
    4,
    (
        Field("format", 0, 6, 2, "00b: initiator device, 01b: initiator port"),
        Field("protocol_identifier", 0, 0, 4),
        Field("additional_length", 2, 0, 16),
    ),
    spec="SPC-4 7.6.4.6",
)


def encode(port: PortName) -> bytes:
    """Return the TransportID of an initiator port, or of a device if it has no ISID."""
    name = (port.name if port.isid else port.device).encode() + b"\0"
    name = name.ljust(max(MINIMUM_ADDITIONAL_LENGTH, -(-len(name) // 4) * 4), b"\0")
    return (
        HEADER.build(
            format=PORT_FORMAT if port.isid else DEVICE_FORMAT,
            protocol_identifier=ISCSI,
            additional_length=len(name),
        )
        + name
    )


def decode(data: bytes) -> tuple[PortName, int]:
    """Return the initiator port (without ISID: the device) and how long its TransportID is.

    Raises ValueError if `data` does not begin with a whole iSCSI TransportID.
    """
    header = HEADER.parse(data)
    size = HEADER.size + header.additional_length
    if header.protocol_identifier != ISCSI or header.format not in (DEVICE_FORMAT, PORT_FORMAT):
        raise ValueError(f"no iSCSI TransportID: {header}")
    if header.additional_length < MINIMUM_ADDITIONAL_LENGTH or header.additional_length % 4:
        raise ValueError(f"odd ADDITIONAL LENGTH: {header}")
    text, terminator, padding = data[HEADER.size : size].partition(b"\0")
    if len(data) < size or not terminator or any(padding):
        raise ValueError("the name is not NUL terminated and padded")
    name = text.decode()
    if header.format == DEVICE_FORMAT:
        return PortName(_device(name)), size
    device, separator, isid = name.partition(SEPARATOR)
    if not separator or not re.fullmatch("[0-9A-Fa-f]{12}", isid):
        raise ValueError(f"no initiator port name: {name!r}")
    return PortName(_device(device), isid=bytes.fromhex(isid)), size


def _device(name: str) -> str:
    odd = not name.isprintable() or " " in name or "," in name
    if not name or odd or len(name.encode()) > ISCSI_NAME_BYTES:
        raise ValueError(f"no iSCSI name: {name!r}")
    return name


def decode_list(data: bytes) -> list[PortName]:
    """Return the initiator ports of concatenated TransportIDs; ValueError as `decode`."""
    ports = []
    while data:
        port, size = decode(data)
        ports.append(port)
        data = data[size:]
    return ports
