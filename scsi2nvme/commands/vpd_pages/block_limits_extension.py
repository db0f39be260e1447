"""VPD page B7h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.block_device import MAXIMUM_SCATTERED_RANGES, MAXIMUM_TRANSFER_BYTES

BLOCK_LIMITS_EXTENSION = Structure(
    "Block Limits Extension VPD page",
    32,
    (
        Field("rscs", 5, 0, 1, "reduced stream control"),
        Field("maximum_streams", 6, 0, 16, "0: there are none"),
        Field("optimal_stream_write", 8, 0, 16, "logical blocks"),
        Field("stream_granularity", 10, 0, 32),
        Field("maximum_scattered_range", 16, 0, 32, "logical blocks"),
        Field("maximum_scattered_ranges", 22, 0, 16),
        Field("maximum_scattered_transfer", 24, 0, 32, "logical blocks"),
    ),
    spec="SBC-4 6.6.5",
)


def block_limits_extension(task: Task) -> bytes:
    """Spec: SBC-4 6.6.5. Of the most data one block, at least, is the list of ranges.

    RSCS says that groups name streams which are always open. Spec: SBC-5 (reduced stream control).
    """
    lu, streams = task.lu, task.lu.facts.streams
    size = task.lu.block_bytes + (task.lu.tuple_bytes if task.moves_protection else 0)
    most = MAXIMUM_TRANSFER_BYTES // size - 1
    return BLOCK_LIMITS_EXTENSION.build(
        rscs=lu.streams > 0,
        maximum_streams=lu.streams,
        optimal_stream_write=min(streams.write_blocks, 0xFFFF) if streams else 0,
        stream_granularity=streams.granularity if streams else 0,
        maximum_scattered_range=most,
        maximum_scattered_ranges=MAXIMUM_SCATTERED_RANGES,
        maximum_scattered_transfer=most,
    )[HEADER.size :]


PAGES = (
    VpdPage(
        0xB7,
        "Block Limits Extension",
        "SBC-4 6.6.5",
        block_limits_extension,
        supported=lambda lu: lu.writes_anywhere,
    ),
)
