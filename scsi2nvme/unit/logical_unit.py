"""The logical unit: an NVMe namespace as SAM sees it, and its I_T nexuses.

Knows what lasts between commands (unit attentions, readiness, exclusive use);
state that belongs to one command family lives in that family's module. Knows
nothing of sockets, queues or files: what must survive a restart goes through
a `Store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.sense import (
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    Sense,
    SenseCode,
)

# One SCSI command moves at most this much, whatever the controller's MDTS:
# the data plane holds a command's data in its buffer pool as a whole.
MAXIMUM_TRANSFER_BYTES = 8 << 20

# Unit attentions wait for at most so many nexuses that have ended. One that is
# forgotten learns POWER ON OCCURRED on its return, which implies the rest.
MAXIMUM_ABSENT_NEXUSES = 256

# Every target port is in one target port group, active/optimized. Spec: SPC-4 5.15.2.2.
TARGET_PORT_GROUP = 1


class Store(Protocol):
    """Where state goes that must outlive the process. Values are JSON objects."""

    def load(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last saved under `key`."""

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """Save durably: when this returns, a crash does not lose it."""


class MemoryStore:
    """A Store without durability, for tests and for LUs that need none."""

    def __init__(self) -> None:
        self.values: dict[str, Mapping[str, Any]] = {}

    def load(self, key: str) -> Mapping[str, Any] | None:
        """See Store."""
        return self.values.get(key)

    def save(self, key: str, value: Mapping[str, Any]) -> None:
        """See Store."""
        self.values[key] = dict(value)


class Readiness(Enum):
    """Why a logical unit is, or is not, ready for medium access."""

    READY = "ready"
    STOPPED = "stopped"  # START STOP UNIT
    FORMATTING = "formatting"
    FORMAT_FAILED = "format failed"
    FAILED = "failed"  # the controller is gone


@dataclass(frozen=True)
class PortName:
    """A SCSI port by its transport's name, here iSCSI. Spec: RFC 7143 4.2.4.

    `name` is an initiator or target port name: `iqn…,i,0x…` or `iqn…,t,0x…`.
    """

    device: str  # the iSCSI name
    isid: bytes = b""  # initiator ports: 6 bytes
    portal_group_tag: int = 1  # target ports

    @property
    def name(self) -> str:
        """The port's full name."""
        if self.isid:
            return f"{self.device},i,0x{self.isid.hex()}"
        return f"{self.device},t,0x{self.portal_group_tag:04x}"

    @property
    def relative_identifier(self) -> int:
        """RELATIVE TARGET PORT IDENTIFIER of a target port. Spec: SAM-5 4.6.5.3."""
        return self.portal_group_tag


