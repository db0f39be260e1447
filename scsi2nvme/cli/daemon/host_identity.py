"""Which host a daemon is to disks that hosts share: for good, and each daemon another."""

from __future__ import annotations

from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme.admin import Feature
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.nvme.reservations import CTRATT_HOST_ID_128, ONCS_RESERVATIONS
from scsi2nvme.unit.store import UnsavedState
from scsi2nvme.uuids import random_uuid

_KEY = "host-identifier"
_BYTES, _SHORT_BYTES = 16, 8


class HostIdentity:
    """The Host Identifier, made when it is first wanted, and kept in the state directory."""

    def __init__(self, store: JsonStore) -> None:
        self._store = store

    def _identifier(self) -> bytes:
        """Return the identifier; OperationError if what is kept is damaged, or it cannot be."""
        saved = self._store.load(_KEY)
        if saved is None:
            made = random_uuid()
            try:
                self._store.save(_KEY, {"host": made.hex()})
            except UnsavedState as error:
                raise OperationError(str(error)) from None
            return made
        try:
            found = bytes.fromhex(saved["host"])
        except (KeyError, TypeError, ValueError):
            found = b""
        if len(found) != _BYTES or not any(found[:_SHORT_BYTES]):
            raise self._store.damaged(_KEY, "host: is not 16 bytes in hexadecimal")
        return found

    def of(self, controller: Controller) -> bytes:
        """Return what a controller is told: 16 bytes, or the first 8 where it takes no more."""
        long = controller.identity.ctratt & CTRATT_HOST_ID_128
        return self._identifier()[: _BYTES if long else _SHORT_BYTES]

    def check(self, controller: Controller) -> None:
        """See that a controller keeps reservations; OperationError if it does not."""
        if not controller.identity.oncs & ONCS_RESERVATIONS:
            raise OperationError("it keeps no reservations; leave reservations=disk out")

    async def introduce(self, controller: Controller) -> None:
        """Tell a controller who we are; OperationError if it keeps no reservations.

        A reset undoes it, and the driver does it again.
        """
        self.check(controller)
        host = self.of(controller)
        try:
            await controller.commands.set_feature(
                Feature.HOST_IDENTIFIER, int(len(host) == _BYTES), data_out=host
            )
        except ControllerError as error:
            raise OperationError(f"it takes no Host Identifier: {error}") from error
