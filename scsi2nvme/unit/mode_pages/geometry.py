"""Mode pages 03h and 04h, by which old operating systems divide a disk.

Nothing has tracks here: cylinders of a size that divides well are made up, as many as there are
blocks for.
"""

from __future__ import annotations

from collections.abc import Mapping

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.mode_pages.page import ModePage

_SECTORS, _HEADS = 256, 64  # of a track, of a cylinder
_MOST_SECTORS, _MOST_HEADS, _MOST_CYLINDERS = 0x8000, 0x80, 0xFFFFFF
# They compute by it how long a turn takes: page B1h says that nothing turns.
_ROTATIONS_PER_MINUTE = 5400


def geometry(blocks: int) -> tuple[int, int, int]:
    """Return cylinders, heads and sectors of a track, which are together no more than `blocks`.

    The largest disks have larger cylinders, and the smallest smaller ones; what no three such
    numbers can tell is left out.
    """
    heads, sectors = _HEADS, _SECTORS
    while heads > 1 and heads * sectors > blocks:
        heads //= 2
    while sectors > 1 and heads * sectors > blocks:
        sectors //= 2
    while blocks // (heads * sectors) > _MOST_CYLINDERS and sectors < _MOST_SECTORS:
        sectors *= 2
    while blocks // (heads * sectors) > _MOST_CYLINDERS and heads < _MOST_HEADS:
        heads *= 2
    return min(blocks // (heads * sectors), _MOST_CYLINDERS), heads, sectors


def _unzoned(facts: NamespaceFacts) -> bool:
    return facts.zones is None


def _format(device: BlockDevice) -> Mapping[str, int]:
    return {
        "sectors_per_track": geometry(device.capacity_blocks)[2],
        # Which has two bytes. 0 is no size of one: READ CAPACITY tells.
        "data_bytes_per_physical_sector": device.block_bytes if device.block_bytes <= 0xFFFF else 0,
        "interleave": 1,
        "hsec": 1,
    }


def _rigid(device: BlockDevice) -> Mapping[str, int]:
    cylinders, heads, _ = geometry(device.capacity_blocks)
    return {
        "cylinders": cylinders,
        "heads": heads,
        "medium_rotation_rate": _ROTATIONS_PER_MINUTE,
    }


FORMAT_DEVICE = ModePage(
    0x03,
    Structure(
        "Format Device",
        24,
        (
            Field("tracks_per_zone", 2, 0, 16),
            Field("alternate_sectors_per_zone", 4, 0, 16),
            Field("alternate_tracks_per_zone", 6, 0, 16),
            Field("alternate_tracks_per_logical_unit", 8, 0, 16),
            Field("sectors_per_track", 10, 0, 16),
            Field("data_bytes_per_physical_sector", 12, 0, 16),
            Field("interleave", 14, 0, 16),
            Field("track_skew_factor", 16, 0, 16),
            Field("cylinder_skew_factor", 18, 0, 16),
            Field("ssec", 20, 7, 1, "soft sectors"),
            Field("hsec", 20, 6, 1, "hard sectors"),
            Field("rmb", 20, 5, 1, "removable medium"),
            Field("surf", 20, 4, 1),
        ),
        spec="SCSI-2 9.3.3.3",
    ),
    derived=_format,
    supported=_unzoned,
)

RIGID_DISK_GEOMETRY = ModePage(
    0x04,
    Structure(
        "Rigid Disk Geometry",
        24,
        (
            Field("cylinders", 2, 0, 24),
            Field("heads", 5),
            Field("write_precompensation", 6, 0, 24),
            Field("reduced_write_current", 9, 0, 24),
            Field("drive_step_rate", 12, 0, 16),
            Field("landing_zone", 14, 0, 24),
            Field("rpl", 17, 0, 2, "rotational position locking"),
            Field("rotational_offset", 18),
            Field("medium_rotation_rate", 20, 0, 16, "per minute"),
        ),
        spec="SCSI-2 9.3.3.7",
    ),
    derived=_rigid,
    supported=_unzoned,
)


PAGES = (FORMAT_DEVICE, RIGID_DISK_GEOMETRY)
