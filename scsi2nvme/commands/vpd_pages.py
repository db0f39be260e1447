"""The table of vital product data pages.

A page is a row: its code, its name, which logical units have it and how its
bytes after the header come about. Spec: SPC-4 7.8, SBC-3 6.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from scsi2nvme.commands.row import Task
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.ports import TARGET_PORT_GROUP, PortName

DIRECT_ACCESS = 0x00  # qualifier 000b, type 00h
NO_LOGICAL_UNIT = 0x7F  # qualifier 011b, type 1Fh
VENDOR = b"NVMe    "  # T10 VENDOR IDENTIFICATION. Spec: SNTR 1.5 6.1.1.
ISCSI = 0x5  # PROTOCOL IDENTIFIER. Spec: SPC-4 7.6.1.

HEADER = Structure(
    "VPD page header",
    4,
    (
        Field("peripheral", 0, 0, 8, "PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE"),
        Field("page_code", 1),
        Field("page_length", 2, 0, 16),
    ),
    spec="SPC-4 7.8.1",
)


@dataclass(frozen=True)
class VpdPage:
    """One row: `build` returns what follows the header."""

    code: int
    name: str
    spec: str
    build: Callable[[Task], bytes]
    supported: Callable[[LogicalUnit], bool] = lambda lu: True


def find(lu: LogicalUnit, code: int) -> VpdPage | None:
    """Return the page of that code, None if the logical unit has none."""
    return next((page for page in PAGES if page.code == code and page.supported(lu)), None)


def _with_header(peripheral: int, code: int, body: bytes) -> bytes:
    return HEADER.build(peripheral=peripheral, page_code=code, page_length=len(body)) + body


def build(page: VpdPage, task: Task) -> bytes:
    """Return a page whole."""
    return _with_header(DIRECT_ACCESS, page.code, page.build(task))


def supported_pages(peripheral: int, codes: Sequence[int]) -> bytes:
    """Return page 00h, listing `codes`. Spec: SPC-4 7.8.16."""
    return _with_header(peripheral, 0x00, bytes(codes))


def printable(text: bytes) -> bytes:
    """Return an ASCII field with what is not graphic turned into spaces."""
    return bytes(byte if 0x20 <= byte <= 0x7E else 0x20 for byte in text)


# 80h


def unit_serial_number(task: Task) -> bytes:
    """Return the identifier in its printed form. Spec: SPC-4 7.8.18, SNTR 1.5 6.1.3."""
    facts = task.lu.facts
    unique = (facts.nguid or facts.eui64).hex().upper()
    if unique:
        groups = (unique[start : start + 4] for start in range(0, len(unique), 4))
        return ("_".join(groups) + ".").encode()
    return printable(facts.controller.bytes("sn")) + f"_{facts.nsid:08X}.".encode()


# 83h and 88h


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
NAA_IEEE_REGISTERED_EXTENDED = Structure(
    "NAA IEEE Registered Extended designator",
    16,
    (
        Field("naa", 0, 4, 4, "6h"),
        Field("ieee_company_id", 0, 4, 24),
        Field("vendor_specific", 3, 0, 100, "identifier of 36 bits and its extension of 64"),
    ),
    spec="SPC-4 7.8.6",
)
UUID_DESIGNATOR = Structure(
    "UUID designator",
    18,
    (Field("uuid_type", 0, 4, 4, "1h: as in RFC 4122"), Field("uuid", 2, 0, 128)),
    spec="SPC-5 7.7.6",
)
SCSI_PORT = Structure(
    "SCSI port designation descriptor header",
    12,
    (
        Field("relative_port", 2, 0, 16),
        Field("initiator_transport_id_length", 6, 0, 16),
        Field("target_descriptors_length", 10, 0, 16),
    ),
    spec="SPC-4 7.8.14",
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


def _logical_unit_designators(lu: LogicalUnit) -> bytes:
    """Spec: SNTR 1.5 6.1.4. What is globally unique comes first."""
    facts, unit = lu.facts, Association.LOGICAL_UNIT
    identifiers = [value for value in (facts.nguid, facts.eui64) if value]
    answer = b"".join(
        designator(Designator.EUI_64, CodeSet.BINARY, unit, value) for value in identifiers
    )
    company = facts.controller.ieee
    if facts.eui64 and company:
        naa = NAA_IEEE_REGISTERED_EXTENDED.build(
            naa=6,
            ieee_company_id=company,
            vendor_specific=int.from_bytes(facts.eui64, "big") << 36,
        )
        answer += designator(Designator.NAA, CodeSet.BINARY, unit, naa)
    if facts.uuid:
        uuid = UUID_DESIGNATOR.build(uuid_type=1, uuid=facts.uuid)
        answer += designator(Designator.UUID, CodeSet.BINARY, unit, uuid)
    vendor_id = VENDOR + printable(facts.controller.bytes("mn")[:16]) + _vendor_specific(lu)
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


def _port_designators(port: PortName) -> bytes:
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
            (Designator.TARGET_PORT_GROUP, TARGET_PORT_GROUP),
        )
    )
    return numbers + (name_string(association, port.name) if named else b"")


def device_identification(task: Task) -> bytes:
    """Spec: SPC-4 7.8.6; SNTR 1.5 6.1.4; RFC 7143 4.2.4 (names of port and device)."""
    port = task.nexus.target
    device = name_string(Association.TARGET_DEVICE, port.device) if port.device else b""
    return _logical_unit_designators(task.lu) + _port_designators(port) + device


def scsi_ports(task: Task) -> bytes:
    """Return every target port of the logical unit. Spec: SPC-4 7.8.14."""
    ports = task.lu.target_ports_of(task.nexus)
    return b"".join(
        _scsi_port(port) for port in sorted(ports, key=lambda port: port.relative_identifier)
    )


def _scsi_port(port: PortName) -> bytes:
    descriptors = _port_designators(port)
    header = SCSI_PORT.build(
        relative_port=port.relative_identifier, target_descriptors_length=len(descriptors)
    )
    return header + descriptors


# 86h and 87h. Offsets count from the page's first byte, as the standards' tables do.

EXTENDED_INQUIRY = Structure(
    "Extended INQUIRY Data VPD page",
    64,
    (
        Field("activate_microcode", 4, 6, 2, "10b: after a hard reset"),
        Field("spt", 4, 3, 3),
        Field("grd_chk", 4, 2, 1),
        Field("app_chk", 4, 1, 1),
        Field("ref_chk", 4, 0, 1),
        Field("uask_sup", 5, 5, 1),
        Field("group_sup", 5, 4, 1),
        Field("prior_sup", 5, 3, 1),
        Field("headsup", 5, 2, 1),
        Field("ordsup", 5, 1, 1),
        Field("simpsup", 5, 0, 1),
        Field("wu_sup", 6, 3, 1),
        Field("crd_sup", 6, 2, 1),
        Field("nv_sup", 6, 1, 1),
        Field("v_sup", 6, 0, 1, "volatile cache"),
        Field("p_i_i_sup", 7, 4, 1),
        Field("luiclr", 7, 0, 1),
        Field("r_sup", 8, 4, 1),
        Field("cbcs", 8, 0, 1),
        Field("multi_nexus_microcode_download", 9, 0, 4),
        Field("self_test_minutes", 10, 0, 16, "extended self-test completion"),
        Field("poa_sup", 12, 7, 1),
        Field("hra_sup", 12, 6, 1),
        Field("vsa_sup", 12, 5, 1),
        Field("maximum_sense_length", 13),
    ),
    spec="SPC-4 7.8.7",
)
MODE_PAGE_POLICY = Structure(
    "Mode page policy descriptor",
    4,
    (
        Field("page_code", 0, 0, 6),
        Field("subpage_code", 1),
        Field("mlus", 2, 7, 1, "shared by several logical units"),
        Field("policy", 2, 0, 2, "00b: shared by all I_T nexuses"),
    ),
    spec="SPC-4 7.8.9",
)


def extended_inquiry(task: Task) -> bytes:
    """Spec: SPC-4 7.8.7, SNTR 1.5 6.1.5. Protection information is not transferred."""
    controller = task.lu.facts.controller
    self_test = task.lu.facts.controller_bit("oacs", 4)
    return EXTENDED_INQUIRY.build(
        activate_microcode=0b10,
        simpsup=1,
        v_sup=task.lu.volatile_write_cache,
        luiclr=1,
        self_test_minutes=controller.edstt if self_test else 0,
    )[HEADER.size :]


def mode_page_policy(task: Task) -> bytes:
    """Return that the write cache is the controller's, the rest the logical unit's own."""
    return MODE_PAGE_POLICY.build(page_code=0x08, mlus=1) + MODE_PAGE_POLICY.build(
        page_code=0x3F, subpage_code=0xFF
    )


# B0h to B2h

BLOCK_LIMITS = Structure(
    "Block Limits VPD page",
    64,
    (
        Field("wsnz", 4, 0, 1, "WRITE SAME of zero blocks is refused"),
        Field("maximum_compare_and_write", 5, doc="logical blocks"),
        Field("optimal_granularity", 6, 0, 16, "logical blocks"),
        Field("maximum_transfer", 8, 0, 32, "logical blocks"),
        Field("optimal_transfer", 12, 0, 32, "logical blocks"),
        Field("maximum_prefetch", 16, 0, 32, "logical blocks"),
        Field("maximum_unmap_blocks", 20, 0, 32),
        Field("maximum_unmap_descriptors", 24, 0, 32),
        Field("optimal_unmap_granularity", 28, 0, 32, "logical blocks"),
        Field("ugavalid", 32, 7, 1),
        Field("unmap_granularity_alignment", 32, 0, 31, "logical blocks"),
        Field("maximum_write_same", 36, 0, 64, "logical blocks"),
        Field("maximum_atomic_transfer", 44, 0, 32, "logical blocks"),
        Field("atomic_alignment", 48, 0, 32, "logical blocks"),
        Field("atomic_granularity", 52, 0, 32, "logical blocks"),
        Field("maximum_atomic_with_boundary", 56, 0, 32, "logical blocks"),
        Field("maximum_atomic_boundary", 60, 0, 32, "logical blocks"),
    ),
    spec="SBC-3 6.5.3, SBC-4 6.6.4",
)
BLOCK_DEVICE_CHARACTERISTICS = Structure(
    "Block Device Characteristics VPD page",
    64,
    (
        Field("medium_rotation_rate", 4, 0, 16, "0001h: non-rotating"),
        Field("product_type", 6),
        Field("wabereq", 7, 6, 2),
        Field("wacereq", 7, 4, 2),
        Field("nominal_form_factor", 7, 0, 4),
        Field("fuab", 8, 1, 1),
        Field("vbuls", 8, 0, 1, "VERIFY with BYTCHK takes unmapped blocks for zeroes"),
    ),
    spec="SBC-3 6.5.2",
)
LOGICAL_BLOCK_PROVISIONING = Structure(
    "Logical Block Provisioning VPD page",
    8,
    (
        Field("threshold_exponent", 4),
        Field("lbpu", 5, 7, 1, "UNMAP"),
        Field("lbpws", 5, 6, 1, "WRITE SAME (16) with UNMAP"),
        Field("lbpws10", 5, 5, 1, "WRITE SAME (10) with UNMAP"),
        Field("lbprz", 5, 2, 3, "001b: unmapped blocks read as zeroes"),
        Field("anc_sup", 5, 1, 1),
        Field("dp", 5, 0, 1),
        Field("provisioning_type", 6, 0, 3),
    ),
    spec="SBC-3 6.5.4",
)


class ProvisioningType(IntEnum):
    """Spec: SBC-3 6.5.4."""

    FULL = 0
    RESOURCE = 1
    THIN = 2


def block_limits(task: Task) -> bytes:
    """Spec: SBC-3 6.5.3; NVM Command Set 1.0 4.1.5.1 (NSFEAT OPTPERF: NPWG, NPDG, NPDA, NOWS)."""
    lu, namespace = task.lu, task.lu.facts.namespace
    optimal: dict[str, int] = {}
    if namespace.nsfeat & 0x10:
        optimal["optimal_granularity"] = min(namespace.npwg + 1, 0xFFFF)
        # Initiators cut requests to it: a size that says no more than the granularity stays out.
        if namespace.nows > namespace.npwg:
            optimal["optimal_transfer"] = min(namespace.nows + 1, lu.maximum_transfer_blocks)
        if lu.provisioned:
            # The alignment is an offset, and NPDA a multiple: it becomes part of the granularity.
            granularity = math.lcm(namespace.npdg + 1, namespace.npda + 1)
            optimal |= {"optimal_unmap_granularity": granularity, "ugavalid": 1}
    return BLOCK_LIMITS.build(
        wsnz=lu.write_same_non_zero,
        maximum_compare_and_write=lu.maximum_compare_and_write_blocks,
        maximum_transfer=lu.maximum_transfer_blocks,
        maximum_unmap_blocks=lu.maximum_unmap_blocks,
        maximum_unmap_descriptors=lu.maximum_unmap_descriptors,
        maximum_write_same=lu.maximum_write_same_blocks,
        **optimal,
    )[HEADER.size :]


def block_device_characteristics(task: Task) -> bytes:
    """Spec: SBC-3 6.5.2, SNTR 1.5 6.1.7."""
    return BLOCK_DEVICE_CHARACTERISTICS.build(medium_rotation_rate=1, vbuls=1)[HEADER.size :]


def logical_block_provisioning(task: Task) -> bytes:
    """Spec: SBC-3 6.5.4; NSFEAT THINP tells thin from resource provisioning."""
    lu = task.lu
    kind = ProvisioningType.FULL
    if lu.provisioned:
        thin = lu.facts.namespace.nsfeat & 1
        kind = ProvisioningType.THIN if thin else ProvisioningType.RESOURCE
    return LOGICAL_BLOCK_PROVISIONING.build(
        lbpu=lu.provisioned,
        lbpws=lu.provisioned,
        lbpws10=lu.provisioned,
        lbprz=lu.reads_zero_after_unmap,
        provisioning_type=kind,
    )[HEADER.size :]


def _codes(task: Task) -> bytes:
    return bytes(page.code for page in PAGES if page.supported(task.lu))


PAGES = (
    VpdPage(0x00, "Supported VPD Pages", "SPC-4 7.8.16", _codes),
    VpdPage(0x80, "Unit Serial Number", "SPC-4 7.8.18", unit_serial_number),
    VpdPage(0x83, "Device Identification", "SPC-4 7.8.6", device_identification),
    VpdPage(0x86, "Extended INQUIRY Data", "SPC-4 7.8.7", extended_inquiry),
    VpdPage(0x87, "Mode Page Policy", "SPC-4 7.8.9", mode_page_policy),
    VpdPage(0x88, "SCSI Ports", "SPC-4 7.8.14", scsi_ports),
    VpdPage(0xB0, "Block Limits", "SBC-3 6.5.3", block_limits),
    VpdPage(0xB1, "Block Device Characteristics", "SBC-3 6.5.2", block_device_characteristics),
    VpdPage(0xB2, "Logical Block Provisioning", "SBC-3 6.5.4", logical_block_provisioning),
)
