"""Where a portal is, as text and as a socket has it. Spec: RFC 7143 13.8 (TargetAddress)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import cast

from scsi2nvme.records import dataclass

DEFAULT_PORT = 3260

SocketName = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class PortalAddress:
    """A TCP address, IPv4 or IPv6. Port 0 asks the system for a free one.

    `host` is numeric. That of a link-local IPv6 address has a zone (`fe80::1%eth0`), which
    means something on this machine only. Spec: RFC 4007 11.
    """

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def of_socket(cls, name: SocketName) -> PortalAddress:
        """Return a socket's own address, or its peer's; a mapped IPv4 address as IPv4."""
        address = ip_address(name[0].partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        zone = name[3] if len(name) == 4 else 0
        host = f"{address}%{_zone_name(zone)}" if zone else str(mapped or address)
        return cls(host, name[1])

    @property
    def for_peer(self) -> PortalAddress:
        """The same without its zone, which a peer has a name of its own for."""
        return replace(self, host=self.host.partition("%")[0])

    @property
    def socket_name(self) -> SocketName:
        """What `bind` takes; OSError if there is no such zone here."""
        host = os.fsencode(self.host)  # of text the tables of international names are loaded
        try:
            found = socket.getaddrinfo(
                host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
        return cast(SocketName, found[0][4])

    @property
    def ipv6(self) -> bool:
        """Whether it is an IPv6 address."""
        return ":" in self.host

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of this host, of its family."""
        return self.host in ("0.0.0.0", "::")

    @property
    def loopback(self) -> bool:
        """Whether only this host reaches it."""
        return ip_address(self.host).is_loopback

    @property
    def link(self) -> str | None:
        """Of a link-local address its link (`%eth0`, of IPv4 nothing), else None."""
        link_local = ip_address(self.host).is_link_local
        return "".join(self.host.partition("%")[1:]) if link_local else None

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.ipv6 else self.host
        return f"{host}:{self.port}"


def ports_of_ipv4(addresses: Iterable[PortalAddress]) -> set[int]:
    """Return the ports where IPv4 has an address of its own; elsewhere [::] takes it, too."""
    return {one.port for one in addresses if not one.ipv6}


def bound(address: PortalAddress, *, ipv6_only: bool) -> socket.socket:
    """Return a socket that is bound to an address, for who will listen; OSError if it cannot be."""
    sock = socket.socket(socket.AF_INET6 if address.ipv6 else socket.AF_INET)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        sock.bind(address.socket_name)
    except OSError:
        sock.close()
        raise
    return sock


def check_free(
    new: Collection[PortalAddress],
    there: Collection[PortalAddress] = (),
    going: Collection[PortalAddress] = (),
) -> None:
    """See that one could listen on new addresses, beside those that are `there`; OSError if not.

    Nobody can connect meanwhile. Of those that are `going` one listens as yet: what these alone
    may be in the way of passes.
    """
    ipv4_ports = ports_of_ipv4([*there, *new])
    passed: list[PortalAddress] = []
    for address in new:
        if any(_same(address, other) for other in passed if other.ipv6 == address.ipv6):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        passed.append(address)
        try:
            bound(address, ipv6_only=address.port in ipv4_ports).close()
        except OSError as error:
            own = any(_same(address, other) for other in going)
            if error.errno != errno.EADDRINUSE or not own:
                raise


def _same(one: PortalAddress, other: PortalAddress) -> bool:
    """Whether one cannot listen on both."""
    hosts = one.wildcard or other.wildcard or one.host == other.host
    return hosts and one.port == other.port != 0


def _zone_name(index: int) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return str(index)
