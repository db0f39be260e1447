"""What a change would be refused for, found out without making it: `reload --dry-run`.

Controllers that would come are brought up as far as that leaves no trace, and let go of. Of a disk
that another SPEC of ours has as yet, some transports can try nothing: it is taken for what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack

from scsi2nvme.cli import controllers
from scsi2nvme.cli.config import Settings, TargetSettings
from scsi2nvme.cli.daemon.front_ends.front_end import Coming, FrontEnd, Prospect, Served
from scsi2nvme.cli.daemon.host_identity import HostIdentity
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.naming import disk_name
from scsi2nvme.drivers.nvme.controller import Controller


class Rehearsal:
    """Tries what would be done with the controllers that are `served`, and with front ends."""

    def __init__(
        self, served: Sequence[Served], host: HostIdentity, front_ends: Sequence[FrontEnd]
    ) -> None:
        self._served = served
        self._host = host
        self._front_ends = front_ends

    async def play(
        self, come: Sequence[TargetSettings], going: Collection[int], settings: Settings
    ) -> None:
        """See that controllers could come, and front ends be configured; errors say why not.

        `going` are the numbers of controllers that would have gone before.
        """
        async with AsyncExitStack() as stack:
            coming = [await self._try(target, going, stack) for target in come]
            prospect = Prospect(tuple(coming), frozenset(going))
            for front_end in self._front_ends:
                front_end.check(settings, prospect)

    async def _try(
        self, target: TargetSettings, going: Collection[int], stack: AsyncExitStack
    ) -> Coming:
        """Bring a controller up until `stack` ends; return what it would be."""
        place = target.spec.place
        holders = [
            one
            for one in self._served
            if one.number in going and place and one.settings.spec.place == place
        ]
        tried = await controllers.rehearse_controller(target.spec, held=bool(holders))
        if tried is not None:
            stack.push_async_callback(tried.close)
        controller = holders[0].controller if tried is None else tried
        if target.spec.reservations_on_disk:
            try:
                self._host.check(controller)
            except OperationError as error:
                raise OperationError(f"controller {target.spec.text!r}: {error}") from None
        return _coming(target, controller)


def _coming(target: TargetSettings, controller: Controller) -> Coming:
    iqn = target.name(disk_name(controller.identity)) if target.own else ""
    luns = frozenset(nsid - 1 for nsid in controller.namespaces)
    return Coming(target.spec.text, iqn, luns)
