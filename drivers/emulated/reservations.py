"""The rules of reservations, of one namespace: who is registered, who holds it, who may do what.

Hosts are told apart by names, whatever these are. Spec: NVMe Base 2.0c 8.19, 7.2 to 7.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.nvme.reservations import Acquire, Notice, Register, Release, ReservationType
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.records import dataclass

DENY_READ, DENY_WRITE = 1, 2
_CLEAR_PTPL, _SET_PTPL = 2, 3  # CPTPL
_AT_KEY = 40  # byte of CDW10


def _conflict() -> CommandFailed:
    return CommandFailed(StatusCode.RESERVATION_CONFLICT)


@dataclass
class Reservation:
    """What is known of a namespace: registrants and their keys, by host.

    `notices` collects what hosts are to be told of, until somebody takes it. A method that
    raises CommandFailed has changed nothing.
    """

    generation: int = 0
    type: int = 0
    holder: str = ""  # meaningless for the all registrants types
    ptpl: bool = False
    keys: dict[str, int] = field(default_factory=dict)
    notices: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.type not in range(7) or not 0 <= self.generation < 1 << 32:
            raise ValueError("is no reservation")
        if not all(0 <= key < 1 << 64 for key in self.keys.values()):
            raise ValueError("a reservation key is no 64-bit number")
        if self.type and not self._held():
            raise ValueError("nobody holds the reservation")

    def holds(self, host: str) -> bool:
        """Whether a host is the, or a, holder."""
        if not self.type:
            return False
        return host in self.keys if self._kind.all_registrants else host == self.holder

    def denied(self, host: str) -> int:
        """Return what a host may not do: DENY_READ, DENY_WRITE."""
        if not self.type or self.holds(host):
            return 0
        if self._kind.admits_registrants and host in self.keys:
            return 0
        return DENY_WRITE | DENY_READ * self._kind.excludes_reads

    @property
    def _kind(self) -> ReservationType:
        return ReservationType(self.type)

    def _held(self) -> bool:
        return bool(self.keys) if self._kind.all_registrants else self.holder in self.keys

    def _tell(self, hosts: Iterable[str], what: Notice, but: str) -> None:
        self.notices += [(host, int(what)) for host in hosts if host != but]

    def _advance(self) -> None:
        self.generation = (self.generation + 1) & 0xFFFFFFFF

    def _free(self) -> None:
        self.type, self.holder = 0, ""

    def _authenticate(self, host: str, key: int) -> None:
        if self.keys.get(host) != key:
            raise _conflict()

    def set_ptpl(self, change: int) -> None:
        """Do what CPTPL says."""
        if change in (_CLEAR_PTPL, _SET_PTPL):
            self.ptpl = change == _SET_PTPL

    def power_lost(self) -> None:
        """Forget what does not persist."""
        self.notices.clear()
        self.generation = 0
        if not self.ptpl:
            self.keys.clear()
            self._free()

    def register(self, host: str, action: int, key: int, new: int, *, ignore: bool) -> None:
        """Reservation Register; `ignore`: whatever its key is now."""
        own = self.keys.get(host)
        match action:
            case Register.REGISTER:
                if own not in (None, new):
                    raise _conflict()
                self.keys[host] = new
            case Register.UNREGISTER:
                if own is None or (own != key and not ignore):
                    raise _conflict()
                self.unregister(host)
            case Register.REPLACE:
                if not ignore and (own is None or own != key):
                    raise _conflict()
                self.keys[host] = new
            case _:
                raise invalid_field(_AT_KEY)
        self._advance()

    def unregister(self, host: str) -> None:
        """Forget a host, and the reservation with its last holder."""
        shared = bool(self.type) and self._kind.admits_registrants
        self.keys.pop(host, None)
        if self.type and not self._held():
            self._free()
            if shared:
                self._tell(self.keys, Notice.RESERVATION_RELEASED, host)

    def acquire(self, host: str, action: int, kind: int, key: int, victim: int) -> None:
        """Reservation Acquire."""
        if action not in list(Acquire):
            raise invalid_field(_AT_KEY)
        if kind not in list(ReservationType):
            raise invalid_field(_AT_KEY + 1)
        self._authenticate(host, key)
        if action != Acquire.ACQUIRE:
            self._preempt(host, kind, victim)
        elif not self.type:
            self.type, self.holder = kind, host
        elif not self.holds(host) or kind != self.type:
            raise _conflict()

    def _preempt(self, host: str, kind: int, victim: int) -> None:
        before = ReservationType(self.type) if self.type else None
        shared = before is not None and before.all_registrants
        if victim == 0 and not shared:
            raise invalid_field(_AT_KEY)
        gone = [each for each, key in self.keys.items() if victim in (0, key)]
        if not gone:
            raise _conflict()
        takes_over = victim == 0 if shared else self.holder in gone
        if takes_over and host in gone:
            gone.remove(host)
        held = [each for each in gone if self.holds(each)]
        for each in gone:
            del self.keys[each]
        self._tell(gone, Notice.REGISTRATION_PREEMPTED, host)
        if takes_over:
            self._tell(held, Notice.RESERVATION_PREEMPTED, host)
            if before is not None and before.admits_registrants and before != kind:
                self._tell(self.keys, Notice.RESERVATION_RELEASED, host)
            self.type, self.holder = kind, host
        elif self.type and not self._held():
            self._free()
        self._advance()

    def release(self, host: str, action: int, kind: int, key: int) -> None:
        """Reservation Release."""
        if action not in list(Release):
            raise invalid_field(_AT_KEY)
        self._authenticate(host, key)
        if action == Release.CLEAR:
            self._tell(self.keys, Notice.RESERVATION_PREEMPTED, host)
            self.keys.clear()
            self._free()
            self._advance()
        elif self.holds(host):
            if kind != self.type:
                raise invalid_field(_AT_KEY + 1)
            if self._kind.admits_registrants:
                self._tell(self.keys, Notice.RESERVATION_RELEASED, host)
            self._free()
