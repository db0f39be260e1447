"""iSCSI target nodes: their logical units and who may log in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.chap import ChapAuthentication
from scsi2nvme.unit.logical_unit import LogicalUnit


@dataclass(frozen=True, slots=True)
class AclEntry:
    """What one initiator gets.

    `luns` maps the LUNs that it sees to the node's own, None: all of them as
    they are. Without `chap` of its own, the node's applies.
    """

    chap: ChapAuthentication | None = None
    luns: Mapping[int, int] | None = None


@dataclass(slots=True)
class TargetNode:
    """One iSCSI target. `acl` lists who may log in by iSCSI name; None: everyone.

    All names are in lower case, as RFC 7143 4.2.7.2 normalizes them.
    """

    iqn: str
    logical_units: dict[int, LogicalUnit] = field(default_factory=dict)
    alias: str = ""
    portal_group_tag: int = 1
    acl: dict[str, AclEntry] | None = None
    chap: ChapAuthentication | None = None

    def admits(self, initiator: str) -> bool:
        """Whether the initiator may log in at all, authentication apart."""
        return self.acl is None or initiator in self.acl

    def authentication(self, initiator: str) -> ChapAuthentication | None:
        """What the initiator must prove; None: nothing."""
        entry = (self.acl or {}).get(initiator)
        return entry.chap if entry is not None and entry.chap is not None else self.chap

    def visible(self, initiator: str) -> dict[int, LogicalUnit] | None:
        """Return the logical units that an admitted initiator sees, by its LUNs, else None."""
        if not self.admits(initiator):
            return None
        entry = (self.acl or {}).get(initiator)
        if entry is None or entry.luns is None:
            return dict(self.logical_units)
        return {
            lun: self.logical_units[source]
            for lun, source in entry.luns.items()
            if source in self.logical_units
        }
