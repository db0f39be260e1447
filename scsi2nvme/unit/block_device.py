"""A namespace as SBC describes a direct access block device: sizes, limits, provisioning."""

from __future__ import annotations

import math
from dataclasses import replace
from hashlib import sha256

from scsi2nvme.nvme.access_hints import NO_HINTS, AccessHints
from scsi2nvme.nvme.lba_status import AOCS_ALLOCATED, OACS_LBA_STATUS
from scsi2nvme.nvme.namespace import NamespaceFacts, Zones
from scsi2nvme.nvme.protection import TUPLE_BYTES
from scsi2nvme.records import dataclass

# One SCSI command should move at most this much, whatever the controller's MDTS:
# the data plane holds its data in its buffer pool as a whole.
MAXIMUM_TRANSFER_BYTES = 8 << 20
# Of a READ or WRITE that moves more all the same, it holds one portion at a time.
PORTION_BYTES = 1 << 20
MAXIMUM_WRITE_SAME_BLOCKS = 0xFFFF  # all that WRITE SAME (10) can ask for
MAXIMUM_SCATTERED_RANGES = 128
# What initiators take for a physical block: ESXi and Windows refuse disks with larger ones.
PHYSICAL_BLOCK_BYTES = 4096
THRESHOLD_SET_BYTES = 1 << 20
MAXIMUM_STREAMS = 32
PERMANENT_STREAMS = 5  # as many lifetimes as hosts tell apart (Linux: RWH_WRITE_LIFE_*)

_DSM_RANGES = 256
_DSM_RANGE_BLOCKS = 0xFFFFFFFF
_WRITE_ZEROES_BLOCKS = _WRITE_UNCORRECTABLE_BLOCKS = 65536
_ONCS_COMPARE, _ONCS_WRITE_UNCORRECTABLE, _ONCS_DATASET_MANAGEMENT = 0, 1, 2
_ONCS_WRITE_ZEROES, _ONCS_VERIFY = 3, 7
_FUSES_COMPARE_AND_WRITE = 0
_DLFEAT_WRITE_ZEROES_DEALLOCATES = 1 << 3


@dataclass(frozen=True, slots=True)
class UnmapLimits:
    """What one Dataset Management may deallocate. Spec: NVM Command Set 1.0 4.1.5."""

    ranges: int
    blocks_of_range: int
    blocks: int  # in all


