"""GET PHYSICAL ELEMENT STATUS: how worn the parts of a disk are. NVMe knows of one: the whole."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.log_pages.page import SMART, get_log
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.unit.reservations import Access

HEADER = Structure(
    "GET PHYSICAL ELEMENT STATUS parameter data",
    32,
    (
        Field("number_of_descriptors", 0, 0, 32),
        Field("number_of_descriptors_returned", 4, 0, 32),
        Field("identifier_of_element_being_depopulated", 8, 0, 32, "0: none"),
    ),
    spec="SBC-4 5.8.2",
)
DESCRIPTOR = Structure(
    "Physical element status descriptor",
    32,
    (
        Field("element_identifier", 4, 0, 32),
        Field("ralwd", 13, 0, 1, "it may be restored after it was depopulated"),
        Field("physical_element_type", 14, doc="1h: a storage element"),
        Field("physical_element_health", 15, doc="01h to 63h well, 64h at its limit, beyond: worn"),
        Field("associated_capacity", 16, 0, 64, "all ones: not specified"),
    ),
    spec="SBC-4 5.8.2.2",
)
_ELEMENT, _STORAGE = 1, 1
_AT_LIMIT, _WORST = 0x64, 0xCF


class Filter(IntEnum):
    """Which elements are told of. Spec: SBC-4 5.8.1."""

    ALL = 0b00
    OUTSIDE_LIMITS = 0b01


class ReportType(IntEnum):
    """REPORT TYPE. Spec: SBC-4 5.8.1."""

    PHYSICAL = 0x0
    STORAGE = 0x1


def get_physical_element_status(task: Task) -> Translation:
    """Spec: SBC-4 5.8, table 62; NVMe Base 2.0c figure 208 (Percentage Used: 100 is the limit)."""
    cdb = task.cdb
    for name, known in (("filter", Filter), ("report_type", ReportType)):
        if cdb[name] not in tuple(known):
            raise task.invalid_field(name)
    used = SMART_LOG.parse((yield get_log(SMART)).data).percent_used
    health = min(max(used, 1), _WORST)
    told = health > _AT_LIMIT or cdb["filter"] == Filter.ALL
    element = b""
    if told and cdb["starting_element"] <= _ELEMENT:
        element = DESCRIPTOR.build(
            element_identifier=_ELEMENT,
            physical_element_type=_STORAGE,
            physical_element_health=health,
            associated_capacity=DESCRIPTOR.by_name["associated_capacity"].maximum,
        )
    count = len(element) // DESCRIPTOR.size
    header = HEADER.build(number_of_descriptors=count, number_of_descriptors_returned=count)
    return Result(data_in=header + element)


COMMANDS = (
    Command(
        "GET PHYSICAL ELEMENT STATUS",
        0x9E,
        16,
        "SBC-4 5.8",
        get_physical_element_status,
        (
            Field("starting_element", 6, 0, 32),
            Field("allocation_length", 10, 0, 32),
            Field("filter", 14, 6, 2, "01b: only what is worn"),
            Field("report_type", 14, 0, 4, "0h physical elements, 1h storage elements"),
        ),
        service_action=0x17,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        shared=True,
        nvme=("Get Log Page",),
        doc="One storage element, the disk as a whole: its health is the percentage that is used.",
    ),
)
