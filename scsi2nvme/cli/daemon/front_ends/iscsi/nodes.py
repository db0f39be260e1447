"""The portal's targets: which there are to be, what is behind their LUNs, and who may log in."""

from __future__ import annotations

import logging
from collections.abc import Container, Hashable, Iterator, Sequence

from scsi2nvme.api import configuration
from scsi2nvme.api.configuration import LunTable
from scsi2nvme.cli.config import MAXIMUM_LUN, Settings
from scsi2nvme.cli.daemon.front_ends.front_end import Prospect, Served
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.spec import spelled
from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.sessions import Session
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.ports import PortName

log = logging.getLogger(__name__)

MAXIMUM_NSID = MAXIMUM_LUN + 1  # LUN n is namespace n + 1
NOW = Prospect()  # nothing comes, and nothing has gone


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A target that there is to be. `origin`: another one of the same name is another target."""

    origin: Hashable
    alias: str
    luns: dict[int, LogicalUnit]
    portal_group: int = 1


class Nodes:
    """The targets by name, brought in line with `served` and `settings` by `follow`.

    A controller's own target has namespace n + 1 as LUN n; others have what is mapped.
    """

    def __init__(self, served: Sequence[Served], settings: Settings) -> None:
        self.settings = settings
        self.by_name: dict[str, TargetNode] = {}
        self._served = served
        self._origins: dict[str, Hashable] = {}
        self._leaving: set[int] = set()  # numbers of controllers
        self._missing: set[tuple[str, int]] = set()
        self._told: set[int] = set()  # that they become no target
        self.follow()

    def follow(self) -> None:
        """Make the targets what they are to be now."""
        self._leaving &= {one.number for one in self._served}
        wanted = self._wanted()
        gone = [
            name
            for name, origin in self._origins.items()
            if name not in wanted or wanted[name].origin != origin
        ]
        for name in gone:
            del self._origins[name], self.by_name[name]
        for name, one in wanted.items():
            if name not in self.by_name:
                self._origins[name] = one.origin
                self.by_name[name] = TargetNode(name, portal_group_tag=one.portal_group)
            node = self.by_name[name]
            node.alias, node.logical_units = one.alias, one.luns
            node.acl = self._acl(name)
            node.chap = chap(self.settings.chap, self.settings.mutual_chap)
        self._tell_ports()

    def _tell_ports(self) -> None:
        """Let logical units with several routes know all ports, whether or not used.

        Of others only those count that are used.
        """
        ports: dict[LogicalUnit, list[PortName]] = {}
        for name, node in self.by_name.items():
            for lu in node.logical_units.values():
                port = PortName(name, portal_group_tag=node.portal_group_tag)
                ports.setdefault(lu, []).append(port)
        for lu in {lu for one in self._served for lu in one.units.values()}:
            found = tuple(ports.get(lu, ())) if lu.routes.several else ()
            if lu.target_ports != found:
                lu.target_ports = found

    def leave(self, one: Served) -> None:
        """Have a controller, which will not be served much longer, be no target any more."""
        self._told.discard(one.number)
        self._leaving.add(one.number)
        self.follow()

    def closed_to(self, session: Session) -> bool:
        """Whether a session is one that its initiator may not have any more."""
        node = session.node
        if node is None:
            return False
        return self.by_name.get(node.iqn) is not node or not node.admits(session.initiator)

    def controller_of(self, lu: LogicalUnit, target: str) -> Served | None:
        """Return the controller that a logical unit is a namespace of; None if it has just gone.

        Of several that is the one which is this target, if one is.
        """
        having = [one for one in self._served if lu in one.units.values()]
        having.sort(key=lambda one: one.iqn != target)
        return having[0] if having else None

    def _wanted(self) -> dict[str, _Wanted]:
        there = [one for one in self._served if one.number not in self._leaving]
        wanted = {}
        mapped = {row.iqn for row in self.settings.mapped}
        for one in there:
            if not one.settings.own:
                continue
            rival = "a target of the configuration" if one.iqn in mapped else one.rival
            if rival:
                self._tell_refused(one, rival)
            else:
                origin = (one.number, one.portal_group)
                wanted[one.iqn] = _Wanted(
                    *(origin, one.settings.alias, _by_lun(one), one.portal_group)
                )
        for row in self.settings.mapped:
            units = {lun.lun: _unit(lun, there) for lun in row.luns}
            luns = {lun: lu for lun, lu in units.items() if lu is not None}
            if len(there) >= len(self.settings.targets):
                self._tell_missing(row, luns)
            group = self.settings.first_port_group
            wanted[row.iqn] = _Wanted("mapped", row.alias, luns, group)
        return wanted

    def _tell_refused(self, one: Served, rival: str) -> None:
        if one.number not in self._told:
            self._told.add(one.number)
            log.error(
                "controller %r is not served over iSCSI: its target would have the name of that "
                "of %r, %s; give it an iqn of its own",
                one.settings.spec.text,
                rival,
                one.iqn,
            )

    def _tell_missing(self, target: configuration.TargetTable, there: Container[int]) -> None:
        """Say, once, which LUNs have nothing behind them although all controllers are there."""
        for lun in target.luns:
            key = (target.iqn, lun.lun)
            if lun.lun in there:
                self._missing.discard(key)
            elif key not in self._missing:
                self._missing.add(key)
                log.warning(
                    "target %s: LUN %d is not there: no controller %r serves a namespace %d",
                    *(target.iqn, lun.lun, lun.controller, lun.nsid),
                )

    def _acl(self, iqn: str) -> dict[str, AclEntry] | None:
        rows = self.settings.initiators
        if not rows:
            return None
        return {
            row.name: AclEntry(
                chap(row.chap, row.mutual_chap),
                None if row.luns is None else {lun: lun for lun in row.luns},
            )
            for row in rows
            if row.targets is None or iqn in row.targets
        }

    # What initiators may use

    def check_initiators(
        self, settings: Settings, known: Container[str] = (), prospect: Prospect = NOW
    ) -> None:
        """See that what initiators are to be able to use is there, but for what is `known` not to.

        UsageError if it is not, and cannot come. With a `prospect` that is there which would be.
        """
        there_then = len(self._staying(settings, prospect)) + len(prospect.coming)
        complete = there_then >= len(settings.targets)
        for line, there in self.wrong_initiators(settings, prospect):
            if line in known:
                continue
            if complete:
                raise UsageError(f"{line}; there are: {there or 'none'}")
            log.warning("%s", line)  # it may belong to what is not served

    def wrong_initiators(
        self, settings: Settings, prospect: Prospect = NOW
    ) -> Iterator[tuple[str, str]]:
        """Yield what initiators may use and is not there, and what there is instead."""
        luns = self._known_luns(settings, prospect)
        for row in settings.initiators:
            names = list(luns) if row.targets is None else list(row.targets)
            missing = [name for name in names if name not in luns]
            if not names:
                continue  # it may use nothing
            there = {lun for name in names for lun in luns.get(name, ())}
            wrong = [f"targets: there is no target {name!r}" for name in missing]
            wrong += [f"luns: there is no LUN {lun}" for lun in row.luns or () if lun not in there]
            known = ", ".join(luns) if missing else ", ".join(map(str, sorted(there)))
            for what in wrong:
                yield f"initiator {row.name!r}: {what}", known

    def _staying(self, settings: Settings, prospect: Prospect) -> list[Served]:
        specs = {target.spec.text for target in settings.targets}
        staying = [one for one in self._served if one.settings.spec.text in specs]
        return [one for one in staying if one.number not in prospect.going]

    def _known_luns(self, settings: Settings, prospect: Prospect) -> dict[str, set[int]]:
        """Return each target's LUNs, also of namespaces that cannot be served now."""
        luns = {
            one.iqn: {*self.by_name[one.iqn].logical_units}
            | {nsid - 1 for nsid in one.controller.namespaces}
            for one in self._staying(settings, prospect)
            if self._origins.get(one.iqn) == (one.number, one.portal_group)
        }
        specs = {target.spec.text for target in settings.targets}
        luns = {
            one.iqn: set(one.luns) for one in prospect.coming if one.iqn and one.spec in specs
        } | luns
        return luns | {row.iqn: {lun.lun for lun in row.luns} for row in settings.mapped}


def chap(
    initiator: configuration.Credentials | None, target: configuration.Credentials | None
) -> ChapAuthentication | None:
    """Return what an initiator must prove, and what we then do."""
    if initiator is None:
        return None
    ours = None if target is None else Credentials(target.name, target.secret.encode())
    return ChapAuthentication(Credentials(initiator.name, initiator.secret.encode()), ours)


def _unit(lun: LunTable, served: Sequence[Served]) -> LogicalUnit | None:
    """Return the logical unit that is mapped, None while it is not there."""
    named = [one for one in served if lun.controller == one.settings.spec.text]
    named += [one for one in served if spelled(lun.controller) in one.names]
    return named[0].units.get(lun.nsid) if named else None


def _by_lun(served: Served) -> dict[int, LogicalUnit]:
    """Return a controller's logical units by LUN; a LUN has 14 bits. Spec: SAM-5 4.7.7.3."""
    for nsid in served.units:
        if nsid > MAXIMUM_NSID:
            spec = served.settings.spec.text
            log.error("namespace %d of controller %r: no LUN is so large", nsid, spec)
    return {nsid - 1: lu for nsid, lu in served.units.items() if nsid <= MAXIMUM_NSID}
