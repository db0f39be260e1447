"""Reservations that the disk keeps as well, for a disk that several hosts share.

To the disk all of a daemon is one host, which it knows by a Host Identifier: it can tell hosts from
each other, but not the initiators of one of them. So the table of `Reservations` tells these, and
the disk is told what its host is: a registrant as long as any nexus here is one, with the one key
that they all have, and holder if one of them is. What cannot be told so is refused: a second key.
Then a key names the same registrants here, on the disk and at every other host, and whatever is
acknowledged holds on the disk, for all of them.

`state` is both together: the nexuses here, and each other host as one registrant. Others may have
changed it: it is learned anew, by Reservation Report, before each service action and answer, before
each command that a reservation may stop, but for those of the hot path, which the disk stops, when
the disk notifies us, and when it has stopped a command. The nexuses here are told then what others
have done to them.

Spec: NVMe Base 2.0c 8.19, 7.2 to 7.5; SPC-4 5.13.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import field, replace
from typing import Protocol

from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.reservations import (
    ACQUIRE_DATA,
    EXTENDED_DATA,
    EXTENDED_STATUS_BYTES,
    IGNORE_KEY,
    PTPL_CLEAR,
    PTPL_SET,
    REGISTER_DATA,
    REGISTERED_CONTROLLER,
    REGISTERED_CONTROLLER_EXTENDED,
    RELEASE_DATA,
    RESERVATION_STATUS,
    Acquire,
    Register,
    Release,
)
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import GOOD, CheckCondition, Errand, Progress, Translation
from scsi2nvme.scsi.sense import (
    INSUFFICIENT_REGISTRATION_RESOURCES,
    INTERNAL_TARGET_FAILURE,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    REGISTRATIONS_PREEMPTED,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    Sense,
    SenseCode,
)
from scsi2nvme.unit.persistent_reservation import (
    HostRegistration,
    Registration,
    ReservationType,
    State,
    restored,
)
from scsi2nvme.unit.ports import ITNexus, PortName
from scsi2nvme.unit.reservations import (
    Access,
    Owner,
    Reservations,
    Row,
    Steps,
    parameter_error,
)
from scsi2nvme.unit.store import load_as

_LONG = 16  # bytes of a Host Identifier that needs the extended data structures
_REPORT_BYTES = 4096
_MOST_REPORT_BYTES = 256 << 10
_PTPL_CAPABLE = 1 << 0  # RESCAP; the types follow, by their numbers
_TURN_S = 0.005  # between looks whether another service action has ended
_HOST = "host "  # begins what stands for the initiators of a host: no port's name has a space

_TO_NVME = {
    ReservationType.WRITE_EXCLUSIVE: 1,
    ReservationType.EXCLUSIVE_ACCESS: 2,
    ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY: 3,
    ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: 4,
    ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS: 5,
    ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS: 6,
}
_TO_SCSI: dict[int, ReservationType | None] = {number: kind for kind, number in _TO_NVME.items()}
_TO_SCSI[0] = None


class DiskOwner(Owner, Protocol):
    """What is needed of the logical unit besides."""

    @property
    def nsid(self) -> int:
        """The namespace's identifier."""

    @property
    def rescap(self) -> int:
        """Its reservation capabilities."""


@dataclass(frozen=True)
class View:
    """What the disk says of a namespace: hosts by their identifiers, with their keys."""

    keys: Mapping[bytes, int] = field(default_factory=dict)
    type: ReservationType | None = None
    holder: bytes = b""  # meaningless for the all registrants types
    generation: int = 0
    ptpl: bool = False


