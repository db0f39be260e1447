"""The emulated controller's features. Spec: NVMe Base 2.0c 5.27."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scsi2nvme.drivers.emulated.identify import POWER_STATES, WARNING_TEMPERATURE_K
from scsi2nvme.drivers.emulated.model import (
    TEMPERATURE_K,
    CommandFailed,
    Model,
    invalid_field,
)
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID
from scsi2nvme.nvme.status import StatusCode

if TYPE_CHECKING:
    from scsi2nvme.drivers.emulated.admin import AdminQueue

CURRENT, DEFAULT, SAVED, CAPABILITIES = range(4)
_DULBE = 1 << 16
_CACHE, _WRITE_PROTECTION = 0x06, 0x84
_EVENTS = 0x1F | 1 << 8  # the critical warnings; namespace attribute notices
_HOST_ID_BYTES = {0: 8, 1: 16}  # by EXHID


@dataclass(frozen=True, slots=True)
class Feature:
    """A row: what a feature can do, its default, and what it takes.

    `check` refuses a CDW11 or returns what is kept of it; `apply` makes it
    so; `key` tells values of one feature apart (sensors, vectors).
    """

    default: int = 0
    check: Callable[[Features, int], int] = lambda features, value: value
    apply: Callable[[Features, Values], None] | None = None
    key: Callable[[int], int] = lambda value: 0
    saveable: bool = False
    changeable: bool = True
    per_namespace: bool = False
    data_bytes: Callable[[int], int] = lambda value: 0


class Features:
    """Current, default and saved values; those of the features with data as bytes."""

    def __init__(self, model: Model, admin: AdminQueue) -> None:
        self.model = model
        self.admin = admin
        self.values: dict[tuple[int, int, int], int] = {}  # (FID, NSID, key): CDW11
        self.host_id = {0: bytes(8), 1: bytes(16)}
        self.timestamp = (0, time.time(), 0)  # milliseconds, when they were set, origin

    def reset(self) -> None:
        """A controller level reset: what was not saved is forgotten."""
        self.values.clear()
        self.host_id = {0: bytes(8), 1: bytes(16)}
        self.model.set_temperature_alarm(False)
        self.model.set_write_cache(self.model.saved_write_cache)

    # ---- commands ----

    def _row(self, command: Values) -> tuple[int, Feature]:
        fid = command.cdw10 & 0xFF
        row = FEATURES.get(fid)
        if row is None:
            raise invalid_field(40)
        return fid, row

    def data_bytes(self, command: Values) -> int:
        """How much data a Set Features or Get Features command carries."""
        _, row = self._row(command)
        return row.data_bytes(command.cdw11)

    def _nsids(self, row: Feature, nsid: int) -> list[int]:
        if not row.per_namespace:
            return [0]
        return [namespace.nsid for namespace in self.model.selected(nsid)]

    def current(self, fid: int, nsid: int = 0, key: int = 0) -> int:
        """Return a current value."""
        if fid == _CACHE:
            return int(self.model.write_cache)
        if fid == _WRITE_PROTECTION:
            return self.model.namespace(nsid).write_protect
        row = FEATURES[fid]
        return self.values.get((fid, nsid, key), row.default)

    def get(self, command: Values) -> tuple[int, bytes]:
        """Return DW0 and data of a Get Features command."""
        fid, row = self._row(command)
        select = command.cdw10 >> 8 & 7
        if select > CAPABILITIES:
            raise invalid_field(41)
        if select == CAPABILITIES:
            return row.saveable | row.per_namespace << 1 | row.changeable << 2, b""
        if row.data_bytes(command.cdw11):
            return 0, _DATA_GETTERS[fid](self, command)
        if fid == 0x07:
            return self.admin.granted_queues(), b""
        if row.per_namespace and command.nsid == BROADCAST_NSID:
            raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
        nsid = self._nsids(row, command.nsid)[0]
        key = row.key(command.cdw11)
        value = self.current(fid, nsid, key)
        if select != CURRENT:
            value = self.model.default_write_cache if fid == _CACHE else row.default
        if select == SAVED:
            value = self.model.state.saved_features.get(f"{fid:02x}", value)
        return value, b""

    def set(self, command: Values, data: bytes) -> int:
        """Carry out a Set Features command; return DW0."""
        fid, row = self._row(command)
        save = command.cdw10 >> 31
        if save and not row.saveable:
            raise CommandFailed(StatusCode.FEATURE_NOT_SAVEABLE, 43)
        if not row.changeable:
            raise CommandFailed(StatusCode.FEATURE_NOT_CHANGEABLE, 40)
        if not row.per_namespace and command.nsid not in (0, BROADCAST_NSID):
            raise CommandFailed(StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC, 4)
        if data:
            _DATA_SETTERS[fid](self, command, data)
            return 0
        if fid == 0x07:
            return self.admin.set_number_of_queues(command.cdw11)
        value = row.check(self, command.cdw11)
        for nsid in self._nsids(row, command.nsid):
            self.values[fid, nsid, row.key(value)] = value
        if row.apply is not None:
            row.apply(self, command)
        if save:
            self.model.state.saved_features[f"{fid:02x}"] = value
            self.model.save()
        return 0


# ---- what single features check and do ----


def _power_state(features: Features, value: int) -> int:
    if value & 0x1F >= POWER_STATES:
        raise invalid_field(44)
    return value & 0xFF


def _threshold_key(value: int) -> int:
    return value >> 16 & 0x3F  # TMPSEL, THSEL


def _threshold(features: Features, value: int) -> int:
    selected, kind = value >> 16 & 0xF, value >> 20 & 3
    if selected not in (0, 1, 0xF) or kind > 1:
        raise invalid_field(46)
    return value & 0x3FFFFF


def _apply_threshold(features: Features, command: Values) -> None:
    """Compare the composite temperature with its thresholds."""
    value = command.cdw11
    if value >> 16 & 0xF == 0xF:  # all sensors: we compare the composite one
        features.values[0x04, 0, value >> 16 & 0x30] = value & 0x30FFFF
    over = features.values.get((0x04, 0, 0), WARNING_TEMPERATURE_K) & 0xFFFF
    under = features.values.get((0x04, 0, 0x10), 0) & 0xFFFF
    features.model.set_temperature_alarm(over <= TEMPERATURE_K or under >= TEMPERATURE_K)


def _error_recovery(features: Features, value: int) -> int:
    if value & _DULBE:
        raise invalid_field(46)
    return value & 0xFFFF


def _apply_cache(features: Features, command: Values) -> None:
    features.model.set_write_cache(bool(command.cdw11 & 1))


def _vector(features: Features, value: int) -> int:
    if value & 0xFFFF >= features.admin.vectors:
        raise invalid_field(44)
    return value & 0x1FFFF


def _protection(features: Features, value: int) -> int:
    if value & 7 > 2:  # permanent protection is not offered (NWPC)
        raise invalid_field(44)
    return value & 7


def _apply_protection(features: Features, command: Values) -> None:
    model = features.model
    for namespace in model.selected(command.nsid):
        if namespace.formatting is not None:
            raise CommandFailed(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
        namespace.write_protect = command.cdw11 & 7
        model.attach(namespace)
        model.emulator.flush(namespace.nsid)
        model.namespace_changed(namespace)
    model.save()


def _get_timestamp(features: Features, command: Values) -> bytes:
    milliseconds, since, origin = features.timestamp
    now = milliseconds + int((time.time() - since) * 1000)
    return (now & (1 << 48) - 1).to_bytes(6, "little") + bytes([origin << 1, 0])


def _set_timestamp(features: Features, command: Values, data: bytes) -> None:
    features.timestamp = (int.from_bytes(data[:6], "little"), time.time(), 1)


def _get_host_id(features: Features, command: Values) -> bytes:
    return features.host_id[command.cdw11 & 1]


def _set_host_id(features: Features, command: Values, data: bytes) -> None:
    features.host_id[command.cdw11 & 1] = data


_DATA_GETTERS = {0x0E: _get_timestamp, 0x81: _get_host_id}
_DATA_SETTERS = {0x0E: _set_timestamp, 0x81: _set_host_id}

FEATURES = {
    0x01: Feature(default=0x07),  # Arbitration: bursts without limit
    0x02: Feature(check=_power_state),
    0x04: Feature(
        default=WARNING_TEMPERATURE_K,
        check=_threshold,
        apply=_apply_threshold,
        key=_threshold_key,
    ),
    0x05: Feature(check=_error_recovery, per_namespace=True),
    _CACHE: Feature(check=lambda _, v: v & 1, apply=_apply_cache, saveable=True),
    0x07: Feature(),  # Number of Queues: the admin queue's affair
    0x08: Feature(check=lambda _, v: v & 0xFFFF),  # Interrupt Coalescing
    0x09: Feature(check=_vector, key=lambda v: v & 0xFFFF),  # Interrupt Vector Configuration
    0x0B: Feature(check=lambda _, v: v & _EVENTS),  # Asynchronous Event Configuration
    0x0E: Feature(data_bytes=lambda v: 8),  # Timestamp
    0x81: Feature(data_bytes=lambda v: _HOST_ID_BYTES[v & 1]),  # Host Identifier
    _WRITE_PROTECTION: Feature(check=_protection, apply=_apply_protection, per_namespace=True),
}
EVENT_CONFIGURATION = 0x0B
