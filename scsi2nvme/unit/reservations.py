"""Reservations of one logical unit: persistent ones and those of RESERVE.

The rules stand here; CDBs and parameter lists are the affair of the commands.
Spec: SPC-4 5.13 (persistent reservations), SPC-2 5.5 (RESERVE and RELEASE).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Protocol

from scsi2nvme.fields import Values
from scsi2nvme.scsi.result import (
    GOOD,
    RESERVATION_CONFLICT,
    Asked,
    CheckCondition,
    Result,
    Translation,
)
from scsi2nvme.scsi.sense import (
    INSUFFICIENT_REGISTRATION_RESOURCES,
    INVALID_FIELD_IN_PARAMETER_LIST,
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION,
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    Sense,
    SenseCode,
)
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.persistent_reservation import (
    MAXIMUM_REGISTRATIONS,
    Registration,
    ReservationType,
    State,
    restored,
)
from scsi2nvme.unit.ports import ITNexus, PortName
from scsi2nvme.unit.store import DamagedState, Store, load_as

PERSISTENT_RESERVE = (0x5E, 0x5F)  # operation codes

# What is asked of the controller on the way: by reservations that it keeps, and no others.
Steps = Generator[Asked, Any, None]


class Access(Enum):
    """What reservations mean for a command.

    Spec: SPC-4 5.13.1 and SBC-3 4.17 (commands allowed in the presence of
    various reservations).
    """

    ALWAYS = "always"  # no reservation stands in its way
    READ = "read"  # conflicts with exclusive access by others
    WRITE = "write"  # conflicts with any reservation held by others
    OWN = "own"  # the translation applies its own rules (PERSISTENT RESERVE OUT)


class Row(Protocol):
    """What a command's row says of reservations; `command.Command` explains it."""

    @property
    def opcode(self) -> int:
        """The operation code."""

    @property
    def access(self) -> Access:
        """What a reservation means for the command."""

    @property
    def legacy_reserve_allows(self) -> bool:
        """Whether it runs despite another nexus' RESERVE."""

    @property
    def never_conflicts(self) -> Callable[[Values], bool]:
        """Which CDBs no reservation stops."""


class Owner(Protocol):
    """What reservations need of the logical unit that they are on."""

    prevented_by: set[str]

    @property
    def state_key(self) -> str:
        """What saved state is kept by."""

    @property
    def former_state_key(self) -> str:
        """What earlier versions kept it by, "" where that may be another's."""

    @property
    def store(self) -> Store:
        """Where registrations go that APTPL keeps."""

    @property
    def nexuses(self) -> Sequence[ITNexus]:
        """The I_T nexuses that are there now."""

    @property
    def epoch(self) -> Epoch:
        """What advances when answers that are kept hold no longer."""

    @property
    def on_change(self) -> Callable[[], None]:
        """Called whenever the hot path may have to step aside, or no longer."""

    def establish_attention(self, code: SenseCode, *, only: str = "") -> None:
        """Establish a unit attention for one nexus, by its key."""


def parameter_error(code: SenseCode = INVALID_FIELD_IN_PARAMETER_LIST) -> CheckCondition:
    """Return the refusal of a parameter list where no single field can be blamed."""
    return CheckCondition(Sense(code))


