"""VPD page B4h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.protection import TUPLE_BYTES

BLOCK_LENGTH = Structure(
    "Logical block length and protection types descriptor",
    8,
    (
        Field("block_length", 0, 0, 32, "bytes"),
        Field("p_i_i_sup", 4, 6, 1, "several protection information intervals"),
        Field("no_pi_chk", 4, 3, 1),
        Field("grd_chk", 4, 2, 1),
        Field("app_chk", 4, 1, 1),
        Field("ref_chk", 4, 0, 1),
        Field("t3ps", 5, 3, 1),
        Field("t2ps", 5, 2, 1),
        Field("t1ps", 5, 1, 1),
        Field("t0ps", 5, 0, 1),
    ),
    spec="SBC-4 6.6.9",
)


def supported_block_lengths(task: Task) -> bytes:
    """Return what FORMAT UNIT can make: lengths, each with its types. Spec: SBC-4 6.6.9."""
    sizes: dict[int, set[int]] = {}
    for each in task.lu.facts.lba_formats:
        if each.lbads:
            sizes.setdefault(1 << each.lbads, set()).add(each.ms)
    answer = b""
    for length, metadata in sorted(sizes.items()):
        types = task.protection_types if TUPLE_BYTES in metadata else ()
        answer += BLOCK_LENGTH.build(
            block_length=length,
            grd_chk=bool(types),
            app_chk=bool(types),
            ref_chk=bool(types),
            t0ps=0 in metadata,
            **{f"t{kind}ps": 1 for kind in types},
        )
    return answer


PAGES = (
    VpdPage(
        0xB4,
        "Supported Block Lengths And Protection Types",
        "SBC-4 6.6.9",
        supported_block_lengths,
        supported=lambda lu: bool(lu.facts.protection_types),
    ),
)
