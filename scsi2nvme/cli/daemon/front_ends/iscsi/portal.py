"""The iSCSI portal as a front end: controllers as targets, namespaces as LUNs."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.api.method import Nothing
from scsi2nvme.cli import sizes
from scsi2nvme.cli.config import DEMAND_A_SECRET, Settings
from scsi2nvme.cli.daemon import descriptors, memory
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.cli.daemon.front_ends.front_end import Prospect, Served, Serving
from scsi2nvme.cli.daemon.front_ends.iscsi.nodes import Nodes, chap
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.target.iscsi.admission import Limits
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings
from scsi2nvme.target.iscsi.sessions import Session
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.unit.logical_unit import LogicalUnit

log = logging.getLogger(__name__)

LEAST_CONNECTIONS = 16  # whatever the limits
LOGOUT_SECONDS = 5.0  # how long initiators have to log out at the end
GOODBYE_SECONDS = 2.0  # and of what is theirs no more, while the daemon goes on


class IscsiFrontEnd:
    """One portal group with all targets."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        settings = serving.settings
        self._nodes = Nodes(serving.served, settings)
        self._told_open: list[str] = []
        self._known_wrong: set[str] = set()  # of initiators
        self._checked = serving.complete()
        if self._checked:
            self._nodes.check_initiators(settings)
        self._files = descriptors.for_peers()
        self._controllers = len(settings.targets)
        self._set_aside = self._for_controllers()
        self._portal = Portal(
            serving.service,
            self._nodes.by_name,
            PortalSettings(
                self._login(settings),
                self._limits(),
                ping=settings.ping_s,
                ping_timeout=settings.ping_timeout_s,
                cold_reset=settings.cold_reset,
            ),
        )

    def _login(self, settings: Settings) -> LoginSettings:
        discovery = chap(settings.discovery_chap, None)
        return LoginSettings(discovery_chap=discovery, complete=self._serving.complete)

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen; initiators are asked to log out when `stack` ends."""
        await self._listen(self._nodes.settings.portals)
        stack.push_async_callback(self._portal.drain, LOGOUT_SECONDS)
        self._warn()

    async def _listen(self, portals: Sequence[PortalAddress]) -> None:
        try:
            await self._portal.listen(portals)
        except OSError as error:
            raise _cannot_listen(portals, error) from None

    async def renew(self, units: Container[LogicalUnit]) -> None:
        """Nothing of a portal lies with a controller."""

    async def follow_inventory(self) -> None:
        """Give the targets the logical units that there are now; new ones become targets."""
        self._follow()
        if not self._checked and self._serving.complete():
            self._checked = True
            for line, _ in self._nodes.wrong_initiators(self._nodes.settings):
                log.warning("%s", line)
        if (wanted := self._for_controllers()) > self._set_aside:
            self._set_aside = wanted
            self._portal.limit(self._limits())

    def _follow(self) -> None:
        self._nodes.follow()
        self._warn()
        for session in self._portal.sessions:
            if self._nodes.closed_to(session):
                session.drop(graceful=False)

    def _warn(self) -> None:
        """Tell of targets that others may use without proving who they are, from now on."""
        before, self._told_open = self._told_open, list(self._open_to_others())
        for line in self._told_open:
            if line not in before:
                log.warning("%s; %s", line, DEMAND_A_SECRET)

    def _open_to_others(self) -> Iterator[str]:
        far = [str(address) for address in self._portal.addresses if not address.loopback]
        for node in self._nodes.by_name.values() if far else ():
            unproved = node.acl is None and node.chap is None
            named = [name for name in node.acl or () if node.authentication(name) is None]
            if unproved or named:
                under = "" if unproved else f" under the name {named[0]}"
                whoever = f"whoever reaches {', '.join(far)} may read and write it{under}"
                yield f"target {node.iqn}: {whoever}"

    def _for_controllers(self) -> int:
        """Return how much memory is for controllers, of which some are still to come."""
        served, reactors = self._serving.served, self._serving.service.plane.reactors
        lent_bytes = sum(one.controller.host_memory.lent_bytes for one in served)
        return memory.buffers(reactors, max(self._controllers, len(served))) + lent_bytes

    def _limits(self) -> Limits:
        """Return how many connections there may be: never all that can be opened, or held."""
        room = memory.for_peers(self._set_aside)
        limits = Limits.within(max(LEAST_CONNECTIONS, min(self._files, room)))
        if limits.maximum == Limits().maximum:
            return limits
        if self._files <= room:
            log.warning("the limit of open files (ulimit -n) leaves %d connections", limits.maximum)
        else:
            log.info("memory leaves %d connections", limits.maximum)
        return limits

    def check_leaving(self, one: Served) -> None:
        """Whoever uses it by the portal is told to go."""

    async def leave(self, one: Served) -> None:
        """Have a controller be no target any more, and its sessions end."""
        self._nodes.leave(one)
        self._serving.service.inventory_changed()
        await self._dismiss()

    def check(self, settings: Settings, prospect: Prospect) -> None:
        """See that `configure` would be possible now; its errors say why it would not be."""
        nodes = self._nodes
        known = {line for line, _ in nodes.wrong_initiators(nodes.settings, prospect)}
        nodes.check_initiators(settings, known | self._known_wrong, prospect)
        before = nodes.settings.portals
        new = [one for one in settings.portals if one not in before]
        try:
            self._portal.check(new, [one for one in before if one not in settings.portals])
        except OSError as error:
            raise _cannot_listen(new, error) from None

    async def configure(self, settings: Settings) -> None:
        """Serve what is configured now. Of who may not be here any more, sessions end."""
        known = {line for line, _ in self._nodes.wrong_initiators(self._nodes.settings)}
        # That of the last change, too: this one may undo it.
        self._nodes.check_initiators(settings, known | self._known_wrong)
        await self._change_portals(self._nodes.settings.portals, settings.portals)
        self._known_wrong = known
        self._nodes.settings = settings
        self._portal.settings = replace(self._portal.settings, login=self._login(settings))
        self._nodes.follow()
        self._serving.service.inventory_changed()
        self._warn()
        await self._dismiss()

    async def _change_portals(
        self, before: Sequence[PortalAddress], now: Sequence[PortalAddress]
    ) -> None:
        gone = [one for one in before if one not in now]
        await self._portal.unlisten(gone)
        try:
            await self._listen([one for one in now if one not in before])
        except OperationError:
            await self._listen(gone)
            raise

    async def _dismiss(self) -> None:
        """End the sessions of those who may not be here any more, after a word to them."""
        await self._portal.dismiss(self._nodes.closed_to, GOODBYE_SECONDS)

    def answer(self, answers: Answers) -> None:
        """Have it answered who is logged in, and sessions ended."""
        answers.add(methods.SESSIONS, self._list_sessions)
        answers.add(methods.END_SESSION, self._end_sessions)

    async def _list_sessions(self, _: Nothing) -> list[methods.Session]:
        return list(map(_session, self._portal.sessions))

    async def _end_sessions(self, which: methods.WhichSession) -> methods.Ended:
        found = [one for one in self._portal.sessions if _is_meant(which, _session(one))]
        if not found:
            raise OperationError(f"initiator {which.initiator!r} has no such session")
        log.warning("%d sessions of %s are ended by command", len(found), which.initiator)
        await asyncio.gather(*(one.kill() for one in found))
        return methods.Ended(len(found))

    def status(self) -> Mapping[str, Any]:
        """Return the targets with their LUNs, and the sessions, for `list`."""
        portals = [str(address) for address in self._portal.addresses]
        targets = [
            {
                "Target": iqn,
                "Portals": portals,
                "LUNs": [self._shown(iqn, lun, lu) for lun, lu in luns.items()],
            }
            for iqn, luns in self._luns()
        ]
        sessions = [
            {
                "Initiator": one.initiator,
                "ISID": one.isid,
                "Target": one.target,
                "Connections": one.connections,
            }
            for one in map(_session, self._portal.sessions)
        ]
        return {"Targets": targets, "Sessions": sessions}

    def _shown(self, target: str, lun: int, lu: LogicalUnit) -> Mapping[str, Any]:
        one = self._nodes.controller_of(lu, target)
        return {
            "LUN": lun,
            "Controller": None if one is None else one.number,
            "DevicePath": _spec(one),
            "NameSpace": lu.nsid,
            "PhysicalSize": lu.capacity_blocks * lu.block_bytes,
        }

    def _luns(self) -> Iterator[tuple[str, Mapping[int, LogicalUnit]]]:
        for iqn, node in self._nodes.by_name.items():
            yield iqn, node.logical_units

    def greeting(self) -> Iterator[str]:
        """Yield every target and LUN, and how to try them."""
        addresses = self._portal.addresses
        yield "Serving on " + ", ".join(map(_told, addresses)) + ":"
        portal = _near(addresses)
        for iqn, luns in self._luns():
            found = (self._nodes.controller_of(lu, iqn) for lu in luns.values())
            behind = dict.fromkeys(map(_spec, found))
            yield f"  target {iqn}" + (f"  ({', '.join(behind)})" if behind else "")
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
        return all(node.acl is None and node.chap is None for node in self._nodes.by_name.values())


def _cannot_listen(portals: Sequence[PortalAddress], error: OSError) -> OperationError:
    where = ", ".join(str(portal) for portal in portals)
    return OperationError(f"portal {where}: {error.strerror or error}; choose another portal")


def _spec(one: Served | None) -> str:
    return "" if one is None else one.settings.spec.text


def _session(session: Session) -> methods.Session:
    return methods.Session(
        session.initiator,
        session.isid.hex(),
        "" if session.node is None else session.node.iqn,
        len(session.connections),
    )


def _is_meant(which: methods.WhichSession, session: methods.Session) -> bool:
    return (
        session.initiator == which.initiator
        and which.isid in (None, session.isid)
        and which.target in (None, session.target)
    )


def _told(address: PortalAddress) -> str:
    every = "IPv6 and IPv4" if address.ipv6 else "IPv4"
    return f"{address} (every {every} address)" if address.wildcard else str(address)


def _near(addresses: Sequence[PortalAddress]) -> PortalAddress:
    """Return an address by which this machine reaches one of these."""
    address = next((one for one in addresses if one.link is None), addresses[0])
    if address.wildcard:
        return replace(address, host="::1" if address.ipv6 else "127.0.0.1")
    return address