class Reservations:
    """Who may do what on the logical unit.

    A service action returns GOOD or RESERVATION CONFLICT, or raises
    CheckCondition; the state changes only with GOOD, and once saved where
    APTPL asks for it. It is a part of a translation, between `enter` and `leave`,
    as others may keep the state than this table: `DiskReservations`.

    `abort_tasks` is called by PREEMPT AND ABORT with the keys of the nexuses
    whose tasks are to be aborted; the composition sets it.
    """

    on_disk = False  # where others may make some, too
    # Why what was kept through the end of the process cannot be told any more, "" if it can: who
    # was admitted is not known, so that nobody is, until an initiator replaces it.
    # Spec: SPC-4 5.13.5.3.2.
    lost = ""

    def __init__(self, lu: Owner) -> None:
        self.lu = lu
        self.abort_tasks: Callable[[list[str]], None] = lambda keys: None
        self.reserved_by: str | None = None  # RESERVE: a nexus key
        self.state = self._load()

    @property
    def store_key(self) -> str:
        """What they are saved under."""
        return f"reservations-{self.lu.state_key}"

    def _load(self) -> State:
        former = self.lu.former_state_key
        former_key = former and f"reservations-{former}"
        try:
            return load_as(self.lu.store, self.store_key, former_key, restored) or State()
        except DamagedState as error:
            self.lost = error.reason
            return State()

    # Where the state is kept: here

    def refresh(self) -> Steps:
        """Learn what others have changed of the state; may raise NvmeError."""
        yield from ()

    def enter(self) -> Steps:
        """Have the state for this service action alone, as it is now; `leave` ends that."""
        yield from ()

    def leave(self) -> None:
        """End what `enter` began."""

    def must_refresh(self, nexus: ITNexus, command: Row, cdb: Values) -> bool:
        """Whether to learn what others have changed, before it is judged what a nexus may do."""
        return False

    def offers(self, kind: ReservationType) -> bool:
        """Whether there are reservations of a type."""
        return True

    @property
    def may_persist(self) -> bool:
        """Whether APTPL can be asked for."""
        return True

    def _carry_registrations(self, after: State) -> Steps:
        """Have those who keep the state as well take over these registrations."""
        yield from ()

    def _carry_reserve(self, kind: ReservationType) -> Steps:
        yield from ()

    def _carry_release(self) -> Steps:
        yield from ()

    def _carry_clear(self) -> Steps:
        yield from ()

    def _carry_preempt(
        self, after: State, victim: int, kind: ReservationType, *, abort: bool
    ) -> Steps:
        yield from ()

    # Who may do what

    def conflicts(self, nexus: ITNexus, command: Row, cdb: Values) -> bool:
        """Whether a reservation stands in the way of this command.

        Spec: SPC-4 5.13.1 tables 66 and 67, SBC-3 4.17, SPC-2 5.5.1.
        """
        if command.never_conflicts(cdb):
            return False
        if self.reserved_by is not None:
            # The two kinds exclude each other, whoever asks.
            if command.opcode in PERSISTENT_RESERVE:
                return True
            return self.reserved_by != nexus.key and not command.legacy_reserve_allows
        return self._excludes(nexus, command.access)

    def _excludes(self, nexus: ITNexus, access: Access) -> bool:
        state = self.state
        if state.type is None or access in (Access.ALWAYS, Access.OWN):
            return False
        if state.holds(nexus.key):
            return False
        if state.type.admits_registrants and nexus.key in state.registrations:
            return False
        return access is Access.WRITE or state.type.excludes_reads

    def restricts(self, nexus: ITNexus) -> bool:
        """Whether a READ or WRITE of this nexus could conflict."""
        if self.lost:
            return True
        if self.reserved_by is not None:
            return self.reserved_by != nexus.key
        return self._excludes(nexus, Access.WRITE)

    # RESERVE and RELEASE

    def _obsoletes_reserve(self, nexus: ITNexus) -> Result | None:
        """Return what RESERVE and RELEASE answer while there are registrations.

        Spec: SPC-4 5.13.3 (CRH=1), else SPC-2 5.5.1.
        """
        state = self.state
        if not state.registrations:
            return None
        admitted = state.type is not None and state.type.admits_registrants
        if state.holds(nexus.key) or (admitted and nexus.key in state.registrations):
            return GOOD
        return RESERVATION_CONFLICT

    def reserve_unit(self, nexus: ITNexus) -> Result:
        """Reserve the logical unit for a nexus until it releases it, ends, or a reset."""
        answer = self._obsoletes_reserve(nexus)
        if answer is not None:
            return answer
        if self.reserved_by not in (None, nexus.key):
            return RESERVATION_CONFLICT
        self.reserved_by = nexus.key
        self.lu.on_change()
        return GOOD

    def release_unit(self, nexus: ITNexus) -> Result:
        """End the nexus' own RESERVE; one of another nexus stays."""
        answer = self._obsoletes_reserve(nexus)
        if answer is not None:
            return answer
        self.nexus_lost(nexus)
        return GOOD

    def nexus_lost(self, nexus: ITNexus) -> None:
        """End what a nexus holds only as long as it lasts."""
        if self.reserved_by == nexus.key:
            self.reset()

    def reset(self) -> None:
        """End what does not survive a logical unit reset."""
        self.reserved_by = None
        self.lu.on_change()

    # PERSISTENT RESERVE OUT

    def _commit(self, state: State) -> None:
        """Replace the state, durably before anyone is told."""
        if state.aptpl or self.state.aptpl:
            self.lu.store.save(self.store_key, state.saved())
        self.state = state
        self.lu.on_change()

    def _is_here(self, key: str) -> bool:
        """Whether a registrant is a nexus of ours, that can be told."""
        return True

    def _tell(self, keys: Iterable[str], code: SenseCode, by: ITNexus) -> None:
        for key in keys:
            if key != by.key and self._is_here(key):
                self.lu.establish_attention(code, only=key)

    def _authenticated(self, nexus: ITNexus, key: int) -> bool:
        own = self.state.registrations.get(nexus.key)
        return own is not None and own.key == key

    def register(
        self,
        nexus: ITNexus,
        key: int,
        new_key: int,
        *,
        aptpl: bool,
        ignore_existing: bool = False,
        targets: Collection[PortName],
        initiators: Collection[PortName] | None = None,
    ) -> Translation:
        """REGISTER, and with `ignore_existing` REGISTER AND IGNORE EXISTING KEY.

        `targets` are the target ports that the registration is for, the nexus'
        own among them; `initiators` the further ones of SPEC_I_PT, None
        without it. Spec: SPC-4 5.13.7.
        """
        own = self.state.registrations.get(nexus.key)
        if not ignore_existing and key != (own.key if own else 0):
            return RESERVATION_CONFLICT
        if (own is not None and initiators is not None) or (aptpl and not self.may_persist):
            raise parameter_error()
        if new_key == 0:
            return (yield from self._unregister(nexus, targets, aptpl=aptpl))
        registrations = dict(self.state.registrations)
        for target in targets:
            each = Registration(nexus.initiator, target, new_key)
            registrations[each.nexus_key] = each
        for each in self._additional(nexus, initiators or (), targets, new_key):
            if each.nexus_key in registrations:
                raise parameter_error()
            registrations[each.nexus_key] = each
        if len(registrations) > MAXIMUM_REGISTRATIONS:
            raise parameter_error(INSUFFICIENT_REGISTRATION_RESOURCES)
        after = self.state.advanced(registrations=registrations, aptpl=aptpl)
        yield from self._carry_registrations(after)
        self._commit(after)
        return GOOD

    def _additional(
        self,
        nexus: ITNexus,
        initiators: Collection[PortName],
        targets: Collection[PortName],
        key: int,
    ) -> list[Registration]:
        """Return the registrations of SPEC_I_PT, each I_T nexus once.

        A device name without a port means every known port of that device.
        Spec: SPC-4 7.6.4.6.
        """
        known = dict.fromkeys(
            [each.initiator for each in self.lu.nexuses]
            + [each.initiator for each in self.state.registrations.values()]
        )
        ports: dict[PortName, None] = {}
        for initiator in initiators:
            if initiator.isid:
                ports[initiator] = None
            else:
                same = (port for port in known if port.device == initiator.device)
                ports.update((port, None) for port in same if port != nexus.initiator)
        return [Registration(port, target, key) for port in ports for target in targets]

    def _unregister(
        self, nexus: ITNexus, targets: Collection[PortName], *, aptpl: bool
    ) -> Translation:
        """Spec: SPC-4 5.13.11.2.2 (unregistering)."""
        before = self.state
        gone = {Registration(nexus.initiator, target, 0).nexus_key for target in targets}
        gone &= set(before.registrations)
        if nexus.key not in gone:  # not registered: nothing to do
            self._commit(before.advanced())
            return GOOD
        after = before.without(gone).advanced(aptpl=aptpl)
        yield from self._carry_registrations(after)
        self._commit(after)
        if before.type is not None and after.type is None and before.type.admits_registrants:
            self._tell(after.registrations, RESERVATIONS_RELEASED, nexus)
        return GOOD

    def reserve(self, nexus: ITNexus, key: int, kind: ReservationType) -> Translation:
        """RESERVE. Spec: SPC-4 5.13.9."""
        state = self.state
        if not self._authenticated(nexus, key):
            return RESERVATION_CONFLICT
        if state.type is not None:
            same = state.holds(nexus.key) and state.type == kind
            return GOOD if same else RESERVATION_CONFLICT
        yield from self._carry_reserve(kind)
        self._commit(replace(state, type=kind, holder=nexus.key))
        return GOOD

    def release(self, nexus: ITNexus, key: int, scope: int, kind: int) -> Translation:
        """RELEASE. Spec: SPC-4 5.13.11.2.1."""
        state = self.state
        if not self._authenticated(nexus, key):
            return RESERVATION_CONFLICT
        if state.type is None or not state.holds(nexus.key):
            return GOOD
        if scope != 0 or kind != state.type:
            raise parameter_error(INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
        yield from self._carry_release()
        self._commit(replace(state, type=None, holder=""))
        if state.type.admits_registrants:
            self._tell(state.registrations, RESERVATIONS_RELEASED, nexus)
        return GOOD

    def clear(self, nexus: ITNexus, key: int) -> Translation:
        """CLEAR. Spec: SPC-4 5.13.11.2.6."""
        if not self._authenticated(nexus, key):
            return RESERVATION_CONFLICT
        gone = self.state.registrations
        yield from self._carry_clear()
        self._commit(self.state.advanced(registrations={}, type=None, holder=""))
        self._tell(gone, RESERVATIONS_PREEMPTED, nexus)
        return GOOD

    def preempt(
        self, nexus: ITNexus, key: int, victim: int, kind: ReservationType, *, abort: bool
    ) -> Translation:
        """PREEMPT and PREEMPT AND ABORT. Spec: SPC-4 5.13.11.2.3 to 5.13.11.2.5."""
        before = self.state
        if not self._authenticated(nexus, key):
            return RESERVATION_CONFLICT
        shared = before.type is not None and before.type.all_registrants
        if victim == 0 and not shared:
            raise parameter_error()
        gone = {each.nexus_key for each in before.registrations.values() if victim in (0, each.key)}
        if not gone:
            return RESERVATION_CONFLICT
        takes_over = victim == 0 if shared else before.holder in gone
        if takes_over:
            gone.discard(nexus.key)
            after = replace(before.without(gone), type=kind, holder=nexus.key)
        else:
            after = before.without(gone)
        yield from self._carry_preempt(after, victim, kind, abort=abort)
        self._commit(after.advanced())
        self._tell(sorted(gone), REGISTRATIONS_PREEMPTED, nexus)
        if takes_over and before.type != kind:
            self._tell(after.registrations, RESERVATIONS_RELEASED, nexus)
        if abort:
            self._abort(gone - {nexus.key})
        return GOOD

    def _abort(self, keys: Collection[str]) -> None:
        """End what preempted nexuses have under way. Spec: SPC-4 5.13.11.3."""
        self.lu.prevented_by.difference_update(keys)
        if keys:
            self.abort_tasks(sorted(keys))

    def move(
        self,
        nexus: ITNexus,
        key: int,
        new_key: int,
        *,
        initiator: PortName,
        target: PortName,
        unregister: bool,
        aptpl: bool,
    ) -> Translation:
        """REGISTER AND MOVE. Spec: SPC-4 5.13.8."""
        state = self.state
        if not self._authenticated(nexus, key):
            return RESERVATION_CONFLICT
        if state.type is None or state.type.all_registrants or not state.holds(nexus.key):
            return RESERVATION_CONFLICT
        moved = Registration(initiator, target, new_key)
        if new_key == 0 or moved.nexus_key == nexus.key or (aptpl and not self.may_persist):
            raise parameter_error()
        registrations = {**state.registrations, moved.nexus_key: moved}
        if unregister:
            del registrations[nexus.key]
        if len(registrations) > MAXIMUM_REGISTRATIONS:
            raise parameter_error(INSUFFICIENT_REGISTRATION_RESOURCES)
        after = state.advanced(registrations=registrations, holder=moved.nexus_key, aptpl=aptpl)
        yield from self._carry_registrations(after)
        self._commit(after)
        return GOOD

    def replace_lost(
        self, nexus: ITNexus, key: int, new_key: int, kind: ReservationType, *, aptpl: bool
    ) -> Translation:
        """REPLACE LOST RESERVATION. Spec: SPC-4 5.13.11.3."""
        yield from ()
        if not self.lost:
            raise parameter_error(INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
        if key or not new_key:
            raise parameter_error()
        own = Registration(nexus.initiator, nexus.target, new_key)
        state = State({own.nexus_key: own}, kind, own.nexus_key, aptpl=aptpl)
        self.lu.store.save(self.store_key, state.saved())  # in the place of what is damaged
        self.lost, self.state = "", state
        self.lu.on_change()
        return GOOD
