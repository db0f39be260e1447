"""Which logical units the daemon's controllers have, from start to end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.service import TaskService
from scsi2nvme.service.names import Claim, Verdict, judge
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import DamagedState

log = logging.getLogger(__name__)


class Inventory:
    """Makes namespaces logical units, as far as they can be told apart.

    `served` are the controllers, to which it gives their units.
    """

    def __init__(self, service: TaskService, store: JsonStore, served: Sequence[Served]) -> None:
        self._service = service
        self._store = store
        self._served = served
        self._told: set[str] = set()  # of names

    def make(self) -> None:
        """Make all namespaces logical units; OperationError if the state of one is damaged."""
        found = [
            (one, facts) for one in self._served for facts in one.controller.namespaces.values()
        ]
        claims = [Claim(_label(one.settings, facts.nsid), facts) for one, facts in found]
        verdicts = judge(claims, self._tell_once)
        for (one, facts), verdict in zip(found, verdicts, strict=True):
            self._add(one, facts, verdict)
        for one in self._served:
            if not one.units:
                log.warning(
                    "controller %r has no namespace that can be served, so its target has no LUN",
                    one.settings.spec.text,
                )

    def follow(self, one: Served) -> tuple[list[LogicalUnit], bool]:
        """Take in what a controller has got and lost; return what went, and whether some came.

        What went is the caller's to remove, also where another namespace came under its NSID. A
        new one must not have the name of one that is served. One whose saved state is damaged is
        left out.
        """
        namespaces = one.controller.namespaces
        gone = [
            one.units.pop(nsid)
            for nsid, lu in list(one.units.items())
            if nsid not in namespaces
            or namespaces[nsid].identifiers != lu.facts_as_read.identifiers
        ]
        new = [facts for nsid, facts in namespaces.items() if nsid not in one.units]
        claims = [Claim(_label(one.settings, facts.nsid), facts) for facts in new]
        verdicts = self.judge(claims)
        came = False
        for facts, verdict in zip(new, verdicts, strict=True):
            try:
                came |= self._add(one, facts, verdict)
            except OperationError as error:
                self._tell_once(f"{_label(one.settings, facts.nsid)} is not served: {error}")
        return gone, came

    def judge(self, new: Sequence[Claim] = ()) -> list[Verdict]:
        """See that no namespace has got the name of another; how may `new` ones be named?"""
        units = [(one, lu) for one in self._served for lu in one.units.values()]
        claims = [
            Claim(_label(one.settings, lu.nsid), lu.facts_as_read, lu.ambiguous)
            for one, lu in units
        ]
        verdicts = judge([*claims, *new], self._tell_once)
        for (_, lu), verdict in zip(units, verdicts, strict=False):
            self._service.judged(lu, verdict)
        return verdicts[len(units) :]

    def _add(self, one: Served, facts: NamespaceFacts, verdict: Verdict) -> bool:
        """Make a namespace a logical unit; OperationError if its saved state is of no use."""
        if verdict is Verdict.NONE:
            return False
        try:
            lu = LogicalUnit(facts, self._store, ambiguous=verdict is Verdict.MODEL)
        except DamagedState as error:
            raise self._store.damaged(error.key, error.reason) from None
        lu.read_only = one.settings.spec.readonly
        if physical := one.settings.spec.physical_block_bytes:
            lu.maximum_physical_block_bytes = physical
        self._service.add_unit(lu, one.controller, one.native)
        one.units[facts.nsid] = lu
        return True

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            log.error("%s", line)


def _label(target: TargetSettings, nsid: int) -> str:
    return f"namespace {nsid} of controller {target.spec.text!r}"
