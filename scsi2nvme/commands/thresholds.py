"""Logical block provisioning thresholds: what is left of a thin namespace, and who is told.

NVMe tells of no threshold: what is in use is asked for, now and then, by `service/thresholds.py`.
"""

from __future__ import annotations

from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import IDENTIFY_BYTES, IDENTIFY_NAMESPACE
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.scsi.sense import THIN_PROVISIONING_SOFT_THRESHOLD_REACHED
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.page import PageControl
from scsi2nvme.unit.mode_pages.provisioning_thresholds import PROVISIONING_THRESHOLDS

_CNS_NAMESPACE = 0x00


@dataclass(frozen=True)
class Resources:
    """LBA mapping resources, in threshold sets. Spec: SBC-3 4.7.3.7."""

    available: int
    used: int


def resources(lu: LogicalUnit, namespace: Values) -> Resources:
    """Return what Identify Namespace tells: of sets that are begun, what is left is not counted."""
    exponent = lu.threshold_exponent
    free = max(0, namespace.ncap - namespace.nuse)
    return Resources(free >> exponent, -(-namespace.nuse >> exponent))


def identify_namespace(nsid: int) -> NvmeCommand:
    """Return the command that tells how much of a namespace is in use."""
    return NvmeCommand(
        AdminOpcode.IDENTIFY,
        nsid=nsid,
        cdw10=_CNS_NAMESPACE,
        data_in=IDENTIFY_BYTES,
        admin=True,
    )


def _page(lu: LogicalUnit) -> Values:
    values = lu.mode.values(PROVISIONING_THRESHOLDS, PageControl.CURRENT)
    return PROVISIONING_THRESHOLDS.layout.parse(values)


def watched(lu: LogicalUnit) -> bool:
    """Whether there is a threshold that somebody wants to be told of."""
    if not lu.facts.thin:
        return False
    page = _page(lu)
    return bool(page.available_enabled or page.used_enabled)


def check(lu: LogicalUnit) -> Translation:
    """See which thresholds are reached, and tell of those that were not before.

    With SITUA one I_T nexus is told. Spec: SBC-3 4.7.3.7.6, 6.4.7.
    """
    completion = yield identify_namespace(lu.nsid)
    found, page = resources(lu, IDENTIFY_NAMESPACE.parse(completion.data)), _page(lu)
    reached = {
        name
        for name, is_reached in (
            ("available", found.available <= page.available_count),
            ("used", found.used >= page.used_count),
        )
        if page[f"{name}_enabled"] and is_reached
    }
    new, lu.thresholds_reached = reached - lu.thresholds_reached, frozenset(reached)
    if new and lu.nexuses:
        only = lu.nexuses[0].key if page.situa else ""
        lu.establish_attention(THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, only=only)
    return GOOD
