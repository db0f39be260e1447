"""The LBA formats that emulated namespaces can have: block lengths, and metadata beside blocks.

Spec: NVM Command Set 1.0c figure 98 (LBA Format), 2.1.6 (metadata).
"""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme.nvme.structures import LBA_FORMAT
from scsi2nvme.records import dataclass

BLOCK_BYTES = (512, 4096)
PHYSICAL_BYTES = 4096  # the page cache's unit, and most disks'
TUPLE_BYTES = 8  # of protection information
_TYPE, _TYPES = 0x7, 4  # DPS


@dataclass(frozen=True, slots=True)
class Metadata:
    """What each block of a namespace has besides its data.

    `extended`: metadata follow the data of each block, else they are in a buffer of their own.
    `protection` is as DPS: the type of protection information, bit 3: in the first bytes.
    """

    bytes: int = 0
    extended: bool = False
    protection: int = 0


NO_METADATA = Metadata()


class LbaFormats:
    """The formats, by index: those of all block lengths for each size of metadata."""

    def __init__(self, metadata_sizes: Sequence[int] = (0,)) -> None:
        self.rows = tuple((block, size) for size in metadata_sizes for block in BLOCK_BYTES)

    def index(self, block_bytes: int, metadata: Metadata) -> int:
        """Return the number of a format that there is."""
        return self.rows.index((block_bytes, metadata.bytes))

    def chosen(self, index: int, *, extended: bool, protection: int) -> tuple[int, Metadata] | None:
        """Return the block length and the metadata that a host asks for, None: impossible."""
        if index >= len(self.rows) or protection & _TYPE >= _TYPES:
            return None
        block_bytes, size = self.rows[index]
        if (extended and not size) or (protection and size < TUPLE_BYTES):
            return None
        return block_bytes, Metadata(size, extended, protection if protection & _TYPE else 0)

    def fields(self) -> dict[str, int | bytes]:
        """Return what Identify Namespace says of them."""
        return {
            "nlbaf": len(self.rows) - 1,
            "lbafs": b"".join(
                LBA_FORMAT.build(
                    lbads=block.bit_length() - 1, ms=size, rp=0 if block == PHYSICAL_BYTES else 2
                )
                for block, size in self.rows
            ),
        }
