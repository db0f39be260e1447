"""End-to-end protection: what I/O commands say of the protection information of their blocks.

All metadata of a block are its protection information, eight bytes. The controller makes, checks
and removes them, or they are moved behind each block, as the format's extended LBAs are.
Spec: NVM Command Set 1.0c 5.2.
"""

from __future__ import annotations

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.records import dataclass

TUPLE_BYTES = 8  # guard, application tag, reference tag, where the guard has 16 bits
TYPES = (1, 2, 3)

PRACT, CHECK_GUARD, CHECK_APPLICATION, CHECK_REFERENCE = 1 << 29, 1 << 28, 1 << 27, 1 << 26  # CDW12

NO_APPLICATION_TAG = 0xFFFF  # SBC-4 4.21.3: of a tuple that is not checked
_NO_TAG = 0xFFFFFFFF  # SBC-3 4.22.2.4: of blocks that nobody gave a reference tag


@dataclass(frozen=True, slots=True)
class ApplicationTag:
    """What the application tags of these blocks are to be, in the bits of `mask`."""

    blocks: range
    tag: int
    mask: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Protection:
    """What I/O commands say in CDW12 of protection information (PRINFO), by what they do.

    `tagged`: reference tags count on from block to block, and are the low bytes of LBA and
    `shift`. `tuple_bytes` are moved behind each block. Application tags are checked where they
    are `expected`, and are `application_tag` where the controller makes them. `compared` are the
    parts of tuples, as checks, that are to be those of data that are sent for that.
    """

    read: int = 0
    write: int = 0
    verify: int = 0
    tagged: bool = False
    shift: int = 0
    tuple_bytes: int = 0
    application_tag: int = 0
    expected: tuple[ApplicationTag, ...] = ()
    compared: int = 0

    def words(self, opcode: Opcode, lba: int) -> tuple[int, int, int]:
        """Return what a command on blocks from `lba` on has in CDW12, its CDW14 and CDW15.

        The blocks are `alike`. Spec: NVM Command Set 1.0c 3.2.4 (EILBRT, ELBAT, ELBATM), 3.2.6.
        """
        if self is NO_PROTECTION:
            return 0, 0, 0
        prinfo = {Opcode.READ: self.read, Opcode.VERIFY: self.verify}.get(opcode, self.write)
        reference = lba + self.shift & 0xFFFFFFFF if self.tagged else _NO_TAG
        if prinfo & PRACT and opcode not in (Opcode.READ, Opcode.VERIFY):
            return prinfo, reference, self.application_tag
        for each in self.expected:
            if lba in each.blocks:
                return prinfo | CHECK_APPLICATION, reference, each.tag | each.mask << 16
        return prinfo, reference, 0

    def alike(self, lba: int, blocks: int) -> int:
        """Return for how many blocks, of so many from `lba` on, the same tag is expected."""
        for each in self.expected:
            for edge in (each.blocks.start, each.blocks.stop):
                if lba < edge < lba + blocks:
                    blocks = edge - lba
        return blocks


NO_PROTECTION = Protection()
# By type, where none is moved. A type 2 tag may be another host's, of any value, so that it is not
# checked; a type 3 tag cannot be. Application tags are nobody's until an initiator says otherwise.
_KEPT = (
    NO_PROTECTION,
    Protection(
        PRACT | CHECK_GUARD | CHECK_REFERENCE, PRACT, CHECK_GUARD | CHECK_REFERENCE, tagged=True
    ),
    Protection(PRACT | CHECK_GUARD, PRACT, CHECK_GUARD, tagged=True),
    Protection(PRACT | CHECK_GUARD, PRACT, CHECK_GUARD),
)


def kept(kind: int) -> Protection:
    """Return what commands say of a namespace of a protection type that move no tuples."""
    return _KEPT[kind]


def moved(
    checks: int,
    *,
    tagged: bool,
    shift: int = 0,
    expected: tuple[ApplicationTag, ...] = (),
    compared: int = 0,
) -> Protection:
    """Return what commands say that move tuples, of which `checks` are checked."""
    return Protection(
        *(checks, checks, checks, tagged, shift, TUPLE_BYTES), expected=expected, compared=compared
    )
