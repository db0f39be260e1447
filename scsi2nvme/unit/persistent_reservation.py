"""Registrations and the persistent reservation as a value, and how it is saved.

Spec: SPC-4 5.13.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, field, replace
from enum import IntEnum
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.typed import table
from scsi2nvme.unit.ports import ISCSI_NAME_BYTES, PortName, nexus_key

# READ FULL STATUS of all of them must stay readable through a 16-bit allocation length.
MAXIMUM_REGISTRATIONS = 256
# Lower case may lengthen a name.
_NAME_BYTES = 2 * ISCSI_NAME_BYTES


class ReservationType(IntEnum):
    """TYPE of a persistent reservation. Spec: SPC-4 6.15.3.4."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8

    @property
    def all_registrants(self) -> bool:
        """Whether every registrant is a holder."""
        return self >= self.WRITE_EXCLUSIVE_ALL_REGISTRANTS

    @property
    def admits_registrants(self) -> bool:
        """Whether a registrant may do what the holder may."""
        return self >= self.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    @property
    def excludes_reads(self) -> bool:
        """Whether reading is restricted too."""
        return self in (
            self.EXCLUSIVE_ACCESS,
            self.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
            self.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
        )


@dataclass(frozen=True)
class Registration:
    """A reservation key that an I_T nexus registered."""

    initiator: PortName
    target: PortName
    key: int

    @property
    def nexus_key(self) -> str:
        """The key of the nexus, as `Nexus.key`."""
        return nexus_key(self.initiator, self.target)


@dataclass(frozen=True)
class HostRegistration(Registration):
    """What another host has registered with a disk that keeps reservations.

    Its nexuses are not known: `initiator` stands for all of them.
    """


@dataclass(frozen=True)
class State:
    """Everything that PERSISTENT RESERVE OUT changes; replaced as a whole.

    `registrations` is by nexus key. `holder` is a nexus key, meaningless for
    the all registrants types.
    """

    registrations: Mapping[str, Registration] = field(default_factory=dict)
    type: ReservationType | None = None
    holder: str = ""
    generation: int = 0
    aptpl: bool = False

    def holds(self, nexus_key: str) -> bool:
        """Whether a nexus is the, or a, persistent reservation holder."""
        if self.type is None:
            return False
        if self.type.all_registrants:
            return nexus_key in self.registrations
        return nexus_key == self.holder

    def advanced(self, **changes: Any) -> State:
        """Return the state after a service action that counts in PRGENERATION."""
        return replace(self, generation=(self.generation + 1) & 0xFFFFFFFF, **changes)

    def without(self, gone: Collection[str]) -> State:
        """Return the state after these nexuses lost their registrations."""
        left = {key: each for key, each in self.registrations.items() if key not in gone}
        survives = self.type is not None and (
            bool(left) if self.type.all_registrants else self.holder in left
        )
        if survives:
            return replace(self, registrations=left)
        return replace(self, registrations=left, type=None, holder="")

    def saved(self) -> dict[str, Any]:
        """Return what outlives a power cycle, as a JSON object; nothing without APTPL."""
        if not self.aptpl:
            return {"aptpl": False}
        return {
            "aptpl": True,
            "type": None if self.type is None else int(self.type),
            "holder": self.holder,
            "registrations": [
                {
                    "initiator": _saved_port(each.initiator),
                    "target": _saved_port(each.target),
                    "key": each.key,
                }
                for each in self.registrations.values()
            ],
        }


def _saved_port(port: PortName) -> dict[str, Any]:
    return {**asdict(port), "isid": port.isid.hex()}


@dataclass(frozen=True)
class _SavedPort:
    """A port as `_saved_port` writes it down."""

    device: str
    isid: str
    portal_group_tag: int

    def __post_init__(self) -> None:
        if len(self.device.encode()) > _NAME_BYTES:
            raise ValueError(f"device: is longer than {_NAME_BYTES} bytes")
        if not re.fullmatch("(?:[0-9a-f]{12})?", self.isid):
            raise ValueError("isid: is not 6 bytes in hexadecimal")
        if not 0 <= self.portal_group_tag <= 0xFFFF:
            raise ValueError("portal_group_tag: is not between 0 and 65535")

    def name(self) -> PortName:
        return PortName(self.device, bytes.fromhex(self.isid), self.portal_group_tag)


@dataclass(frozen=True)
class _SavedRegistration:
    initiator: _SavedPort
    target: _SavedPort
    key: int

    def __post_init__(self) -> None:
        if not 0 < self.key < 1 << 64:
            raise ValueError("key: is not 8 bytes other than zero")


@dataclass(frozen=True)
class _SavedState:
    """What `State.saved` returns."""

    aptpl: bool
    type: int | None = None
    holder: str = ""
    registrations: tuple[_SavedRegistration, ...] = ()

    def __post_init__(self) -> None:
        if self.type is not None and self.type not in list(ReservationType):
            raise ValueError("type: is no type of persistent reservations")
        if len(self.registrations) > MAXIMUM_REGISTRATIONS:
            raise ValueError(f"registrations: are more than {MAXIMUM_REGISTRATIONS}")


def restored(value: Mapping[str, Any]) -> State:
    """Return the state that `State.saved` described. PRGENERATION starts from zero.

    Raises ValueError if `value` does not describe one: serving without the
    reservation that it meant would let others through.
    """
    saved = table(value, _SavedState)
    if not saved.aptpl:
        return State()
    registrations = [
        Registration(each.initiator.name(), each.target.name(), each.key)
        for each in saved.registrations
    ]
    state = State(
        {each.nexus_key: each for each in registrations},
        None if saved.type is None else ReservationType(saved.type),
        saved.holder,
        aptpl=True,
    )
    if len(state.registrations) < len(registrations):
        raise ValueError("registrations: an I_T nexus is there twice")
    if state.without(()) != state:
        raise ValueError("holder: is not registered")
    return state
