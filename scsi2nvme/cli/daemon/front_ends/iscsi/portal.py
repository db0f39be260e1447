"""The iSCSI portal as a front end: each controller a target, each namespace a LUN."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from scsi2nvme.cli import config, sizes
from scsi2nvme.cli.config import MAXIMUM_LUN, Settings
from scsi2nvme.cli.daemon import descriptors, memory
from scsi2nvme.cli.daemon.front_ends.front_end import Served, Serving
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.target.iscsi.admission import Limits
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.unit.logical_unit import LogicalUnit

log = logging.getLogger(__name__)

LEAST_CONNECTIONS = 16  # whatever the limits
MAXIMUM_NSID = MAXIMUM_LUN + 1  # LUN n is namespace n + 1
LOGOUT_SECONDS = 5.0  # how long initiators have to log out at the end


class IscsiFrontEnd:
    """One portal group with all targets. LUN n is namespace n + 1."""

    def __init__(self, serving: Serving) -> None:
        self.requests: Mapping[str, Callable[[], Any]] = {}
        self._serving = serving
        self._portals = serving.settings.portals
        self._served = _targets(serving)
        self._known = {one.number for one in serving.served}
        self._checked = serving.complete()
        if self._checked:
            _check_initiators(serving, self._served)
        self._nodes = {iqn: _node(one, serving.settings) for iqn, one in self._served.items()}
        login = LoginSettings(
            discovery_chap=_chap(serving.settings.discovery_chap, None),
            complete=serving.complete,
        )
        settings = PortalSettings(
            login,
            _limits(memory.buffers(serving.service.plane.reactors, len(serving.settings.targets))),
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
        _warn(self._portal.addresses, self._nodes.values())

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """Nothing of a portal lies with a controller."""

    async def follow_inventory(self) -> None:
        """Give the targets the logical units that there are now; new ones become targets."""
        for one in self._serving.served:
            if one.number not in self._known:
                self._known.add(one.number)
                self._add(one)
        if not self._checked and self._serving.complete():
            self._checked = True
            for line, _ in _wrong_initiators(self._serving, self._served):
                log.warning("%s", line)
        for iqn, one in self._served.items():
            self._nodes[iqn].logical_units = _by_lun(one)

    def _add(self, one: Served) -> None:
        """Make a controller a target that was not up when the others became some."""
        if (first := self._served.get(one.iqn)) is not None:
            _tell_same_name(one, first)
            return
        self._served[one.iqn] = one
        self._nodes[one.iqn] = _node(one, self._serving.settings)
        _warn(self._portal.addresses, [self._nodes[one.iqn]])

    def status(self) -> Mapping[str, Any]:
        """Return the targets with their LUNs, and the sessions, for `list`."""
        portals = [str(address) for address in self._portal.addresses]
        targets = [
            {
                "Target": iqn,
                "Portals": portals,
                "LUNs": [_shown(lun, lu, self._served[iqn]) for lun, lu in luns.items()],
            }
            for iqn, luns in self._luns()
        ]
        sessions = [
            {
                "Initiator": one.initiator,
                "ISID": one.isid.hex(),
                "Target": "" if one.node is None else one.node.iqn,
                "Connections": len(one.connections),
            }
            for one in self._portal.sessions
        ]
        return {"Targets": targets, "Sessions": sessions}

    def _luns(self) -> Iterator[tuple[str, Mapping[int, LogicalUnit]]]:
        for iqn, node in self._nodes.items():
            yield iqn, node.logical_units

    def greeting(self) -> Iterator[str]:
        """Yield every target and LUN, and how to try them."""
        addresses = self._portal.addresses
        yield "Serving on " + ", ".join(map(_told, addresses)) + ":"
        portal = _near(addresses)
        for iqn, luns in self._luns():
            yield f"  target {iqn}  ({self._served[iqn].settings.spec.text})"
            for lun, lu in luns.items():
                size = sizes.size(lu.capacity_blocks * lu.block_bytes)
                url = f"iscsi://{portal}/{iqn}/{lun}"
                yield f"    LUN {lun}: {size}, {lu.block_bytes}-byte blocks  {url}"
            if not luns:
                yield "    no LUN: there is no namespace that can be served"
        if self._open_to_all:
            yield from self._advice(portal)
        else:
            yield "Who may log in, and how, is in the configuration."

    def _advice(self, portal: PortalAddress) -> Iterator[str]:
        """Yield commands that work as they stand, but for IMAGE."""
        where = shlex.quote(f"iscsi://{portal}")
        yield "Try, in another terminal:"
        yield f"  iscsi-ls -s {where}"
        for iqn, luns in self._luns():
            for lun in list(luns)[:1]:
                url = shlex.quote(f"iscsi://{portal}/{iqn}/{lun}")
                yield f"  iscsi-inq {url}"
                yield f"  qemu-img convert -n -O raw IMAGE {url}"
                yield f"  sudo iscsiadm -m discovery -t sendtargets -p {shlex.quote(str(portal))}"
                yield f"  sudo iscsiadm -m node -T {iqn} -p {shlex.quote(str(portal))} --login"
                return

    def farewell(self) -> Iterator[str]:
        """Yield how many are asked to log out."""
        if count := len(self._portal.sessions):
            yield f"initiators have {LOGOUT_SECONDS:.0f} s to log out of {count} sessions"

    @property
    def _open_to_all(self) -> bool:
        """Whether everybody may log in to every target without proving who they are."""
        return all(node.acl is None and node.chap is None for node in self._nodes.values())


def _told(address: PortalAddress) -> str:
    every = "IPv6 and IPv4" if address.ipv6 else "IPv4"
    return f"{address} (every {every} address)" if address.wildcard else str(address)


def _near(addresses: Sequence[PortalAddress]) -> PortalAddress:
    """Return an address by which this machine reaches one of these."""
    address = next((one for one in addresses if one.link is None), addresses[0])
    if address.wildcard:
        return replace(address, host="::1" if address.ipv6 else "127.0.0.1")
    return address


def _shown(lun: int, lu: LogicalUnit, served: Served) -> Mapping[str, Any]:
    return {
        "LUN": lun,
        "DevicePath": served.settings.spec.text,
        "NameSpace": lu.nsid,
        "PhysicalSize": lu.capacity_blocks * lu.block_bytes,
    }


def _targets(serving: Serving) -> dict[str, Served]:
    """Return the targets by name; of two of one name, one to which it was given goes first."""
    given = {one.iqn: one for one in reversed(serving.served) if one.settings.iqn}
    targets: dict[str, Served] = {}
    for one in serving.served:
        first = targets.setdefault(one.iqn, given.get(one.iqn, one))
        if first is not one:
            _tell_same_name(one, first)
    return targets


def _tell_same_name(one: Served, first: Served) -> None:
    log.error(
        "controller %r is not served over iSCSI: its target would have the name of that "
        "of %r, %s; give it an iqn of its own",
        one.settings.spec.text,
        first.settings.spec.text,
        one.iqn,
    )


def _check_initiators(serving: Serving, targets: Mapping[str, Served]) -> None:
    """See that what initiators may use is there; UsageError if it is not, and cannot come."""
    for line, known in _wrong_initiators(serving, targets):
        if len(targets) == len(serving.settings.targets):
            raise UsageError(f"{line}; there are: {known or 'none'}")
        log.warning("%s", line)  # it may belong to what is not served


def _wrong_initiators(serving: Serving, targets: Mapping[str, Served]) -> Iterator[tuple[str, str]]:
    """Yield what initiators may use and is not there, and what there is instead."""
    for row in serving.settings.initiators:
        names = list(targets) if row.targets is None else list(row.targets)
        missing = [name for name in names if name not in targets]
        there = {
            nsid - 1
            for name in names
            if name in targets
            for nsid in targets[name].controller.namespaces
        }
        wrong = [f"targets: there is no target {name!r}" for name in missing]
        wrong += [f"luns: there is no LUN {lun}" for lun in row.luns or () if lun not in there]
        known = ", ".join(targets) if missing else ", ".join(map(str, sorted(there)))
        for what in wrong:
            yield f"initiator {row.name!r}: {what}", known


def _warn(addresses: Sequence[PortalAddress], nodes: Iterable[TargetNode]) -> None:
    """Tell of targets that others may use without proving who they are."""
    far = [str(address) for address in addresses if not address.loopback]
    if not far:
        return
    for node in nodes:
        unproved = node.acl is None and node.chap is None
        named = [name for name in node.acl or () if node.authentication(name) is None]
        if unproved or named:
            log.warning(
                "target %s: whoever reaches %s may read and write it%s; demand a secret by [chap] "
                "in the configuration, or listen on 127.0.0.1 only",
                node.iqn,
                ", ".join(far),
                "" if unproved else f" under the name {named[0]}",
            )


def _limits(buffer_bytes: int) -> Limits:
    """Return how many connections there may be: never all that can be opened, or held."""
    files, room = descriptors.for_peers(), memory.for_peers(buffer_bytes)
    limits = Limits.within(max(LEAST_CONNECTIONS, min(files, room)))
    if limits.maximum == Limits().maximum:
        return limits
    if files <= room:
        log.warning("the limit of open files (ulimit -n) leaves %d connections", limits.maximum)
    else:
        log.info("memory leaves %d connections", limits.maximum)
    return limits


def _chap(
    initiator: config.Credentials | None, target: config.Credentials | None
) -> ChapAuthentication | None:
    if initiator is None:
        return None
    ours = None if target is None else Credentials(target.name, target.secret.encode())
    return ChapAuthentication(Credentials(initiator.name, initiator.secret.encode()), ours)


def _by_lun(served: Served) -> dict[int, LogicalUnit]:
    """Return a target's logical units by LUN; a LUN has 14 bits. Spec: SAM-5 4.7.7.3."""
    for nsid in served.units:
        if nsid > MAXIMUM_NSID:
            spec = served.settings.spec.text
            log.error("namespace %d of controller %r: no LUN is so large", nsid, spec)
    return {nsid - 1: lu for nsid, lu in served.units.items() if nsid <= MAXIMUM_NSID}


def _node(served: Served, settings: Settings) -> TargetNode:
    """Return the target that a controller becomes."""
    acl = {
        row.name: AclEntry(
            _chap(row.chap, row.mutual_chap),
            None if row.luns is None else {lun: lun for lun in row.luns},
        )
        for row in settings.initiators
        if row.targets is None or served.iqn in row.targets
    }
    return TargetNode(
        served.iqn,
        _by_lun(served),
        alias=served.settings.alias,
        acl=acl if settings.initiators else None,
        chap=_chap(settings.chap, settings.mutual_chap),
    )
