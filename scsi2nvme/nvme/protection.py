"""End-to-end protection that stays in the controller: it makes, checks and removes the tuples.

What is moved are blocks without metadata. That is possible where all metadata of a block are its
protection information. Spec: NVM Command Set 1.0c 5.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from scsi2nvme.nvme.command import Opcode

TUPLE_BYTES = 8  # guard, application tag, reference tag, where the guard has 16 bits
MOST_TYPES = 3

PRACT, CHECK_GUARD, CHECK_REFERENCE = 1 << 29, 1 << 28, 1 << 26  # CDW12

_NO_TAG = 0xFFFFFFFF  # SBC-3 4.22.2.4: of blocks that nobody gave a reference tag


@dataclass(frozen=True, slots=True)
class Protection:
    """What I/O commands say in CDW12 of protection information, all zero where there is none.

    `tagged`: a block's reference tag is written as the low bytes of its LBA.
    """

    read: int = 0
    write: int = 0
    verify: int = 0
    tagged: bool = False

    def words(self, opcode: Opcode, lba: int) -> tuple[int, int]:
        """Return what a command on blocks from `lba` on has in CDW12 (PRINFO), and its CDW14.

        Spec: NVM Command Set 1.0c 3.2.4 (EILBRT), 3.2.6 (ILBRT).
        """
        if not self.write:
            return 0, 0
        prinfo = {Opcode.READ: self.read, Opcode.VERIFY: self.verify}.get(opcode, self.write)
        return prinfo, lba & 0xFFFFFFFF if self.tagged else _NO_TAG


NO_PROTECTION = Protection()
# By type. A type 2 tag may be another host's, of any value, so that it is not checked; a type 3
# tag cannot be. Application tags are nobody's: none is checked.
_BY_TYPE = (
    NO_PROTECTION,
    Protection(
        PRACT | CHECK_GUARD | CHECK_REFERENCE, PRACT, CHECK_GUARD | CHECK_REFERENCE, tagged=True
    ),
    Protection(PRACT | CHECK_GUARD, PRACT, CHECK_GUARD, tagged=True),
    Protection(PRACT | CHECK_GUARD, PRACT, CHECK_GUARD),
)


def of_type(number: int) -> Protection:
    """Return what commands say of a namespace that is formatted with a protection type."""
    return _BY_TYPE[number]