@dataclass(eq=False)
class Nexus:
    """An I_T nexus: one initiator port at one target port.

    `luns` is what this initiator may see: LUN to logical unit. Attention of
    one logical unit for this nexus waits in `LogicalUnit.unit_attentions`.
    """

    initiator: PortName
    target: PortName
    luns: dict[int, LogicalUnit] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What identifies the nexus across reconnects."""
        return f"{self.initiator.name}|{self.target.name}"


class LogicalUnit:
    """One namespace as a direct access block device.

    `on_change` is called whenever `aside()` may have changed, so that the data
    plane can raise or drop its step-aside flags before the next command.
    """

    def __init__(self, facts: NamespaceFacts, store: Store | None = None) -> None:
        # State of command families; imported here because they import us.
        from scsi2nvme.commands.log_pages import Counters
        from scsi2nvme.commands.mode_pages import ModeState
        from scsi2nvme.commands.reservations import Reservations

        self.facts = facts
        self.store: Store = store if store is not None else MemoryStore()
        self.readiness = Readiness.READY
        self.progress: int | None = None  # of a format, as a fraction of 65536
        self.power_condition = 0  # POWER CONDITION last set by START STOP UNIT, 0: active
        self.power_condition_modifier = 0  # which of the idle or standby conditions
        self.self_test_running = False  # started by SEND DIAGNOSTIC, not known to have ended
        self.prevented_by: set[str] = set()  # nexus keys: PREVENT ALLOW MEDIUM REMOVAL
        self.nexuses: list[Nexus] = []
        self.target_ports: tuple[PortName, ...] = ()  # that lead here, by configuration
        self.unit_attentions: dict[str, list[Sense]] = {}  # by nexus key
        self.on_change: Callable[[], None] = lambda: None
        self.read_only = False  # by configuration
        self.limit: int | None = None  # bytes of the namespace, by configuration; None: all
        self.mode = ModeState(self)
        self.reservations = Reservations(self)
        self.counters = Counters()

    # What the namespace says

    @property
    def nsid(self) -> int:
        """The namespace identifier."""
        return self.facts.nsid

    @property
    def block_bytes(self) -> int:
        """The logical block length."""
        return self.facts.block_bytes

    @property
    def capacity_blocks(self) -> int:
        """How many logical blocks there are."""
        whole = self.facts.capacity_blocks
        return whole if self.limit is None else min(whole, self.limit // self.block_bytes)

    @property
    def maximum_transfer_blocks(self) -> int:
        """MAXIMUM TRANSFER LENGTH of the Block Limits page."""
        return MAXIMUM_TRANSFER_BYTES // self.block_bytes

    @property
    def nvme_maximum_blocks(self) -> int:
        """The most blocks that one NVMe command with data may name."""
        return min(self.facts.maximum_transfer_bytes // self.block_bytes, 65536)

    @property
    def optimal_boundary_blocks(self) -> int:
        """NOIOB: commands that cross a multiple of it are slow. 0: none."""
        return self.facts.namespace.noiob

    @property
    def volatile_write_cache(self) -> bool:
        """Whether there is a cache to flush."""
        return bool(self.facts.controller.vwc & 1)

    @property
    def write_protected(self) -> bool:
        """Whether writes are refused, for whichever reason."""
        return self.read_only or bool(self.facts.namespace.nsattr & 1) or self.mode.swp

    @property
    def provisioned(self) -> bool:
        """Whether blocks can be unmapped: LBPME, by Dataset Management's ONCS bit."""
        return self.facts.controller_bit("oncs", 2)

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

    @property
    def physical_block_exponent(self) -> int:
        """Logical blocks per physical block, as a power of two.

        The preferred write granularity, but no more than is written untorn:
        initiators take a physical block to be so.
        """
        namespace = self.facts.namespace
        blocks = namespace.npwg + 1
        if not namespace.nsfeat & 0x10 or blocks & (blocks - 1):
            return 0
        return min(min(blocks, self.atomic_blocks).bit_length() - 1, 15)

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
        return 0xFFFF  # all that WRITE SAME (10) can ask for

    @property
    def write_same_non_zero(self) -> bool:
        """WSNZ: whether WRITE SAME of zero blocks is refused, rather than meaning the rest.

        So it is where blocks can be unmapped, lest one stray command discard a whole medium.
        """
        return self.provisioned

    @property
    def maximum_compare_and_write_blocks(self) -> int:
        """What one COMPARE AND WRITE may compare: its data holds the blocks twice."""
        return min(255, self.maximum_transfer_blocks // 2)

    @property
    def identity(self) -> str:
        """A name that outlives restarts, for saved state."""
        facts = self.facts
        unique = facts.nguid or facts.eui64 or facts.uuid
        return unique.hex() or f"{facts.controller.text('sn')}-{facts.nsid}"

    # Nexuses and unit attentions

    def attach(self, nexus: Nexus, condition: SenseCode | None = None) -> None:
        """Begin to serve a nexus. What it missed is told as a unit attention."""
        self.nexuses.append(nexus)
        if nexus.key not in self.unit_attentions:
            code = condition or POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
            self.unit_attentions[nexus.key] = [Sense(code)]
        self.on_change()

    def detach(self, nexus: Nexus, condition: SenseCode | None = None) -> None:
        """End a nexus; `condition` waits for its return (I_T NEXUS LOSS OCCURRED)."""
        self.nexuses = [other for other in self.nexuses if other is not nexus]
        self.release(nexus)
        waiting = self.unit_attentions.pop(nexus.key, [])  # put last: the latest to go
        self.unit_attentions[nexus.key] = waiting if condition is None else [Sense(condition)]
        self._forget_absent()
        self.on_change()

    def release(self, nexus: Nexus) -> None:
        """End what a nexus holds only as long as it lasts. Spec: SAM-5 6.3.4."""
        self.prevented_by.discard(nexus.key)
        self.reservations.nexus_lost(nexus)

    def _forget_absent(self) -> None:
        """Bound what waits for nexuses that may never return; registrants are not forgotten."""
        kept = {nexus.key for nexus in self.nexuses} | set(self.reservations.state.registrations)
        absent = [key for key in self.unit_attentions if key not in kept]
        for key in absent[: max(0, len(absent) - MAXIMUM_ABSENT_NEXUSES)]:
            del self.unit_attentions[key]

    def target_ports_of(self, nexus: Nexus) -> tuple[PortName, ...]:
        """Return every known target port of the logical unit, the nexus' own first.

        A port whose device has no name is another's to tell of: the kernel's.
        """
        if not nexus.target.device:
            return (nexus.target,)
        used = (other.target for other in self.nexuses if other.target.device)
        return tuple(dict.fromkeys((nexus.target, *self.target_ports, *used)))

    def attend(self, code: SenseCode, *, only: str = "", but: Nexus | None = None) -> None:
        """Establish a unit attention for every nexus, for one key, or for all but one."""
        keys = [only] if only else list(self.unit_attentions)
        for key in keys:
            if but is not None and key == but.key:
                continue
            queue = self.unit_attentions.setdefault(key, [])
            if all(sense.code != code for sense in queue):
                queue.append(Sense(code))
        if only:
            self._forget_absent()
        self.on_change()

    def clear_attention(self, nexus: Nexus, code: SenseCode) -> None:
        """Clear one unit attention of a nexus if it is pending."""
        queue = self.unit_attentions.get(nexus.key, [])
        queue[:] = [sense for sense in queue if sense.code != code]
        self.on_change()

    def pending_attention(self, nexus: Nexus) -> Sense | None:
        """Return the oldest unit attention of a nexus, and leave it."""
        queue = self.unit_attentions.get(nexus.key)
        return queue[0] if queue else None

    def take_attention(self, nexus: Nexus) -> Sense | None:
        """Return the oldest unit attention of a nexus, and clear it."""
        queue = self.unit_attentions.get(nexus.key)
        if not queue:
            return None
        sense = queue.pop(0)
        self.on_change()
        return sense

    def aside(self, nexus: Nexus) -> bool:
        """Whether the hot path must step aside for commands of this nexus."""
        return (
            self.readiness is not Readiness.READY
            or self.power_condition != 0
            or bool(self.unit_attentions.get(nexus.key))
            or self.write_protected
            or self.reservations.restricts(nexus)
        )

    def reset(self, cause: SenseCode) -> None:
        """Apply a logical unit reset. Spec: SAM-5 6.3.3.

        Reservations made by RESERVE end, saved mode pages return, and every
        nexus is told, the one that asked included.
        """
        self.reservations.reset()
        self.mode.reset()
        self.prevented_by.clear()
        for key in self.unit_attentions:
            self.unit_attentions[key] = [Sense(cause)]
        self.on_change()
