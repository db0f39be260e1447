"""Which logical units the daemon's controllers have, from start to end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.bearers import Bearers, Shown
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.host_identity import HostIdentity
from scsi2nvme.cli.daemon.routes import reason_against, route, set_options
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.happenings import tell
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.service import TaskService
from scsi2nvme.service.names import Identity, Verdict, shared
from scsi2nvme.unit.disk_reservations import DiskReservations
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import DamagedState

log = logging.getLogger(__name__)


class Inventory:
    """Makes namespaces logical units, as far as they can be told apart.

    `served` are the controllers, to which it gives their units; `host` is who we are to them. What
    those that are `leaving` lead to becomes no logical unit, by whichever controller: what they
    still have under way must not come after what comes by another one.
    """

    def __init__(
        self,
        service: TaskService,
        store: JsonStore,
        served: Sequence[Served],
        bearers: Bearers,
        host: HostIdentity,
        leaving: Sequence[Controller] = (),
    ) -> None:
        self._service = service
        self._store = store
        self._served = served
        self._bearers = bearers
        self._host = host
        self._leaving = leaving
        self._told: set[str] = set()  # of names

    def make(self) -> None:
        """Make all namespaces logical units; OperationError if the state of one is damaged."""
        for one, facts, verdict in self._judge():
            self._add(one, facts, verdict)
        for one in self._served:
            if not one.units:
                log.warning(
                    "controller %r has no namespace that can be served, so its target has no LUN",
                    one.settings.spec.text,
                )

    def follow(self, one: Served) -> tuple[list[LogicalUnit], bool]:
        """Take in what a controller has got and lost; return what went, and whether more changed.

        What went is the caller's to remove, also where another namespace came under its NSID. What
        is reached by another controller as well stays, and is reached by that one.
        """
        namespaces = one.controller.namespaces
        gone = [
            one.units.pop(nsid)
            for nsid, lu in list(one.units.items())
            if not lu.is_of(namespaces.get(nsid))
        ]
        ended = [lu for lu in gone if not self._service.remove_route(lu, one.native)]
        came = self.settle()
        return ended, came or len(ended) < len(gone)

    def settle(self) -> bool:
        """See that no namespace has the name of another; return whether some came.

        They are those that are new, or that another kept from being served until now. One whose
        saved state is damaged, or with which anything else goes wrong, is left out.
        """
        came = False
        for one, facts, verdict in self._judge():
            try:
                came |= self._add(one, facts, verdict)
            except OperationError as error:
                self._tell_once(f"{_label(one.settings, facts.nsid)} is not served: {error}")
            except Exception as error:
                line = f"{_label(one.settings, facts.nsid)} is not served: {error!r}"
                self._tell_once(line, error)
        return came

    def _judge(self) -> list[tuple[Served, NamespaceFacts, Verdict]]:
        """Name the logical units that there are; return how the other namespaces may be named."""
        found: list[tuple[Served, NamespaceFacts, LogicalUnit | None]] = []
        for one in self._served:
            found += [
                (one, self._service.route_facts(lu, one.native), lu) for lu in one.units.values()
            ]
            found += [
                (one, facts, None)
                for nsid, facts in one.controller.namespaces.items()
                if nsid not in one.units
            ]
        shown = [
            Shown(
                one.number,
                _label(one.settings, facts.nsid),
                Identity.of(facts),
                known=lu is not None,
                ambiguous=lu is not None and lu.ambiguous,
            )
            for one, facts, lu in found
        ]
        up = [one.number for one in self._served]
        verdicts = self._bearers.judge(shown, up, self._tell_once)
        new = []
        for (one, facts, lu), verdict in zip(found, verdicts, strict=True):
            if lu is None:
                new.append((one, facts, verdict))
            else:
                self._service.judged(lu, verdict)
        return new

    def _add(self, one: Served, facts: NamespaceFacts, verdict: Verdict) -> bool:
        """Make a namespace a logical unit; OperationError if its saved state is of no use."""
        if verdict is Verdict.NONE or self._is_left(one, facts):
            return False
        for other in self._served:
            lu = None if other is one else other.units.get(facts.nsid)
            if lu is not None and shared(facts, self._service.route_facts(lu, other.native)):
                return self._join(lu, other, one, facts)
        try:
            lu = LogicalUnit(facts, self._store, ambiguous=verdict is Verdict.MODEL)
            if one.settings.spec.reservations_on_disk:
                lu.reservations = DiskReservations(lu, self._host.of(one.controller))
        except DamagedState as error:
            raise self._store.damaged(error.key, error.reason) from None
        if lu.reservations.lost:
            self._tell_of_lost_reservations(one, lu)
        set_options(lu, one.settings.spec)
        self._service.add_unit(lu, one.controller, one.native)
        one.units[facts.nsid] = lu
        self._service.look_at_reservations([lu])
        if len(one.units) == 1:
            self._service.follow_sanitize([lu])
        return True

    def _tell_of_lost_reservations(self, one: Served, lu: LogicalUnit) -> None:
        reservations = lu.reservations
        tell(
            log,
            logging.ERROR,
            "reservations-lost",
            "%s: saved state %s is damaged (%s): its persistent reservations are lost, and it is "
            "closed to initiators until one of them replaces these (sg_persist --out "
            "--replace-lost); or move the file away, and start again without any",
            *(_label(one.settings, lu.nsid), self._store.path(reservations.store_key)),
            reservations.lost,
            disk=lu.facts.controller.text("sn").strip(),
            namespace=str(lu.nsid),
        )

    def _is_left(self, one: Served, facts: NamespaceFacts) -> bool:
        """Whether a controller is leaving that leads to a namespace."""
        if one.controller in self._leaving:
            return True
        theirs = [each.namespaces.get(facts.nsid) for each in self._leaving]
        return any(each is not None and shared(facts, each) for each in theirs)

    def _join(self, lu: LogicalUnit, first: Served, one: Served, facts: NamespaceFacts) -> bool:
        """Have a logical unit be reached by another controller as well, if all else is equal."""
        before = self._service.route_facts(lu, first.native)
        reason = reason_against(lu, first.settings.spec, before, one.settings.spec, facts)
        if reason:
            self._tell_once(
                f"{_label(one.settings, facts.nsid)} is not served: "
                f"{_label(first.settings, facts.nsid)} is the same one, and {reason}"
            )
            return False
        self._service.add_route(lu, route(one, facts), route(first, before))
        one.units[facts.nsid] = lu
        log.warning(
            "%s and %s are the same: one logical unit, in target port groups %d and %d",
            *(_label(first.settings, facts.nsid), _label(one.settings, facts.nsid)),
            *(first.portal_group, one.portal_group),
        )
        return True

    def _tell_once(self, line: str, error: Exception | None = None) -> None:
        if line not in self._told:
            self._told.add(line)
            log.error("%s", line, exc_info=error)


def _label(target: TargetSettings, nsid: int) -> str:
    return f"namespace {nsid} of controller {target.spec.text!r}"
