"""Designation descriptors: what names a logical unit, a port, a device. Spec: SPC-4 7.8.6."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.commands.vpd_pages.page import VENDOR, printable
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit import naa
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.ports import PortName

ISCSI = 0x5  # PROTOCOL IDENTIFIER. Spec: SPC-4 7.6.1.


class CodeSet(IntEnum):
    """Spec: SPC-4 7.8.6."""

    BINARY = 1
    ASCII = 2
    UTF_8 = 3


class Association(IntEnum):
    """What a designator names. Spec: SPC-4 7.8.6."""

    LOGICAL_UNIT = 0
    TARGET_PORT = 1
    TARGET_DEVICE = 2


class Designator(IntEnum):
    """Designator types. Spec: SPC-4 7.8.6, SPC-5 for UUID."""

    T10_VENDOR_ID = 0x1
    EUI_64 = 0x2
    NAA = 0x3
    RELATIVE_TARGET_PORT = 0x4
    TARGET_PORT_GROUP = 0x5
    SCSI_NAME_STRING = 0x8
    UUID = 0xA


DESIGNATOR_HEADER = Structure(
    "Designation descriptor header",
    4,
    (
        Field("protocol", 0, 4, 4),
        Field("code_set", 0, 0, 4),
        Field("piv", 1, 7, 1, "protocol identifier valid"),
        Field("association", 1, 4, 2),
        Field("designator_type", 1, 0, 4),
        Field("length", 3),
    ),
    spec="SPC-4 7.8.6",
)

PORT_NUMBER = Structure(
    "Relative target port or target port group designator",
    4,
    (Field("value", 2, 0, 16),),
    spec="SPC-4 7.8.6",
)

UUID_DESIGNATOR = Structure(
    "UUID designator",
    18,
    (Field("uuid_type", 0, 4, 4, "1h: as in RFC 4122"), Field("uuid", 2, 0, 128)),
    spec="SPC-5 7.7.6",
)


def designator(
    kind: Designator,
    code_set: CodeSet,
    association: Association,
    value: bytes,
    *,
    protocol_known: bool = True,
) -> bytes:
    """Return a designation descriptor; that of a port or device names its protocol."""
    of_transport = association is not Association.LOGICAL_UNIT and protocol_known
    header = DESIGNATOR_HEADER.build(
        protocol=ISCSI if of_transport else 0,
        code_set=code_set,
        piv=of_transport,
        association=association,
        designator_type=kind,
        length=len(value),
    )
    return header + value


def name_string(association: Association, name: str) -> bytes:
    """Return a SCSI name string designator: NUL terminated, padded to fours.

    Spec: SPC-4 7.8.6.
    """
    text = name.encode() + b"\0"
    value = text + bytes(-len(text) % 4)
    return designator(Designator.SCSI_NAME_STRING, CodeSet.UTF_8, association, value)


def logical_unit_designators(lu: LogicalUnit) -> bytes:
    """Return what names a logical unit, the globally unique first. Spec: SNTR 1.5 6.1.4.

    Where no NAA designator can be made of an EUI-64, one is made of the T10 vendor ID one.
    """
    facts, unit = lu.facts, Association.LOGICAL_UNIT
    identifiers = [value for value in (facts.nguid, facts.eui64) if value]
    answer = b"".join(
        designator(Designator.EUI_64, CodeSet.BINARY, unit, value) for value in identifiers
    )
    vendor_id = VENDOR + printable(facts.controller.bytes("mn")[:16]) + _vendor_specific(lu)
    value = naa.registered(facts) or naa.locally_assigned(vendor_id)
    answer += designator(Designator.NAA, CodeSet.BINARY, unit, value)
    if facts.uuid:
        uuid = UUID_DESIGNATOR.build(uuid_type=1, uuid=facts.uuid)
        answer += designator(Designator.UUID, CodeSet.BINARY, unit, uuid)
    answer += designator(Designator.T10_VENDOR_ID, CodeSet.ASCII, unit, vendor_id)
    if identifiers:
        answer += name_string(unit, f"eui.{identifiers[0].hex().upper()}")
    return answer


def _vendor_specific(lu: LogicalUnit) -> bytes:
    """Return what makes the T10 vendor ID designator unique. Spec: SNTR 1.5 6.1.4.3."""
    facts = lu.facts
    unique = facts.nguid or facts.eui64 or facts.uuid
    if unique:
        return unique.hex().upper().encode()
    serial = printable(facts.controller.bytes("sn"))
    return f"{facts.controller.vid:04X}".encode() + serial + f"{facts.nsid:08X}".encode()


def port_designators(port: PortName) -> bytes:
    """Return what names a port. Of the kernel's ports, name and protocol are unknown."""
    named, association = bool(port.device), Association.TARGET_PORT
    numbers = b"".join(
        designator(
            kind,
            CodeSet.BINARY,
            association,
            PORT_NUMBER.build(value=value),
            protocol_known=named,
        )
        for kind, value in (
            (Designator.RELATIVE_TARGET_PORT, port.relative_identifier),
            (Designator.TARGET_PORT_GROUP, port.target_port_group),
        )
    )
    return numbers + (name_string(association, port.name) if named else b"")
