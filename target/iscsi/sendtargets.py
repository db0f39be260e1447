"""SendTargets: which targets there are, and where. Spec: RFC 7143 appendix C."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from scsi2nvme.target.iscsi.negotiation import NegotiationError, Pairs
from scsi2nvme.target.iscsi.node import TargetNode

DEFAULT_PORT = 3260

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")
_ISCSI_NAME = re.compile(r"(?:iqn|eui|naa)\.[^\s]{1,219}")


@dataclass(frozen=True, slots=True)
class PortalAddress:
    """A TCP address, IPv4 or IPv6. Port 0 asks the system for a free one."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> PortalAddress:
        """Read `host`, `host:port`, `[v6]` or `[v6]:port`; ValueError if it is none."""
        match = _ADDRESS.fullmatch(text)
        port = int(match["port"] or DEFAULT_PORT) if match else -1
        if match is None or port > 65535:
            raise ValueError(f"not a portal address: {text!r} (host:port or [IPv6]:port)")
        return cls(match["v6"] or match["host"], port)

    @classmethod
    def of_socket(cls, name: tuple[str, int, *tuple[object, ...]]) -> PortalAddress:
        """Return what a socket's own address means to a peer: neither zone nor mapped IPv4."""
        address = ipaddress.ip_address(name[0].partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return cls(str(mapped or address), name[1])

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of this host."""
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def reachable(listening: Iterable[PortalAddress], connected: PortalAddress) -> list[PortalAddress]:
    """Return the addresses to report: a wildcard is the one that the peer connected to."""
    addresses = []
    for address in listening:
        known = PortalAddress(connected.host, address.port) if address.wildcard else address
        if known not in addresses:
            addresses.append(known)
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
    target of a normal session, None in a discovery session. Raises
    NegotiationError if the value is neither All, empty nor an iSCSI name.
    """
    if value == "" and own is not None:
        value = own.iqn
    if value != "All" and not _ISCSI_NAME.fullmatch(value):
        raise NegotiationError(f"SendTargets={value!r}")
    records: Pairs = []
    for node in targets:
        if (value == "All" or value.lower() == node.iqn) and node.admits(initiator):
            records.append(("TargetName", node.iqn))
            records += [
                ("TargetAddress", f"{address},{node.portal_group_tag}") for address in addresses
            ]
    return records
