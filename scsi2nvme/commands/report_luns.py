"""REPORT LUNS: the logical units that a nexus may see. Spec: SPC-4 6.33."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import OBSOLETE_LUN, Command, Data, Task, Transfer, always
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.lun import lun_address
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.scsi.sense import REPORTED_LUNS_DATA_HAS_CHANGED

HEADER = Structure("REPORT LUNS data header", 8, (Field("list_length", 0, 0, 32),))


class SelectReport(IntEnum):
    """Spec: SPC-4 6.33 table 297. There are no well known and no administrative units."""

    ALL_BUT_WELL_KNOWN = 0x00
    WELL_KNOWN = 0x01
    ALL = 0x02
    ADMINISTRATIVE = 0x10
    ADMINISTRATIVE_AND_SIMPLE = 0x11
    SUBSIDIARY = 0x12


_ORDINARY = (
    SelectReport.ALL_BUT_WELL_KNOWN,
    SelectReport.ALL,
    SelectReport.ADMINISTRATIVE_AND_SIMPLE,
)


def report_luns(task: Task) -> Translation:
    """Spec: SPC-4 6.33; the unit attention that it answers, SAM-5 5.14."""
    yield from ()
    nexus = task.nexus
    try:
        selected = SelectReport(task.cdb.select_report)
    except ValueError:
        raise task.invalid_field("select_report") from None
    luns = sorted(nexus.luns) if selected in _ORDINARY else []
    for lu in set(nexus.luns.values()):
        lu.clear_attention(nexus, REPORTED_LUNS_DATA_HAS_CHANGED)
    addresses = b"".join(lun_address(lun) for lun in luns)
    return Result(data_in=HEADER.build(list_length=len(addresses)) + addresses)


COMMANDS = (
    Command(
        "REPORT LUNS",
        0xA0,
        12,
        "SPC-4 6.33",
        report_luns,
        (OBSOLETE_LUN, Field("select_report", 2), Field("allocation_length", 6, 0, 32)),
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
        without_unit=report_luns,
        kept=True,
        doc="Answered at any LUN, so that an initiator without LUN 0 finds the others.",
    ),
)
