"""What the driver learnt of one namespace: the input of a logical unit."""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from functools import cached_property

from scsi2nvme.fields import Values
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.nvme.directives import Streams
from scsi2nvme.nvme.protection import TUPLE_BYTES, TYPES, Protection, kept
from scsi2nvme.nvme.structures import (
    IDENTIFY_BYTES,
    IDENTIFY_NVM_CONTROLLER,
    LBA_FORMAT,
    POWER_STATE,
)
from scsi2nvme.records import dataclass

MPSMIN_UNIT = 4096
_EXTENDED = 1 << 4  # FLBAS
_MC_EXTENDED = 1 << 0
_OACS_FORMAT = 1
_LOW_FORMATS = 16  # which bits 3:0 of FLBAS tell apart
_MOST_FORMATS = 64


def format_count(namespace: Values) -> int:
    """Return how many LBA formats there are, those with capabilities of their own included.

    Spec: NVM Command Set 1.0c figure 97 (NLBAF, which is 0's based; NULBAF).
    """
    return min(namespace.nlbaf + 1 + namespace.nulbaf, _MOST_FORMATS)


def format_index(namespace: Values) -> int:
    """Return the number of the LBA format in use, by Identify Namespace.

    Its high bits are not looked at where no format needs them. By the letter that is so of 17
    formats, too ("NLBAF is less than or equal to 16"), but then the last had no number, and blocks
    that have it were taken for those of the first. Spec: NVM Command Set 1.0c figure 97 (FLBAS).
    """
    index = index_of(namespace.flbas)
    return index if format_count(namespace) > _LOW_FORMATS else index % _LOW_FORMATS


def index_of(flbas: int) -> int:
    """Return the number of an LBA format as FLBAS has it."""
    return flbas & 0xF | flbas >> 1 & 0x30


def flbas_of(index: int) -> int:
    """Return FLBAS, as it has the number of an LBA format."""
    return index & 0xF | (index & 0x30) << 1


def lba_formats(namespace: Values) -> tuple[Values, ...]:
    """Return every LBA format that a namespace offers, by Identify Namespace."""
    raw, size = namespace.bytes("lbafs"), LBA_FORMAT.size
    return tuple(
        LBA_FORMAT.parse(raw[size * n : size * (n + 1)]) for n in range(format_count(namespace))
    )


class SecureErase(IntEnum):
    """Secure Erase Settings of Format NVM. Spec: NVMe Base 2.0c 5.14."""

    NONE = 0
    USER_DATA = 1
    CRYPTOGRAPHIC = 2


@dataclass(frozen=True, slots=True)
class Zones:
    """How a zoned namespace is divided, in logical blocks: every zone alike, NSZE whole ones.

    `most_open` is the lesser of MOR and MAR as a true count, None: no limit. `reads_cross`:
    whether one Read may name blocks of several. `extension_bytes` are those of a zone descriptor
    extension. Spec: ZNS Command Set 1.1b 4.1.5.1.
    """

    size: int  # ZSZE
    capacity: int  # ZCAP: the rest of a zone cannot be written
    most_open: int | None = None
    reads_cross: bool = False
    extension_bytes: int = 0  # ZDES

    @property
    def gaps(self) -> bool:
        """Whether there are blocks that cannot be written."""
        return self.capacity < self.size

    def start(self, lba: int) -> int:
        """Return the first block of the zone that a block is in."""
        return lba - lba % self.size

    def of(self, lba: int, blocks: int) -> range:
        """Return all blocks of the zones that some blocks are in."""
        return range(self.start(lba), self.start(lba + max(blocks, 1) - 1) + self.size)


