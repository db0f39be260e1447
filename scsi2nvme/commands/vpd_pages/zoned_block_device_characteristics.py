"""VPD page B6h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure

ZONED_BLOCK_DEVICE_CHARACTERISTICS = Structure(
    "Zoned Block Device Characteristics VPD page",
    64,
    (
        Field("extension", 4, 4, 4, "0h: host-managed, by the device type"),
        Field("aaorb", 4, 1, 1),
        Field("urswrz", 4, 0, 1, "blocks beyond the write pointer can be read"),
        Field("optimal_open_preferred", 8, 0, 32, "FFFFFFFFh: not reported"),
        Field("optimal_non_sequential_preferred", 12, 0, 32, "FFFFFFFFh: not reported"),
        Field("most_open_required", 16, 0, 32, "open zones at most, FFFFFFFFh: no limit"),
        Field("zone_alignment_method", 23, 0, 4, "1h: all as long, 8h: as far from each other"),
        Field("granularity", 24, 0, 64, "logical blocks from zone start to zone start"),
    ),
    spec="ZBC-2 (Zoned Block Device Characteristics VPD page)",
)
NOT_REPORTED = 0xFFFFFFFF
ALL_AS_LONG, AS_FAR_FROM_EACH_OTHER = 1, 8


def zoned_block_device_characteristics(task: Task) -> bytes:
    """Spec: ZBC-2 (Zoned Block Device Characteristics VPD page)."""
    zones = task.lu.zones
    assert zones is not None
    return ZONED_BLOCK_DEVICE_CHARACTERISTICS.build(
        urswrz=1,
        optimal_open_preferred=NOT_REPORTED,
        optimal_non_sequential_preferred=NOT_REPORTED,
        most_open_required=NOT_REPORTED if zones.most_open is None else zones.most_open,
        zone_alignment_method=AS_FAR_FROM_EACH_OTHER if zones.gaps else ALL_AS_LONG,
        granularity=zones.size,
    )[HEADER.size :]


PAGES = (
    VpdPage(
        0xB6,
        "Zoned Block Device Characteristics",
        "ZBC-2",
        zoned_block_device_characteristics,
        supported=lambda lu: lu.zones is not None,
    ),
)