def parse_report(data: bytes, length: int) -> View:
    """Decode a Reservation Report with Host Identifiers of so many bytes; ValueError if it is none.

    A host has an entry for each of its controllers.
    """
    long = length == _LONG
    row = REGISTERED_CONTROLLER_EXTENDED if long else REGISTERED_CONTROLLER
    at = EXTENDED_STATUS_BYTES if long else RESERVATION_STATUS.size
    header = RESERVATION_STATUS.parse(data)
    if header.rtype not in _TO_SCSI or at + header.regctl * row.size > len(data):
        raise ValueError("is no report of reservations")
    keys: dict[bytes, int] = {}
    holder = b""
    for number in range(header.regctl):
        one = row.parse(data[at + number * row.size :][: row.size])
        host = one.hostid.to_bytes(length, "little")
        if one.rkey:
            keys[host] = one.rkey
        holder = host if one.holds else holder
    kind = _TO_SCSI[header.rtype]
    if kind is not None and not kind.all_registrants and holder not in keys:
        raise ValueError("nobody holds the reservation")
    return View(keys, kind, holder, header.gen, bool(header.ptpls))


class DiskReservations(Reservations):
    """Reservations of a namespace whose controller knows us as `host`, 8 or 16 bytes.

    `settled` is what waits until all has ended that the hot path began before; the composition
    sets it.
    """

    on_disk = True

    def __init__(self, lu: DiskOwner, host: bytes) -> None:
        self.disk = lu
        self.host = host
        self.view = View()
        self._known = False  # whether the disk was asked at all
        self._busy = self._joins = False
        self._borrower: object = None  # of our host's name
        self.settled: Callable[[], Errand | None] = lambda: None
        self._asked = self._heard = self._changes = 0
        super().__init__(lu)
        self.own = self.state

    @property
    def store_key(self) -> str:
        """What they are saved under."""
        return f"disk-reservations-{self.lu.state_key}"

    def _load(self) -> State:
        return load_as(self.lu.store, self.store_key, "", restored) or State()

    # ---- what the disk says ----

    def offers(self, kind: ReservationType) -> bool:
        """See Reservations."""
        return bool(self.disk.rescap >> _TO_NVME[kind] & 1)

    @property
    def may_persist(self) -> bool:
        """See Reservations."""
        return bool(self.disk.rescap & _PTPL_CAPABLE)

    def refresh(self) -> Steps:
        """See Reservations; raises CheckCondition if what the disk says makes no sense."""
        yield from self._learn(mine=False)

    def _learn(self, *, mine: bool) -> Steps:
        """Be what the disk says; `mine`: for the service action that is under way.

        What it said before one has changed it, or before a later answer, holds no more. One that
        has asked later knows all that we want to: many of them do not keep us from learning it.
        """
        first = self._asked + 1
        while self._heard <= first:
            self._asked += 1
            turn, changes = self._asked, self._changes
            view = yield from self._reported()
            if mine or not (self._busy or changes != self._changes):
                if turn > self._heard:
                    self._heard = turn
                    self._follow(view)
                return
            while self._busy and self._heard <= first:
                yield Progress(0, _TURN_S)

    def _reported(self) -> Generator[NvmeCommand, Completion, View]:
        size = _REPORT_BYTES
        extended = EXTENDED_DATA if len(self.host) == _LONG else 0
        while True:
            command = NvmeCommand(
                Opcode.RESERVATION_REPORT, self.disk.nsid, size // 4 - 1, extended, data_in=size
            )
            data = (yield command).data
            needed = EXTENDED_STATUS_BYTES * (RESERVATION_STATUS.parse(data).regctl + 1)
            if needed <= size or size == _MOST_REPORT_BYTES:
                break
            size = min(-(-needed // _REPORT_BYTES) * _REPORT_BYTES, _MOST_REPORT_BYTES)
        try:
            return parse_report(data, len(self.host))
        except ValueError:
            raise CheckCondition(Sense(INTERNAL_TARGET_FAILURE)) from None

    def look(self) -> Translation:
        """Learn what others have done, as nobody asks for: a translation for the background."""
        yield from self.refresh()
        return GOOD

    def _follow(self, view: View) -> None:
        """Be what the disk says, and tell the nexuses here what others have done to them."""
        before, self.view = self.view, view
        key, own = view.keys.get(self.host), self.own
        told: SenseCode | None = None
        if key is None and own.registrations:
            told = REGISTRATIONS_PREEMPTED if view.keys else RESERVATIONS_PREEMPTED
            if self._known and view.generation < before.generation:  # it had no power meanwhile
                told = POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
            self._keep(State())
        elif key is not None and any(each.key != key for each in own.registrations.values()):
            # We have ended before we knew what had become of a change of ours.
            mine = {name: replace(each, key=key) for name, each in own.registrations.items()}
            self._keep(replace(own, registrations=mine))
        elif before.type is not None and before.type.admits_registrants:
            told = RESERVATIONS_RELEASED if view.type != before.type else None
        state = self._together()
        changed = not self._known or state != self.state
        self._known, self.state = True, state
        if changed:
            self.lu.on_change()
        if told is not None:
            for name in own.registrations:
                self.lu.establish_attention(told, only=name)
        self.lu.epoch.advance()  # no answer is kept: others change it any time

    def _together(self) -> State:
        """Return what the nexuses here and the other hosts are together."""
        view, own = self.view, self.own
        registrations: dict[str, Registration] = {}
        holder = ""
        for host, key in view.keys.items():
            if host == self.host and own.registrations:
                registrations |= own.registrations
                first = next(iter(own.registrations))
                name = own.holder if own.holder in own.registrations else first
            else:
                port = PortName(_HOST + host.hex())
                each = HostRegistration(port, port, key)
                name = each.nexus_key
                registrations[name] = each
            if host == view.holder:
                holder = name
        if view.type is None or view.type.all_registrants:
            holder = ""
        return State(registrations, view.type, holder, view.generation, view.ptpl)

    def _keep(self, own: State) -> None:
        """Keep who is registered here, durably: the disk has not lost power where we have ended."""
        if own != self.own:
            self.lu.store.save(self.store_key, replace(own, aptpl=True).saved())
            self.own = own

    # ---- one service action at a time ----

    def enter(self) -> Steps:
        """See Reservations."""
        while self._busy:
            yield Progress(0, _TURN_S)
        self._busy = True
        try:
            yield from self._learn(mine=True)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """See Reservations."""
        self._busy = False
        self._changes += 1

    def lend(self, borrower: object) -> Translation:
        """Have `borrower` tell the disk of reservations in our host's name, until `taken_back`.

        What our host is to the disk then, no nexus here that is not registered may be by it: none
        of these is hot meanwhile, nor before it is learned what has become of it.
        """
        yield from self.enter()
        self._borrower = borrower
        self._joins = True
        self.lu.on_change()
        settled = self.settled()
        if settled is not None:
            yield settled
        return GOOD

    def taken_back(self, borrower: object) -> bool:
        """End it, whether or not it was lent to whom has waited for that; `look` is to follow."""
        if self._borrower is not borrower:
            return False
        self._borrower = None
        self._joins = self._known = False
        self.leave()
        return True

    def _commit(self, state: State) -> None:
        own = {
            name: each
            for name, each in state.registrations.items()
            if not isinstance(each, HostRegistration)
        }
        keys = {
            bytes.fromhex(each.initiator.device.removeprefix(_HOST)): each.key
            for each in state.registrations.values()
            if isinstance(each, HostRegistration)
        }
        for each in own.values():
            keys[self.host] = each.key
        held = state.type is not None and (state.holder in own or state.type.all_registrants)
        kept = State(own, state.type if held and own else None, state.holder if held else "")
        self._keep(kept)
        holder = self.host if held else self.view.holder
        changed = (state.registrations, state.aptpl) != (self.state.registrations, self.state.aptpl)
        generation = state.generation if changed else self.view.generation
        self.view = View(keys, state.type, holder, generation, state.aptpl)
        self.state = self._together()
        self.lu.on_change()

    def _is_here(self, key: str) -> bool:
        return not key.startswith(_HOST)

    # ---- what the disk is told ----

    @property
    def _key(self) -> int | None:
        return self.view.keys.get(self.host)

    def _register(self, action: Register, key: int, new: int, flags: int = 0) -> NvmeCommand:
        data = REGISTER_DATA.build(crkey=key, nrkey=new)
        nsid = self.disk.nsid
        return NvmeCommand(Opcode.RESERVATION_REGISTER, nsid, action | flags, data_out=data)

    def _acquire(self, action: Acquire, kind: ReservationType, victim: int = 0) -> NvmeCommand:
        data = ACQUIRE_DATA.build(crkey=self._key or 0, prkey=victim)
        cdw10 = action | _TO_NVME[kind] << 8
        return NvmeCommand(Opcode.RESERVATION_ACQUIRE, self.disk.nsid, cdw10, data_out=data)

    def _release(self, action: Release) -> NvmeCommand:
        kind = self.view.type
        cdw10 = action | (0 if kind is None else _TO_NVME[kind] << 8)
        data = RELEASE_DATA.build(crkey=self._key or 0)
        return NvmeCommand(Opcode.RESERVATION_RELEASE, self.disk.nsid, cdw10, data_out=data)

    def _carry_registrations(self, after: State) -> Steps:
        here = [each for name, each in after.registrations.items() if self._is_here(name)]
        keys = {each.key for each in here}
        if len(keys) > 1:  # the disk would know but one of them
            raise parameter_error(INSUFFICIENT_REGISTRATION_RESOURCES)
        persists = PTPL_SET if after.aptpl else PTPL_CLEAR
        if not self.may_persist:
            persists = 0
        if keys and self.state.type is not None and after.type is None:
            yield self._release(Release.RELEASE)
        if keys and self._key is None:
            yield from self._join(self._register(Register.REGISTER, 0, keys.pop(), persists))
        elif keys:
            yield self._register(Register.REPLACE, self._key or 0, keys.pop(), persists)
        elif self._key is not None:
            yield self._register(Register.UNREGISTER, self._key, 0, persists)

    def _join(self, command: NvmeCommand) -> Steps:
        """Become a registrant of the disk, which stops none of our nexuses from then on.

        So it is for us to stop those that are not registered here, before it is, and for as long
        as we do not know whether it is.
        """
        self._joins = True
        self.lu.on_change()
        try:
            settled = self.settled()
            if settled is not None:
                yield settled
            yield command
        except BaseException:
            self._known = False
            raise
        finally:
            self._joins = False

    def _carry_reserve(self, kind: ReservationType) -> Steps:
        yield self._acquire(Acquire.ACQUIRE, kind)

    def _carry_release(self) -> Steps:
        yield self._release(Release.RELEASE)

    def _carry_clear(self) -> Steps:
        yield self._release(Release.CLEAR)

    def _carry_preempt(
        self, after: State, victim: int, kind: ReservationType, *, abort: bool
    ) -> Steps:
        stays = any(map(self._is_here, after.registrations))
        others = {key for host, key in self.view.keys.items() if host != self.host}
        if stays or victim in others:
            action = Acquire.PREEMPT_AND_ABORT if abort else Acquire.PREEMPT
            yield self._acquire(action, kind, victim)
        if not stays:  # it has preempted itself, which not every disk does with it
            yield self._register(Register.REGISTER, 0, self._key or 0, IGNORE_KEY)
            yield self._register(Register.UNREGISTER, 0, 0, IGNORE_KEY)

    # ---- who may do what ----

    def must_refresh(self, nexus: ITNexus, command: Row, cdb: Values) -> bool:
        """See Reservations: the hot path's commands alone leave it to the disk to stop them."""
        return command.access in (Access.READ, Access.WRITE) and not command.never_conflicts(cdb)

    def restricts(self, nexus: ITNexus) -> bool:
        """See Reservations; to the disk, who is not registered here is as one who is."""
        if self.reserved_by is not None:
            return self.reserved_by != nexus.key
        if nexus.key not in self.own.registrations:
            return self._joins or not self._known or self._key is not None
        alone = self.state.type is not None and not self.state.type.admits_registrants
        return alone and self.view.holder == self.host and not self.state.holds(nexus.key)
