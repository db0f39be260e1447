"""The logical unit: an NVMe namespace as SAM sees it, and its I_T nexuses.

Knows what lasts between commands: unit attentions, readiness, power, and the
state that this room's other modules keep. Knows no command, and nothing of
sockets, queues or files: what must survive a restart goes through a `Store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from scsi2nvme.fields import Values
from scsi2nvme.nvme.access_hints import NO_HINTS, AccessHints
from scsi2nvme.nvme.namespace import NamespaceFacts, SecureErase
from scsi2nvme.nvme.protection import NO_PROTECTION, Protection
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    INQUIRY_DATA_HAS_CHANGED,
    MEDIUM_NOT_PRESENT,
    MODE_PARAMETERS_CHANGED,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    Sense,
    SenseCode,
)
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.buffers import Buffers
from scsi2nvme.unit.copies import Copies
from scsi2nvme.unit.counters import POWER_TRANSITIONS
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.error_history import ErrorHistory
from scsi2nvme.unit.exceptions import InformationalExceptions
from scsi2nvme.unit.firmware import FirmwareDownload
from scsi2nvme.unit.identifying import IdentifyingInformation
from scsi2nvme.unit.initialization import Initialization
from scsi2nvme.unit.log_parameters import LogParameters
from scsi2nvme.unit.mode_pages.hints_grouping import HINTS_GROUPING, access_hints
from scsi2nvme.unit.mode_pages.page import PageControl
from scsi2nvme.unit.mode_parameters import ModeParameters, pages_of
from scsi2nvme.unit.ports import ITNexus, PortName
from scsi2nvme.unit.power_conditions import (
    ACTIVE,
    ACTIVE_TRANSITIONS,
    BY_NUMBERS,
    RestingCondition,
)
from scsi2nvme.unit.readiness import UNREACHABLE, Readiness, sense_of
from scsi2nvme.unit.reservations import Reservations
from scsi2nvme.unit.routes import Routes
from scsi2nvme.unit.sanitizing import Sanitizing
from scsi2nvme.unit.statistics import Statistics
from scsi2nvme.unit.store import MemoryStore, Store
from scsi2nvme.unit.streams import OpenStreams
from scsi2nvme.unit.tokens import Rods

# Unit attentions wait for at most so many nexuses that have ended. One that is
# forgotten learns POWER ON OCCURRED on its return, which implies the rest.
MAXIMUM_ABSENT_NEXUSES = 256


def _precedence(sense: Sense) -> int:
    """Return the rank of a unit attention: power on, then lesser resets, then I_T nexus loss.

    In this order are the qualifiers of their common code. Spec: SAM-5 5.14.2.
    """
    code = sense.code
    return code.ascq if code.asc == POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED.asc else 0x100


@dataclass(eq=False)
class Nexus(ITNexus):
    """An I_T nexus with what this initiator may see: LUN to logical unit.

    Attention of one logical unit for this nexus waits in
    `LogicalUnit.unit_attentions`. `tells_residual`: whether its transport lets us
    say how much of the data was moved; `delivery`: what else it does; `address`: where the
    initiator is, if that is known; `visible`: what it may see now, None: always the same;
    it returns None where its initiator has to go, and sees until then what it has seen.
    """

    luns: dict[int, LogicalUnit] = field(default_factory=dict)
    delivery: ServiceDelivery = field(default_factory=ServiceDelivery)
    tells_residual: bool = True
    visible: Callable[[], Mapping[int, LogicalUnit] | None] | None = None
    # Whether somebody else keeps reservations for it, and lets pass now, whoever sends them, the
    # commands that send no data.
    lets_all_pass: Callable[[], bool] = field(default=lambda: False)
    address: str = ""

    @property
    def stands_for_several(self) -> bool:
        """Whether it is not known which of several initiators sends a command: the kernel knows."""
        return not self.target.device

    @property
    def who(self) -> str:
        """The initiator, for messages."""
        name = self.initiator.device
        return f"{name} at {self.address}" if self.address else name


class LogicalUnit(BlockDevice):
    """One namespace as a direct access block device, or a host-managed zoned one.

    `on_change` is called whenever `aside()` may have changed, so that the data plane can raise
    or drop its step-aside flags before the next command; `on_nexus_change` instead where it is
    that of one nexus alone, by its key: nexuses come and go, and the others, of which there may
    be many, are as they were. `epoch` advances with whatever is assigned to an attribute; what
    changes within one calls `on_change`.
    `on_mode_changed` is called when mode pages have others' values.
    """

    def __init__(
        self, facts: NamespaceFacts, store: Store | None = None, *, ambiguous: bool = False
    ) -> None:
        self.epoch = Epoch()
        super().__init__(facts, ambiguous=ambiguous)
        self.store: Store = store if store is not None else MemoryStore()
        self.readiness = self._left = Readiness.READY
        self.progress: int | None = None  # of a format, as a fraction of 65536
        self.pattern_follows = False  # it has two halves: the pattern is written then
        self.sanitizing = Sanitizing()  # the controller's, which all its logical units share
        self.power_condition = 0  # POWER CONDITION of START STOP UNIT, 0: active
        self.power_condition_modifier = 0  # which of the idle or standby conditions
        self.rests_by_timer = False  # and not by START STOP UNIT
        self.timers_run = True  # those of mode page 1Ah, until START STOP UNIT decides
        self.refreshes = 0  # of the subsystem: how often BACKGROUND CONTROL began or ended one
        self.self_test_running = False  # started by SEND DIAGNOSTIC, not known to have ended
        self.thresholds_reached: frozenset[str] = frozenset()  # of mode page 1Ch/02h
        self.timestamp_set = False  # an initiator has set the controller's clock
        self.diagnostics: dict[str, bytes] = {}  # what SEND DIAGNOSTIC asked for, by nexus key
        self.prevented_by: set[str] = set()  # nexus keys: PREVENT ALLOW MEDIUM REMOVAL
        self.nexuses: list[Nexus] = []
        self.target_ports: tuple[PortName, ...] = ()  # that lead here, by configuration
        self.unit_attentions: dict[str, list[Sense]] = {}  # by nexus key
        self.controller_units: Sequence[LogicalUnit] = ()  # all that share the controller
        self.routes = Routes()  # where several controllers lead here
        self.on_change: Callable[[], None] = lambda: None
        self.on_nexus_change: Callable[[str], None] = lambda _: self.on_change()
        self.on_streams_refused: Callable[[], None] = lambda: None
        self.on_hints_refused: Callable[[], None] = lambda: None
        self.on_mode_changed: Callable[[], object] = lambda: None
        self.read_only = False  # by configuration
        self.removable = False  # by configuration: the medium can be ejected, and comes back
        self.security = False  # by configuration: initiators may use security protocols
        self.secure_format = SecureErase.NONE  # what FORMAT UNIT erases, by configuration
        self.may_be_sanitized = False  # with all of the controller, by configuration
        self.history_allowed = False  # to initiators, by configuration
        self.firmware_allowed = False  # to initiators, by configuration
        self.enclosure_allowed = False  # the same: pages of the enclosure that the disk is in
        self.firmware = FirmwareDownload()  # of the controller, shared by all that share it
        self.mode = ModeParameters(self, self.store, self._mode_changed)
        self.exceptions = InformationalExceptions(
            self.mode, lambda code: self.establish_attention(code), lambda: self.on_change()
        )
        self.reservations: Reservations = Reservations(self)
        self.identifying = IdentifyingInformation(self, self.store)
        self.initialization = Initialization(self, self.store)
        if self.initialization.begun:
            self.readiness = self._left = Readiness.FORMAT_FAILED
        self.buffers = Buffers()
        self.history = ErrorHistory()
        self.copies = Copies()
        self.streams_open = OpenStreams(self)
        self.rods = Rods(self)
        self.statistics: Callable[[], Statistics] = Statistics  # of its commands
        self.log = LogParameters(self, self.store, lambda: self.statistics())

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        self.epoch.advance()

    @property
    def not_ready(self) -> Sense | None:
        """Why medium access is refused, None if it is not.

        No capacity that can be told means none: RETURNED LOGICAL BLOCK ADDRESS is that of the
        last block. Spec: SBC-3 5.15.2, 5.16.2.
        """
        if self.readiness is not Readiness.FAILED:
            if (code := UNREACHABLE.get(self.facts.ana_state)) is not None:
                return Sense(code)
            if (sense := self.sanitizing.sense) is not None:
                return sense
        if self.readiness is Readiness.READY and not self.capacity_blocks:
            return Sense(MEDIUM_NOT_PRESENT)
        return sense_of(self.readiness, self.progress)

    @property
    def hardware_write_protected(self) -> bool:
        """Whether writes are refused for another reason than SWP, which initiators may clear."""
        by_disk = self.facts.medium_read_only or bool(self.facts.namespace.nsattr & 1)
        return self.read_only or by_disk

    @property
    def hint_blocks(self) -> int:
        """The same; where nobody may write, a hint would be refused as well."""
        return 0 if self.hardware_write_protected else super().hint_blocks

    @property
    def write_protected(self) -> bool:
        """Whether writes are refused, for whichever reason."""
        return self.hardware_write_protected or self.mode.swp

    @property
    def owns_application_tags(self) -> bool:
        """Whether application tags are the initiators' own (ATO)."""
        return self.facts.moves_protection and self.mode.owns_application_tags

    @property
    def protection(self) -> Protection:
        """What I/O commands say of protection information where none of it is moved."""
        kept = self.facts.protection
        if kept is NO_PROTECTION or not self.facts.moves_protection:
            return kept
        return self.mode.protection(kept)

    @property
    def fenced_by_disk(self) -> bool:
        """See BlockDevice."""
        return self.reservations.on_disk

    @property
    def access_hints(self) -> AccessHints:
        """See BlockDevice."""
        if not self.facts.takes_hints or not HINTS_GROUPING.supported(self.facts):
            return NO_HINTS
        return access_hints(self.mode.values(HINTS_GROUPING, PageControl.CURRENT))

    @property
    def rescap(self) -> int:
        """The namespace's reservation capabilities (RESCAP)."""
        return int(self.facts.namespace.rescap)

    @property
    def resting(self) -> bool:
        """Whether it is stopped, or in a power condition other than active."""
        return self.readiness is Readiness.STOPPED or self.power_condition != 0

    @property
    def resting_condition(self) -> RestingCondition | None:
        """The power condition other than active that it is in, None if it is active."""
        return BY_NUMBERS.get((self.power_condition, self.power_condition_modifier))

    def enter(self, condition: int, modifier: int = 0, *, by_timer: bool = False) -> None:
        """Enter a power condition, by POWER CONDITION and its modifier; 0: the active one."""
        self._enter(condition, modifier, by_timer=by_timer)
        self.on_change()

    def _enter(self, condition: int, modifier: int = 0, *, by_timer: bool = False) -> None:
        if (condition, modifier) != (self.power_condition, self.power_condition_modifier):
            resting = BY_NUMBERS.get((condition, modifier))
            code = ACTIVE_TRANSITIONS if resting is None else resting.code
            self.log.counters.count(POWER_TRANSITIONS, code)
        self.power_condition, self.power_condition_modifier = condition, modifier
        self.rests_by_timer = by_timer

    def fail(self) -> None:
        """There is no namespace behind it any more: what is not under way is refused."""
        if self.readiness is not Readiness.FAILED:
            formats = self.readiness in (Readiness.FORMATTING, Readiness.FORMAT_FAILED)
            ejected = self.readiness is Readiness.EJECTED
            left = Readiness.EJECTED if ejected else Readiness.READY
            self._left = Readiness.FORMAT_FAILED if formats else left
        self.readiness = Readiness.FAILED
        self.on_change()

    def recover(self) -> None:
        """The namespace is there again, in the state in which it was left."""
        if self.readiness is Readiness.FAILED:
            self.readiness = self._left
            self.on_change()

    def become(self, facts: NamespaceFacts, but: Nexus | None = None) -> None:
        """Be what the namespace is now; nexuses are told if mode pages, or streams, are others."""
        before, streams = pages_of(self.facts), self.streams
        self.facts = facts
        if pages_of(self.facts) != before:
            self.establish_attention(MODE_PARAMETERS_CHANGED, but=but)
        if self.streams != streams:
            self.establish_attention(INQUIRY_DATA_HAS_CHANGED, but=but)

    def _mode_changed(self) -> None:
        self.on_change()
        self.on_mode_changed()

    def refuse_streams(self) -> None:
        """The controller has refused a write for its stream, and for nothing else.

        There are none, then, until it tells of the namespace anew.
        """
        if self.facts.streams is not None:
            self.become(replace(self.facts_as_read, streams=None))
            self.streams_open.reset()
            self.on_change()
            self.on_streams_refused()

    def refuse_hints(self) -> None:
        """The controller has refused a read or write for what it says of its blocks' use alone.

        It is told no more, until it tells of the namespace anew.
        """
        if self.facts.takes_hints:
            self.facts = replace(self.facts_as_read, takes_hints=False)
            self.on_change()
            self.on_hints_refused()

    def formatted(self, namespace: Values, but: Nexus | None = None) -> None:
        """Format NVM has made the namespace this, whenever its controllers tell of it.

        All nexuses are told but the one that asked for it. The hot path is to be told as well.
        """
        self.become(replace(self.facts_as_read, namespace=namespace), but)
        self.routes.formatted(namespace)
        self.mode.pending_block_bytes = None
        self.streams_open.reset()
        if not self.pattern_follows:
            self.initialization.end()
        self.establish_attention(CAPACITY_DATA_HAS_CHANGED, but=but)
        self.establish_attention(INQUIRY_DATA_HAS_CHANGED, but=but)

    def blocks_may_change(self) -> None:
        """Any blocks of the controller's may change now: no token of theirs holds."""
        for lu in {self, *self.controller_units}:
            lu.rods.changed(None)

    # Nexuses and unit attentions

    def attach(self, nexus: Nexus, condition: SenseCode | None = None) -> None:
        """Begin to serve a nexus. What it missed is told as a unit attention."""
        self.nexuses.append(nexus)
        if nexus.key not in self.unit_attentions:
            code = condition or POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
            self.unit_attentions[nexus.key] = [Sense(code)]
        self.on_nexus_change(nexus.key)

    def detach(self, nexus: Nexus, condition: SenseCode | None = None) -> None:
        """End a nexus; `condition` waits for its return (I_T NEXUS LOSS OCCURRED)."""
        self.nexuses = [other for other in self.nexuses if other is not nexus]
        self.release(nexus)
        waiting = self.unit_attentions.pop(nexus.key, [])  # put last: the latest to go
        self.unit_attentions[nexus.key] = waiting if condition is None else [Sense(condition)]
        self._forget_absent()
        self.on_nexus_change(nexus.key)

    def release(self, nexus: Nexus) -> None:
        """End what a nexus holds only as long as it lasts. Spec: SAM-5 6.3.4."""
        self.diagnostics.pop(nexus.key, None)
        self.buffers.forget(nexus.key)
        self.copies.nexus_lost(nexus.key)
        self.let_others_in(nexus)

    def let_others_in(self, nexus: Nexus) -> None:
        """End what of that keeps others from anything."""
        self.prevented_by.discard(nexus.key)
        self.history.forget(nexus.key)
        self.reservations.nexus_lost(nexus)

    def _forget_absent(self) -> None:
        """Bound what waits for nexuses that may never return; registrants are not forgotten."""
        if len(self.unit_attentions) <= MAXIMUM_ABSENT_NEXUSES:
            return
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

    @property
    def alone(self) -> bool:
        """Whether what the controller counts is this logical unit's, and no other's."""
        return len(self.controller_units) <= 1

    def siblings(self) -> list[LogicalUnit]:
        """Return this one and the others of the same controller that initiators use."""
        return [self, *(each for each in self.controller_units if each.nexuses and each != self)]

    def establish_attention(
        self, code: SenseCode, *, only: str = "", but: Nexus | None = None
    ) -> None:
        """Establish a unit attention for every nexus, for one key, or for all but one.

        One that is pending already is not repeated; resets go before what is older, and less.
        Spec: SAM-5 5.14.2 (precedence).
        """
        keys = [only] if only else list(self.unit_attentions)
        for key in keys:
            if but is not None and key == but.key:
                continue
            queue = self.unit_attentions.setdefault(key, [])
            if all(sense.code != code for sense in queue):
                queue.append(Sense(code))
                queue.sort(key=_precedence)  # stable: the oldest first among equals
        if only:
            self._forget_absent()
            self.on_nexus_change(only)
        else:
            self.on_change()

    def clear_attention(self, nexus: Nexus, code: SenseCode) -> None:
        """Clear one unit attention of a nexus if it is pending."""
        queue = self.unit_attentions.get(nexus.key, [])
        left = [sense for sense in queue if sense.code != code]
        if left != queue:
            queue[:] = left
            self.on_nexus_change(nexus.key)

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
        self.on_nexus_change(nexus.key)
        return sense

    def aside(self, nexus: Nexus) -> bool:
        """Whether the hot path must step aside for commands of this nexus."""
        return (
            self.not_ready is not None
            or self.power_condition != 0
            or bool(self.unit_attentions.get(nexus.key))
            or self.exceptions.due
            or self.write_protected
            or self.owns_application_tags
            or self.reservations.restricts(nexus)
        )

    def reset(self, cause: SenseCode | None) -> None:
        """Apply a logical unit reset. Spec: SAM-5 6.3.3.

        Reservations made by RESERVE end, saved mode pages return, the logical unit is
        active (SBC-3 4.20), and every nexus is told, the one that asked included. What the
        controller must be told of it is `commands.unit_reset`'s to say. No `cause`: who is
        beyond the nexuses has told everybody.
        """
        if self.readiness is Readiness.STOPPED:
            self.readiness = Readiness.READY
        self.timers_run = True
        self._enter(ACTIVE)
        self.reservations.reset()
        self.mode.reset()
        self.prevented_by.clear()
        self.diagnostics.clear()
        self.buffers.reset()
        self.history.reset()
        self.copies.reset()
        self.streams_open.reset()
        self.rods.end_all(None)
        if cause is not None:
            for key in self.unit_attentions:
                self.unit_attentions[key] = [Sense(cause)]
        self.exceptions.select()  # what goes on is told after it: nobody may have been before
        self._mode_changed()
