"""INQUIRY: standard data, and the way to the vital product data pages."""

from __future__ import annotations

from scsi2nvme.command import OBSOLETE_LUN, Command, Data, Task, Transfer, always
from scsi2nvme.commands import vpd_pages
from scsi2nvme.commands.enclosure import serves_enclosure
from scsi2nvme.commands.vpd_pages.page import (
    NO_LOGICAL_UNIT,
    VENDOR,
    firmware_revision,
    peripheral,
    printable,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation

STANDARD_DATA = Structure(
    "Standard INQUIRY data",
    96,
    (
        Field("peripheral", 0, 0, 8, "PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE"),
        Field("rmb", 1, 7, 1, "removable medium"),
        Field("lu_cong", 1, 6, 1),
        Field("version", 2, doc="06h: SPC-4"),
        Field("normaca", 3, 5, 1),
        Field("hisup", 3, 4, 1, "LUNs are assigned by the hierarchical model"),
        Field("response_data_format", 3, 0, 4),
        Field("additional_length", 4),
        Field("sccs", 5, 7, 1),
        Field("tpgs", 5, 4, 2, "01b: implicit asymmetric logical unit access"),
        Field("third_party_copy", 5, 3, 1),
        Field("protect", 5, 0, 1),
        Field("encserv", 6, 6, 1),
        Field("multip", 6, 4, 1, "several target ports"),
        Field("cmdque", 7, 1, 1),
        Field("vendor", 8, 0, 64),
        Field("product", 16, 0, 128),
        Field("revision", 32, 0, 32),
        *(Field(f"version_descriptor_{n}", 56 + 2 * n, 0, 16) for n in range(1, 9)),
    ),
    spec="SPC-4 6.6.2",
)

# Spec: SPC-4 6.6.2 (version descriptor values); 1F60h is SCSI / NVMe Translation.
SAM_5, SPC_4, SBC_3, ZBC, SNT = 0x00A0, 0x0460, 0x04C0, 0x0620, 0x1F60


# Where there is no logical unit to name: ASCII fields are filled with spaces. Spec: SPC-4 4.4.1.
NAMELESS = {"vendor": b" " * 8, "product": b" " * 16, "revision": b" " * 4}


def _version_descriptors(task: Task) -> dict[str, int]:
    """Return what is conformed to: architecture, transport, commands. Spec: SPC-4 6.6.2."""
    zbc = 0 if task.lu.zones is None else ZBC
    standards = (SAM_5, task.nexus.delivery.version_descriptor, SPC_4, SBC_3, zbc, SNT)
    known = filter(None, standards)
    return {f"version_descriptor_{n}": value for n, value in enumerate(known, start=1)}


def _standard_data(task: Task) -> bytes:
    """Spec: SPC-4 6.6.2; SNTR 1.5 6.1.1."""
    controller = task.lu.facts.controller
    return STANDARD_DATA.build(
        peripheral=peripheral(task.lu),
        rmb=task.lu.removable,
        version=0x06,
        hisup=1,
        response_data_format=2,
        additional_length=STANDARD_DATA.size - 5,
        tpgs=0b11 if task.lu.routes.several else 0b01,  # explicit as well
        third_party_copy=1,
        protect=bool(task.protection_types),
        encserv=serves_enclosure(task.lu),
        multip=len(task.lu.target_ports_of(task.nexus)) > 1,
        cmdque=1,
        vendor=VENDOR,
        product=printable(controller.bytes("mn")[:16]),
        revision=firmware_revision(controller.bytes("fr")),
        **_version_descriptors(task),
    )


def inquiry(task: Task) -> Translation:
    """Spec: SPC-4 6.6."""
    yield from ()
    if task.cdb.evpd:
        page = vpd_pages.find(task.lu, task.cdb.page_code)
        if page is None:
            raise task.invalid_field("page_code")
        return Result(data_in=vpd_pages.build(page, task))
    if task.cdb.page_code:
        raise task.invalid_field("page_code")
    return Result(data_in=_standard_data(task))


def inquiry_without_unit(task: Task) -> Translation:
    """Answer for a LUN that has no logical unit. Spec: SPC-4 6.6.2, SAM-5 4.7.4."""
    yield from ()
    if task.cdb.page_code:
        raise task.invalid_field("page_code")
    if task.cdb.evpd:
        return Result(data_in=vpd_pages.supported_pages(NO_LOGICAL_UNIT, [0x00]))
    return Result(
        data_in=STANDARD_DATA.build(
            peripheral=NO_LOGICAL_UNIT,
            version=0x06,
            response_data_format=2,
            additional_length=STANDARD_DATA.size - 5,
            **NAMELESS,
        )
    )


COMMANDS = (
    Command(
        "INQUIRY",
        0x12,
        6,
        "SPC-4 6.6",
        inquiry,
        (
            OBSOLETE_LUN,
            Field("evpd", 1, 0, 1, "vital product data wanted"),
            Field("page_code", 2),
            Field("allocation_length", 3, 0, 16),
        ),
        asks_for_state=True,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        legacy_reserve_allows=True,
        reports_unit_attention=False,
        needs_ready=False,
        while_sanitizing=True,
        while_reservations_lost=always,
        answered_when_failed=True,
        without_unit=inquiry_without_unit,
        kept=True,
        nvme=("Identify",),
    ),
)
