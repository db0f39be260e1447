"""VPD page 86h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands import firmware
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.task_attribute import TaskAttribute

EXTENDED_INQUIRY = Structure(
    "Extended INQUIRY Data VPD page",
    64,
    (
        Field("activate_microcode", 4, 6, 2, "01b: by the command that ends a download"),
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


# By the types of protection information that are supported.
_SPT = {
    (): 0b000,
    (1,): 0b000,
    (1, 2): 0b001,
    (2,): 0b010,
    (1, 3): 0b011,
    (3,): 0b100,
    (2, 3): 0b101,
    (1, 2, 3): 0b111,
}


def extended_inquiry(task: Task) -> bytes:
    """Spec: SPC-4 7.8.7, SNTR 1.5 6.1.5."""
    types = task.protection_types
    controller, attributes = task.lu.facts.controller, task.nexus.delivery.attributes
    self_test = task.lu.facts.controller_bit("oacs", 4)
    return EXTENDED_INQUIRY.build(
        activate_microcode=0b01 if firmware.offered(task.lu) else 0b00,
        spt=_SPT[types],
        grd_chk=bool(types),
        app_chk=bool(types),
        ref_chk=bool(types),
        group_sup=task.lu.streams > 0,
        headsup=TaskAttribute.HEAD_OF_QUEUE in attributes,
        ordsup=TaskAttribute.ORDERED in attributes,
        simpsup=1,
        wu_sup=bool(task.lu.write_uncorrectable_blocks),
        v_sup=task.lu.volatile_write_cache,
        luiclr=1,
        self_test_minutes=controller.edstt if self_test else 0,
    )[HEADER.size :]


PAGES = (VpdPage(0x86, "Extended INQUIRY Data", "SPC-4 7.8.7", extended_inquiry),)
