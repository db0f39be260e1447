"""SendTargets: which targets there are, and where. Spec: RFC 7143 appendix C."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scsi2nvme.target.iscsi.negotiation import NegotiationError, Pairs
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.portal_address import PortalAddress

_ISCSI_NAME = r"(?:iqn|eui|naa)\.[^\s]{1,219}"


def reachable(listening: Iterable[PortalAddress], connected: PortalAddress) -> list[PortalAddress]:
    """Return the addresses to report to a peer that connected to `connected`.

    A wildcard is the address that it connected to, if that is of its family: others of this
    host may be out of its reach. So are loopback and link-local addresses but for those who
    came by one, of the same link.
    """
    addresses: list[PortalAddress] = []
    for address in listening:
        known = address
        if address.wildcard:
            if address.ipv6 != connected.ipv6:
                continue
            known = PortalAddress(connected.host, address.port)
        far = known.loopback and not connected.loopback
        far = far or known.link not in (None, connected.link)
        if not far and known.for_peer not in addresses:
            addresses.append(known.for_peer)
    return addresses


def send_targets(
    value: str,
    targets: Iterable[TargetNode],
    initiator: str,
    addresses: Iterable[PortalAddress],
    own: TargetNode | None,
) -> Pairs:
    """Return the records that SendTargets=`value` asks for.

    Targets that the initiator may not log in to are left out. `own` is the
    target of a normal session, which asks about nothing else; None in a discovery session.
    Raises NegotiationError if the value is neither All, empty nor an iSCSI name.
    """
    if own is not None:
        targets = [own]
        value = value or own.iqn
    if value != "All" and not re.fullmatch(_ISCSI_NAME, value):
        raise NegotiationError(f"SendTargets={value!r}")
    records: Pairs = []
    for node in targets:
        if (value == "All" or value.lower() == node.iqn) and node.admits(initiator):
            records.append(("TargetName", node.iqn))
            records += [
                ("TargetAddress", f"{address},{node.portal_group_tag}") for address in addresses
            ]
    return records