@dataclass(frozen=True, slots=True)
class Portion:
    """What a command is to move now of the bytes that its CDB announces."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class AtomicLimits:
    """What is written untorn by one NVMe command, in logical blocks.

    So it is with at most `blocks` of them, from a multiple of `alignment` on.
    """

    blocks: int
    alignment: int


def _serial(facts: NamespaceFacts) -> str:
    """Return the serial number as it stands in keys of saved state, which must not change."""
    return facts.controller.bytes("sn").decode("ascii", "replace").rstrip(" \0")


class BlockDevice:
    """What Identify data say of a namespace, in SCSI's terms.

    `facts` is replaced when the namespace changes; nothing here is kept. While the
    device is `ambiguous`, as its identifiers are those of another disk, too, they are
    left out of `facts`.
    """

    def __init__(self, facts: NamespaceFacts, *, ambiguous: bool = False) -> None:
        self._read = self._usable = facts
        self._ambiguous = ambiguous
        self.facts = facts
        self.limit: int | None = None  # bytes of the namespace, by configuration; None: all
        self.maximum_physical_block_bytes = PHYSICAL_BLOCK_BYTES  # to be told, by configuration

    @property
    def facts(self) -> NamespaceFacts:
        """What the namespace is."""
        return self._usable

    @facts.setter
    def facts(self, facts: NamespaceFacts) -> None:
        self._read = facts
        nameless = replace(facts, uuid=b"", nguid=b"", eui64=b"")
        self._usable = nameless if self._ambiguous else facts

    @property
    def facts_as_read(self) -> NamespaceFacts:
        """What the namespace is, its identifiers always included."""
        return self._read

    @property
    def fenced_by_disk(self) -> bool:
        """Whether the disk knows of reservations that we only learn of by asking it."""
        return False

    @property
    def hint_blocks(self) -> int:
        """How many blocks a hint of what will be read names at most; 0: none is to be given.

        Among hosts a hint counts as a write: where the disk has reservations it would refuse what
        is none.
        """
        given = self.provisioned and not self.fenced_by_disk
        return self.unmap_limits.blocks_of_range if given else 0

    def is_of(self, facts: NamespaceFacts | None) -> bool:
        """Whether this is what has become of its namespace; another has other identifiers."""
        return facts is not None and facts.identifiers == self._read.identifiers

    @property
    def ambiguous(self) -> bool:
        """Whether its identifiers are those of another disk, too."""
        return self._ambiguous

    @ambiguous.setter
    def ambiguous(self, ambiguous: bool) -> None:
        self._ambiguous = ambiguous
        self.facts = self._read

    @property
    def nsid(self) -> int:
        """The namespace identifier."""
        return self.facts.nsid

    @property
    def zones(self) -> Zones | None:
        """How it is divided, where it is a host-managed zoned block device."""
        return self.facts.zones

    @property
    def writes_anywhere(self) -> bool:
        """Whether any block may be written at any time."""
        return self.zones is None

    @property
    def block_bytes(self) -> int:
        """The logical block length."""
        return self.facts.block_bytes

    @property
    def capacity_blocks(self) -> int:
        """How many logical blocks there are; where there are zones, whole ones."""
        whole = self.facts.capacity_blocks
        if self.limit is None:
            return whole
        limit = self.limit // self.block_bytes
        return min(whole, limit if self.zones is None else self.zones.start(limit))

    @property
    def maximum_transfer_blocks(self) -> int:
        """MAXIMUM TRANSFER LENGTH of the Block Limits page."""
        return MAXIMUM_TRANSFER_BYTES // self.block_bytes

    @property
    def nvme_maximum_blocks(self) -> int:
        """The most blocks that one NVMe command with data may name."""
        return min(self.facts.maximum_transfer_bytes // self.block_bytes, 65536)

    def nvme_blocks(self, tuple_bytes: int) -> int:
        """Return the same, where so many bytes are moved behind each block."""
        if not tuple_bytes:
            return self.nvme_maximum_blocks
        size = self.block_bytes + tuple_bytes
        return min(self.facts.maximum_transfer_bytes // size, 65536)

    @property
    def tuple_bytes(self) -> int:
        """Protection information that can be moved behind each block; 0: none."""
        return TUPLE_BYTES if self.facts.moves_protection else 0

    @property
    def optimal_boundary_blocks(self) -> int:
        """NOIOB: commands that cross a multiple of it are slow, or of a zone fail. 0: none."""
        boundary, zones = self.facts.namespace.noiob, self.zones
        if zones is None or zones.reads_cross:
            return boundary
        return boundary if boundary and zones.size % boundary == 0 else zones.size

    @property
    def volatile_write_cache(self) -> bool:
        """Whether there is a cache to flush."""
        return self.facts.volatile_write_cache

    @property
    def shared(self) -> bool:
        """Whether other controllers may have the namespace, and so other hosts (NMIC)."""
        return bool(self.facts.namespace.nmic & 1)

    @property
    def provisioned(self) -> bool:
        """Whether blocks can be unmapped: LBPME, by Dataset Management's ONCS bit.

        Zones are reset as a whole instead.
        """
        return self.writes_anywhere and self.facts.controller_bit("oncs", _ONCS_DATASET_MANAGEMENT)

    @property
    def threshold_exponent(self) -> int:
        """How many blocks a threshold set is, as a power of two: 1 MiB, or more on large media.

        The whole medium must be countable in 32 bits. 0 where there are no thresholds.
        """
        if not self.facts.thin:
            return 0
        mebibyte = max(0, THRESHOLD_SET_BYTES // self.block_bytes).bit_length() - 1
        return max(mebibyte, self.facts.capacity_blocks.bit_length() - 32)

    @property
    def unmap_limits(self) -> UnmapLimits:
        """DMRL, DMRSL and DMSL, where these are stated, else what a command has room for."""
        limits = self.facts.nvm_controller
        ranges = min(limits.dmrl or _DSM_RANGES, _DSM_RANGES)
        blocks = limits.dmsl or _DSM_RANGES * _DSM_RANGE_BLOCKS
        return UnmapLimits(ranges, min(limits.dmrsl or _DSM_RANGE_BLOCKS, blocks), blocks)

    @property
    def write_zeroes_blocks(self) -> int:
        """The most blocks of one Write Zeroes, by WZSL; 0: there is none."""
        if not self.facts.controller_bit("oncs", _ONCS_WRITE_ZEROES):
            return 0
        return self.facts.size_limit_blocks("wzsl") or _WRITE_ZEROES_BLOCKS

    @property
    def write_zeroes_deallocates(self) -> bool:
        """Whether Write Zeroes takes DEAC."""
        return bool(self.facts.namespace.dlfeat & _DLFEAT_WRITE_ZEROES_DEALLOCATES)

    @property
    def write_uncorrectable_blocks(self) -> int:
        """The most blocks of one Write Uncorrectable, by WUSL; 0: there is none."""
        has = self.facts.controller_bit("oncs", _ONCS_WRITE_UNCORRECTABLE)
        if not has or not self.writes_anywhere:
            return 0
        return self.facts.size_limit_blocks("wusl") or _WRITE_UNCORRECTABLE_BLOCKS

    @property
    def verify_blocks(self) -> int:
        """The most blocks of one Verify, by VSL, or MDTS where VSL is not stated; 0: no Verify."""
        crosses = self.zones is None or self.zones.reads_cross
        if not crosses or not self.facts.controller_bit("oncs", _ONCS_VERIFY):
            return 0
        return self.facts.size_limit_blocks("vsl") or self.nvme_maximum_blocks

    @property
    def compares(self) -> bool:
        """Whether the controller has Compare, for blocks without metadata.

        Metadata would have to be compared as well: none can be left out by PRACT.
        Spec: NVM Command Set 1.0c 5.2.2.
        """
        has_compare = self.facts.controller_bit("oncs", _ONCS_COMPARE)
        return has_compare and not self.facts.lba_format.ms

    @property
    def fused_blocks(self) -> int:
        """Blocks of a fused Compare and Write, at most: NACWU, else ACWU; 0: there is none."""
        if not self.compares or not self.facts.controller_bit("fuses", _FUSES_COMPARE_AND_WRITE):
            return 0
        namespace = self.facts.namespace
        own = namespace.nacwu if namespace.nsfeat & 2 else 0
        return min((own or self.facts.controller.acwu) + 1, self.nvme_maximum_blocks)

    @property
    def reads_zero_after_unmap(self) -> bool:
        """LBPRZ: whether deallocated blocks read as zeroes, by DLFEAT."""
        return self.provisioned and self.facts.namespace.dlfeat & 7 == 1

    @property
    def atomic_blocks(self) -> int:
        """How many blocks are written untorn through a power failure.

        Spec: NVM Command Set 1.0 2.1.4 (AWUPF, and NAWUPF where NSFEAT says so).
        """
        namespace = self.facts.namespace
        own = namespace.nawupf if namespace.nsfeat & 2 else 0
        return (own or self.facts.controller.awupf) + 1

    def atomic_limits(self, tuple_bytes: int = 0) -> AtomicLimits:
        """Return what one Write writes untorn, where so many bytes are moved behind each block.

        Others see all of it or nothing, and so it is after a power failure. What crosses an
        atomic boundary has no such promise: where there are boundaries, blocks that begin at a
        multiple of their greatest number never do.

        Spec: NVM Command Set 1.0c 2.1.4 (AWUN and AWUPF, NABSN, NABSPF, NABO).
        """
        namespace, controller = self.facts.namespace, self.facts.controller
        own = namespace.nawun if namespace.nsfeat & 2 else 0
        least = min((own or controller.awun) + 1, self.atomic_blocks)
        least = min(least, self.nvme_blocks(tuple_bytes))
        boundaries = [each + 1 for each in (namespace.nabsn, namespace.nabspf) if each]
        if not boundaries:
            return AtomicLimits(least, 1)
        common = math.gcd(*boundaries, namespace.nabo)
        if common > least:
            common = min(common & -common, 1 << (least.bit_length() - 1))
        return AtomicLimits(common, common)

    @property
    def streams(self) -> int:
        """How many streams writes may be of; where there are zones, they are of none."""
        told = self.facts.streams
        return min(told.count, MAXIMUM_STREAMS) if told and self.writes_anywhere else 0

    @property
    def permanent_streams(self) -> int:
        """How many of these, from the first on, are always open, each of the group of its number.

        The others are opened, and closed, by STREAM CONTROL.
        """
        return min(self.streams, PERMANENT_STREAMS)

    @property
    def access_hints(self) -> AccessHints:
        """What groups of reads and writes say of how their blocks are used."""
        return NO_HINTS

    @property
    def writes_atomically(self) -> bool:
        """Whether several blocks can be written untorn by one command."""
        return self.writes_anywhere and self.atomic_limits(self.tuple_bytes).blocks > 1

    @property
    def physical_block_exponent(self) -> int:
        """Logical blocks per physical block, as a power of two.

        The preferred write granularity, but no more than is written untorn, as
        initiators take a physical block to be, nor than they can use. None where writes
        would have to end with one: zones are written by logical blocks.
        """
        namespace = self.facts.namespace
        blocks = namespace.npwg + 1
        if not self.writes_anywhere or not namespace.nsfeat & 0x10 or blocks & (blocks - 1):
            return 0
        usable = max(1, self.maximum_physical_block_bytes // self.block_bytes)
        return min(min(blocks, self.atomic_blocks, usable).bit_length() - 1, 15)

    @property
    def tells_unreadable_blocks(self) -> bool:
        """Whether the controller tells which blocks it knows to be unreadable (Get LBA Status)."""
        return self.zones is None and self.facts.controller_bit("oacs", OACS_LBA_STATUS)

    @property
    def tells_allocated_blocks(self) -> bool:
        """Whether it tells which blocks are not deallocated, too."""
        allocated = self.facts.nvm_controller.aocs & AOCS_ALLOCATED
        return self.provisioned and self.tells_unreadable_blocks and bool(allocated)

    @property
    def maximum_unmap_blocks(self) -> int:
        """What one UNMAP may name in all: no limit, as the translation splits."""
        return 0xFFFFFFFF if self.provisioned else 0

    @property
    def maximum_unmap_descriptors(self) -> int:
        """How many ranges one UNMAP may name: those of one Dataset Management."""
        return 256 if self.provisioned else 0

    @property
    def maximum_write_same_blocks(self) -> int:
        """What one WRITE SAME may write; it bounds how long a pattern is repeated."""
        return MAXIMUM_WRITE_SAME_BLOCKS

    @property
    def write_same_non_zero(self) -> bool:
        """WSNZ: whether WRITE SAME of zero blocks is refused, rather than meaning the rest.

        So it is where blocks can be unmapped, lest one stray command discard a whole medium.
        """
        return self.provisioned

    @property
    def maximum_compare_and_write_blocks(self) -> int:
        """What one COMPARE AND WRITE may compare: its data holds the blocks twice."""
        return min(255, self.maximum_transfer_blocks // 2) if self.writes_anywhere else 0

    @property
    def identity(self) -> str:
        """A name that outlives restarts, for people."""
        facts = self.facts
        unique = facts.nguid or facts.eui64 or facts.uuid
        return unique.hex() or f"{_serial(facts)}-{facts.nsid}"

    @property
    def state_key(self) -> str:
        """What saved state is kept by: no two disks that are served have it in common.

        It is made of model, serial number, NSID and identifiers, whether these count or not.
        """
        facts = self._read
        digest = sha256()
        for name in (
            facts.controller.bytes("mn"),
            facts.controller.bytes("sn"),
            facts.nguid,
            facts.eui64,
            facts.uuid,
        ):
            digest.update(len(name).to_bytes(2, "big") + name)
        return f"{_serial(facts)}-{facts.nsid}-{digest.hexdigest()[:32]}"

    @property
    def former_state_key(self) -> str:
        """What earlier versions kept it by, which two disks may have in common."""
        return "" if self._ambiguous else self.identity
