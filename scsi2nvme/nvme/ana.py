"""Asymmetric namespace access: by which ways namespaces are reached. Spec: NVMe Base 2.0c 8.1."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from scsi2nvme.fields import Field, Structure, Values

ANA_LOG = 0x0C
CMIC_ANA = 1 << 3
ANA_NOTICE = 1 << 11  # of OAES, and of Feature 0Bh
ANA_CHANGED = 3  # information of a notice
GROUPS_ONLY = 1  # RGO, the log specific field
MOST_GROUPS = 1024  # that are looked at


class AnaState(IntEnum):
    """The state of an ANA group. Spec: NVMe Base 2.0c figure 220."""

    OPTIMIZED = 0x1
    NON_OPTIMIZED = 0x2
    INACCESSIBLE = 0x3
    PERSISTENT_LOSS = 0x4
    CHANGE = 0xF


ACCESSIBLE = frozenset({AnaState.OPTIMIZED, AnaState.NON_OPTIMIZED})
# Which bit of ANACAP says that a state may be reported.
CAPABILITIES = {
    AnaState.OPTIMIZED: 1 << 0,
    AnaState.NON_OPTIMIZED: 1 << 1,
    AnaState.INACCESSIBLE: 1 << 2,
    AnaState.PERSISTENT_LOSS: 1 << 3,
    AnaState.CHANGE: 1 << 4,
}

ANA_HEADER = Structure(
    "Asymmetric Namespace Access",
    16,
    (
        Field("chgcnt", 0, 0, 64, "changes"),
        Field("ngrps", 8, 0, 16, "descriptors that follow"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 219",
)
ANA_GROUP = Structure(
    "ANA Group Descriptor",
    32,
    (
        Field("grpid", 0, 0, 32),
        Field("nnsids", 4, 0, 32, "NSIDs that follow"),
        Field("chgcnt", 8, 0, 64, "changes"),
        Field("state", 16, 0, 4),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 220",
)


def has_ana(controller: Values) -> bool:
    """Whether a controller reports ANA states."""
    return bool(controller.cmic & CMIC_ANA)


def log_bytes(controller: Values) -> int:
    """Return the bytes of the log with its groups only, as far as they are looked at."""
    return ANA_HEADER.size + ANA_GROUP.size * min(controller.nanagrpid, MOST_GROUPS)


def group_states(raw: bytes) -> dict[int, AnaState]:
    """Return the state of each group, as far as the log goes; states that nobody knows are none."""
    return {group.grpid: AnaState(group.state) for group in _groups(raw) if group.state in _KNOWN}


_KNOWN = frozenset(map(int, AnaState))


def _groups(raw: bytes) -> Iterator[Values]:
    if len(raw) < ANA_HEADER.size:
        return
    at = ANA_HEADER.size
    for _ in range(ANA_HEADER.parse(raw).ngrps):
        if at + ANA_GROUP.size > len(raw):
            return
        group = ANA_GROUP.parse(raw[at : at + ANA_GROUP.size])
        yield group
        at += ANA_GROUP.size + 4 * group.nnsids
