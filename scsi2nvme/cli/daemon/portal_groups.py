"""The portal group tags of disks' controllers, which last.

A disk with several controllers is one logical unit for each namespace, with a target port for each
controller: their tags are their relative target port identifiers, and their target port groups, so
that no two are alike. Several daemons may have controllers of one disk, and know nothing of each
other: so the tag is by the controller's identifier, which no other one of the disk has. Whoever has
logged in knows it: a controller keeps the one that it had first, as those do that were counted as
they came, which daemons did before. Such daemons tell theirs apart by a number to count from, which
is configured. What is saved counts from one.
Spec: SPC-4 5.15.2.2; SAM-5 4.6.5.3; RFC 7143 4.1.1; NVMe Base 2.0c 3.1.1 (CNTLID).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, field, replace

from scsi2nvme.cli.config import TargetSettings
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass
from scsi2nvme.service.names import subsystem_of
from scsi2nvme.typed import table
from scsi2nvme.unit.store import UnsavedState

log = logging.getLogger(__name__)

FIRST = 1
LAST = 0xFFFF
_KEY = "portal-groups"
_MOST_DISKS = 1024  # of which that is known
_MOST_CONTROLLER = 0xFFFF
_RESERVED = (
    15  # tags of identifiers that no controller has, FFF0h to FFFFh, as far as there are any
)


@dataclass(frozen=True, slots=True)
class Known:
    """The tags of a disk's controllers, by CNTLID in decimal."""

    disk: str
    tags: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(each.isdecimal() and int(each) <= _MOST_CONTROLLER for each in self.tags):
            raise ValueError("tags: are not by controllers")
        if not all(FIRST <= each <= LAST for each in self.tags.values()):
            raise ValueError(f"tags: are not between {FIRST} and {LAST}")
        if len(set(self.tags.values())) < len(self.tags):
            raise ValueError("tags: two are alike")


@dataclass(frozen=True, slots=True)
class AllKnown:
    """What is kept: the disks, the latest first."""

    disks: tuple[Known, ...] = ()


class PortalGroups:
    """Gives controllers their tags. OperationError if what is saved makes no sense.

    `first` is that of disks with one controller.
    """

    def __init__(self, store: JsonStore, first: int = FIRST) -> None:
        self._store, self._first = store, first
        saved = store.load(_KEY)
        try:
            self._known = AllKnown() if saved is None else table(saved, AllKnown)
        except ValueError as error:
            raise store.damaged(_KEY, error) from None

    def first(
        self, up: Sequence[Served], leave_out: Callable[[int, TargetSettings, Exception], None]
    ) -> list[Served]:
        """Return the controllers that are there at the start, with their tags.

        One that has none costs itself only, and is left out; OperationError if all are such.
        """
        joined: list[Served] = []
        for one in up:
            try:
                joined.append(self.joined(one))
            except OperationError as error:
                if one is up[-1] and not joined:
                    raise
                leave_out(one.number, one.settings, error)
        return joined

    def joined(self, one: Served) -> Served:
        """Return a controller with its tag; OperationError as of `of`."""
        return replace(one, portal_group=self.of(one.controller.identity))

    def of(self, controller: Values) -> int:
        """Return the tag of a controller, by its Identify Controller data.

        OperationError if none is left: those up to the last one are others of the same disk.
        """
        tag = self._first - FIRST + self._kept(controller)
        if tag > LAST:
            raise self._none_left(controller, tag)
        return tag

    def counted(self, controller: Values) -> int:
        """Return the tag of a controller that was counted, where another daemon may tell the same.

        0 if it was not, or its daemon counts from a number of its own.
        """
        tag = self._of(subsystem_of(controller)).tags.get(str(controller.cntlid), 0)
        if self._first != FIRST or tag > LAST - _RESERVED or tag == FIRST + controller.cntlid:
            return 0
        return tag

    async def tell_counted(self, controller: Controller, spec: str) -> None:
        """Say where another daemon may tell the same tag for another controller of the disk.

        It is not counted anew by itself: whoever is registered is so by the port's name.
        """
        tag = self.counted(controller.identity)
        if not tag:
            return
        (ended,) = await controller.execute(admin.identify(admin.CNS_CONTROLLERS))
        there: list[int] = []
        if not ended.status:
            there = self.strangers(controller.identity, admin.controller_list(ended.data))
            if not there:
                return
        log.warning(
            "controller %r is in target port group %d, as 0.1 has counted it: a daemon that serves "
            "another controller of its disk%s may tell that number, too, which initiators take for "
            "one group; see first_port_group",
            *(spec, tag, f" ({', '.join(map(str, there))})" if there else ""),
        )

    def strangers(self, controller: Values, there: Collection[int]) -> list[int]:
        """Return which controllers of a disk this daemon has never served, of those there are."""
        tags = self._of(subsystem_of(controller)).tags
        return sorted(each for each in there if str(each) not in tags)

    def _of(self, disk: str) -> Known:
        return next((each for each in self._known.disks if each.disk == disk), Known(disk))

    def _kept(self, controller: Values) -> int:
        """Return the tag of a controller, counted from one."""
        disk, number = subsystem_of(controller), str(controller.cntlid)
        if not disk:
            return FIRST
        one = self._of(disk)
        if number not in one.tags:
            one = Known(disk, one.tags | {number: self._free(controller, one)})
            others = [each for each in self._known.disks if each.disk != disk]
            self._known = AllKnown((one, *others)[:_MOST_DISKS])
            with contextlib.suppress(UnsavedState):  # which the store has told: it counts now
                self._store.save(_KEY, asdict(self._known))
        return one.tags[number]

    def _free(self, controller: Values, disk: Known) -> int:
        """Return the tag of a controller that is new: its own, unless that cannot be.

        Else one of the last, and of these not that which another daemon takes for another first.
        """
        taken, last = set(disk.tags.values()), LAST - (self._first - FIRST)
        own = FIRST + controller.cntlid
        if FIRST < own <= last and own not in taken:
            return own
        begin = controller.cntlid % _RESERVED
        order = [last - (begin + step) % _RESERVED for step in range(_RESERVED)]
        free = [tag for tag in order if tag >= FIRST and tag not in taken]
        if not free:
            raise self._none_left(controller, self._first + len(taken))
        return free[0]

    @staticmethod
    def _none_left(controller: Values, tag: int) -> OperationError:
        return OperationError(
            f"first_port_group: no target port group is left for controller "
            f"{controller.cntlid} of its disk: it would be {tag}, beyond {LAST}"
        )
