"""Set Features and Get Features. Spec: NVMe Base 2.0c 5.15, 5.27."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Feature,
    Part,
)
from scsi2nvme.drivers.emulated.model import NCC, CommandFailed, invalid_field, saved_key
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode
from scsi2nvme.nvme.status import StatusCode

_CURRENT, _DEFAULT, _SAVED, _CAPABILITIES = range(4)
_ONCS_SAVE_AND_SELECT = 1 << 4


class Features(Part):
    """Values that were set, since the last reset: by FID, NSID (0: of the controller), key."""

    def __init__(self, controller: Controller) -> None:
        self._rows = controller.tables.features
        self._saved = controller.model.state.saved_features
        self.values: dict[tuple[int, int, int], int] = {}

    def reset(self) -> None:
        """See Part: what was not saved is forgotten."""
        self.values.clear()

    def current(self, fid: int, nsid: int = 0, key: int = 0) -> int:
        """Return a value that was set, what was saved of it, or the default."""
        saved = self._saved.get(saved_key(fid), self._rows[fid].default)
        return self.values.get((fid, nsid, key), saved)


def _row(controller: Controller, command: Values) -> Feature:
    row = controller.tables.features.get(command.cdw10 & 0xFF)
    if row is None:
        raise invalid_field(40)
    return row


def _nsids(controller: Controller, row: Feature, nsid: int) -> list[int]:
    if not row.per_namespace:
        return [0]
    return [namespace.nsid for namespace in controller.model.selected(nsid)]


def _value(controller: Controller, row: Feature, select: int, nsid: int, key: int) -> int:
    """Return a feature's current, default or saved value."""
    if select == _CURRENT:
        if row.current is not None:
            return row.current(controller, nsid)
        return controller.part(Features).current(row.fid, nsid, key)
    value = row.default if row.default_of is None else row.default_of(controller)
    if select == _SAVED:
        return controller.model.state.saved_features.get(saved_key(row.fid), value)
    return value


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    """Return DW0 and data of a Get Features command."""
    row = _row(controller, command)
    select = command.cdw10 >> 8 & 7
    if select > _CAPABILITIES:
        raise invalid_field(41)
    if select == _CAPABILITIES:
        return row.saveable | row.per_namespace << 1 | row.changeable << 2, b""
    if row.get is not None:
        return row.get(controller, command)
    if row.per_namespace and command.nsid == BROADCAST_NSID:
        raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
    nsid = _nsids(controller, row, command.nsid)[0]
    return _value(controller, row, select, nsid, row.key(command.cdw11)), b""


def _get_features(controller: Controller, command: Values) -> int:
    dw0, data = _get(controller, command)
    if data:
        controller.to_host(command, data)
    return dw0


def _set_features(controller: Controller, command: Values) -> int:
    row = _row(controller, command)
    length = row.data_bytes(command.cdw11)
    data = controller.from_host(command, length) if length else b""
    save = command.cdw10 >> 31
    if save and not row.saveable:
        raise CommandFailed(StatusCode.FEATURE_NOT_SAVEABLE, 43)
    if not row.changeable:
        raise CommandFailed(StatusCode.FEATURE_NOT_CHANGEABLE, 40)
    if not row.per_namespace and command.nsid not in (0, BROADCAST_NSID):
        raise CommandFailed(StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC, 4)
    if row.put is not None:
        return row.put(controller, command, data)
    value = row.check(controller, command.cdw11)
    for nsid in _nsids(controller, row, command.nsid):
        controller.part(Features).values[row.fid, nsid, row.key(value)] = value
    if row.apply is not None:
        row.apply(controller, command)
    if save:
        controller.model.state.saved_features[saved_key(row.fid)] = value
        controller.model.save()
    return 0


CAPABILITY = Capability(
    "features",
    commands=(
        AdminCommand(AdminOpcode.SET_FEATURES, _set_features, NCC),
        AdminCommand(AdminOpcode.GET_FEATURES, _get_features),
    ),
    controller=lambda controller: {"oncs": _ONCS_SAVE_AND_SELECT},
    start=Features,
)
