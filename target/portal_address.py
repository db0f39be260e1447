"""Where a portal is, as text and as a socket has it. Spec: RFC 7143 13.8 (TargetAddress)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 3260

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")


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