@dataclass(frozen=True)
class NamespaceFacts:
    """Identify data of a namespace and of the controller that it was read from.

    `maximum_transfer_bytes` is MDTS and the driver's own limit, whichever is
    less. `uuid`, `nguid`, `eui64` are empty where absent; they come from the
    identification descriptors, else from Identify Namespace.
    """

    nsid: int
    controller: Values  # IDENTIFY_CONTROLLER
    namespace: Values  # IDENTIFY_NAMESPACE
    maximum_transfer_bytes: int
    uuid: bytes = b""
    nguid: bytes = b""
    eui64: bytes = b""
    # SMART critical warning: the medium was placed in read only mode, for the controller's reasons.
    medium_read_only: bool = False
    # Identify CNS 06h; a controller without it states no limits.
    nvm_controller: Values = field(
        default_factory=lambda: IDENTIFY_NVM_CONTROLLER.parse(bytes(IDENTIFY_BYTES))
    )
    ana_state: AnaState = AnaState.OPTIMIZED  # also where the controller has none
    zones: Zones | None = None  # of the Zoned Namespace Command Set
    streams: Streams | None = None  # that writes may name
    takes_hints: bool = True  # of how blocks are used (DSM); not once it has refused one

    @property
    def identifiers(self) -> tuple[bytes, ...]:
        """What tells it from others, as far as it has such: another may come under its NSID."""
        return self.uuid, self.nguid, self.eui64

    @property
    def lba_format_index(self) -> int:
        """The number of the LBA format in use."""
        return format_index(self.namespace)

    @property
    def lba_format(self) -> Values:
        """The LBA format in use."""
        return self.lba_formats[self.lba_format_index]

    @cached_property
    def lba_formats(self) -> tuple[Values, ...]:
        """Every LBA format that the namespace offers."""
        return lba_formats(self.namespace)

    @cached_property
    def block_bytes(self) -> int:
        """The logical block length."""
        return 1 << self.lba_format.lbads

    @property
    def interleaved_bytes(self) -> int:
        """The metadata that are moved behind each block, if any are: by extended LBAs."""
        return int(self.lba_format.ms) if self.namespace.flbas & _EXTENDED else 0

    @property
    def protection_type(self) -> int:
        """DPS: the type of protection information that blocks have, 0: none."""
        return self.namespace.dps & 7

    @cached_property
    def protection(self) -> Protection:
        """What I/O commands say of protection information where none of it is moved."""
        return kept(self.protection_type)

    @cached_property
    def moves_protection(self) -> bool:
        """Whether protection information can be moved behind each block: by extended LBAs.

        A buffer of its own for it (MPTR) is not what initiators have.
        """
        fits = self.maximum_transfer_bytes >= self.block_bytes + TUPLE_BYTES
        return bool(self.protection_type and self.namespace.flbas & _EXTENDED) and fits

    @cached_property
    def formats_protection(self) -> tuple[int, ...]:
        """The types of protection information with which it can be formatted so."""
        sizes = {each.ms for each in self.lba_formats if each.lbads}
        if not self.controller_bit("oacs", _OACS_FORMAT) or TUPLE_BYTES not in sizes:
            return ()
        if not self.namespace.mc & _MC_EXTENDED:
            return ()
        return tuple(kind for kind in TYPES if self.namespace.dpc >> kind - 1 & 1)

    @property
    def protection_types(self) -> tuple[int, ...]:
        """The types of protection information that can be moved, now or after a format."""
        now = (self.protection_type,) if self.moves_protection else ()
        return tuple(sorted({*now, *self.formats_protection}))

    @property
    def capacity_blocks(self) -> int:
        """NSZE."""
        return self.namespace.nsze

    @property
    def volatile_write_cache(self) -> bool:
        """VWC: whether there is a cache to flush."""
        return self.controller_bit("vwc", 0)

    @property
    def power_states(self) -> int:
        """How many power states the controller has, by NPSS."""
        return (self.controller.npss & 0x1F) + 1

    @property
    def operational_states(self) -> tuple[int, ...]:
        """The power states in which I/O commands are executed; that is always so of the first."""
        return (0, *(n for n in range(1, self.power_states) if not self.power_state(n).nops))

    @property
    def consumption_is_told(self) -> bool:
        """Whether there are operational power states to choose from, by what each takes."""
        states = self.operational_states
        return len(states) > 1 and all(self.power_state(state).mp for state in states)

    def power_state(self, number: int) -> Values:
        """Return the descriptor of a power state."""
        return POWER_STATE.parse(self.controller.bytes("psds")[number * POWER_STATE.size :])

    @property
    def thin(self) -> bool:
        """NSFEAT bit 0 (THINP), where blocks can be deallocated: NUSE says what is in use."""
        return bool(self.namespace.nsfeat & 1) and self.controller_bit("oncs", 2)

    @property
    def refreshes(self) -> bool:
        """DSTO bit 1 (HIRS): whether the controller refreshes its medium when it is asked to."""
        return self.controller_bit("oacs", 4) and self.controller_bit("dsto", 1)

    @property
    def timestamp(self) -> bool:
        """ONCS bit 6: whether the controller has a clock that hosts may set."""
        return self.controller_bit("oncs", 6)

    def controller_bit(self, name: str, bit: int) -> bool:
        """Whether a capability bit (ONCS, OACS, VWC, …) of Identify Controller is set."""
        return bool(self.controller[name] >> bit & 1)

    def size_limit_blocks(self, name: str) -> int:
        """Return VSL, WZSL or WUSL as blocks of one command (at most 65536), 0: not stated."""
        exponent = self.nvm_controller[name]
        if not exponent:
            return 0
        return max(1, min((MPSMIN_UNIT << exponent) // self.block_bytes, 65536))
