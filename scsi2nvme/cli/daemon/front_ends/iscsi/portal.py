"""The iSCSI portal as a front end: each controller a target, each namespace a LUN."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from scsi2nvme.cli import config
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.daemon import descriptors
from scsi2nvme.cli.daemon.front_ends.front_end import Served, Serving
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.target.iscsi.admission import Limits
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings
from scsi2nvme.unit.logical_unit import LogicalUnit

log = logging.getLogger(__name__)

LEAST_CONNECTIONS = 16  # whatever the limit of open files
LOGOUT_SECONDS = 5.0  # how long initiators have to log out at the end


class IscsiFrontEnd:
    """One portal group with all targets. LUN n is namespace n + 1."""

    def __init__(self, serving: Serving) -> None:
        self.requests: Mapping[str, Callable[[], Any]] = {}
        self._portals = serving.settings.portals
        self._served = serving.served
        self._nodes = {one.settings.iqn: _node(one, serving.settings) for one in serving.served}
        login = LoginSettings(discovery_chap=_chap(serving.settings.discovery_chap, None))
        settings = PortalSettings(
            login,
            _limits(),
            ping=serving.settings.ping_s,
            ping_timeout=serving.settings.ping_timeout_s,
            cold_reset=serving.settings.cold_reset,
        )
        self._portal = Portal(serving.service, self._nodes, settings)

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen; initiators are asked to log out when `stack` ends."""
        try:
            await self._portal.listen(self._portals)
        except OSError as error:
            where = ", ".join(str(portal) for portal in self._portals)
            raise OperationError(
                f"portal {where}: {error.strerror or error}; choose another with --portal"
            ) from None
        stack.push_async_callback(self._portal.drain, LOGOUT_SECONDS)

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """Nothing of a portal lies with a controller."""

    def status(self) -> Mapping[str, Any]:
        """Sessions are not shown."""
        return {}

    def greeting(self) -> Iterator[str]:
        """Yield every target and LUN, and how to try them."""
        addresses = self._portal.addresses
        yield "Serving on " + ", ".join(str(address) for address in addresses) + ":"
        for served, node in zip(self._served, self._nodes.values(), strict=True):
            yield f"  target {node.iqn}  ({served.settings.spec.text})"
            for lun, lu in node.logical_units.items():
                size = lu.capacity_blocks * lu.block_bytes / (1 << 30)
                url = f"iscsi://{addresses[0]}/{node.iqn}/{lun}"
                yield f"    LUN {lun}: {size:.2f} GiB, {lu.block_bytes}-byte blocks  {url}"
        first = next(iter(self._nodes))
        url = shlex.quote(f"iscsi://{addresses[0]}/{first}/0")
        portal = addresses[0]
        yield "Try, in another terminal:"
        yield f"  iscsi-ls -s iscsi://{portal}"
        yield f"  iscsi-inq {url}"
        yield f"  qemu-img convert -n -O raw IMAGE {url}"
        yield f"  sudo iscsiadm -m discovery -t sendtargets -p {portal}"
        yield f"  sudo iscsiadm -m node -T {first} -p {portal} --login"


def _limits() -> Limits:
    """Return how many connections there may be, which is never all that can be opened."""
    limits = Limits.within(max(LEAST_CONNECTIONS, descriptors.for_peers()))
    if limits.maximum < Limits().maximum:
        log.warning("the limit of open files (ulimit -n) leaves %d connections", limits.maximum)
    return limits


def _chap(
    initiator: config.Credentials | None, target: config.Credentials | None
) -> ChapAuthentication | None:
    if initiator is None:
        return None
    ours = None if target is None else Credentials(target.name, target.secret.encode())
    return ChapAuthentication(Credentials(initiator.name, initiator.secret.encode()), ours)


def _node(served: Served, settings: Settings) -> TargetNode:
    """Return the target that a controller becomes."""
    target = served.settings
    acl = {
        row.name: AclEntry(
            _chap(row.chap, row.mutual_chap),
            None if row.luns is None else {lun: lun for lun in row.luns},
        )
        for row in settings.initiators
        if row.targets is None or target.iqn in row.targets
    }
    return TargetNode(
        target.iqn,
        {nsid - 1: lu for nsid, lu in served.units.items()},
        alias=target.alias,
        acl=acl if settings.initiators else None,
        chap=_chap(settings.chap, settings.mutual_chap),
    )
