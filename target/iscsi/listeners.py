"""The sockets of a portal group's addresses, and what comes in by them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable

from scsi2nvme.background import Background
from scsi2nvme.target.portal_address import PortalAddress, SocketName

log = logging.getLogger(__name__)

_BACKLOG = 128
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # of this system
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Listeners:
    """Accepts connections; `connected` takes each with the peer's name, and owns the socket."""

    def __init__(self, connected: Callable[[socket.socket, SocketName], None]) -> None:
        self._connected = connected
        self._listeners: list[socket.socket] = []
        self._acceptors = Background()

    @property
    def addresses(self) -> list[PortalAddress]:
        """The addresses on which it listens, with their actual ports."""
        return [PortalAddress.of_socket(one.getsockname()) for one in self._listeners]

    @property
    def by_family(self) -> list[PortalAddress]:
        """The same, and 0.0.0.0 where [::] takes IPv4, too."""
        addresses = self.addresses
        for listener, address in zip(self._listeners, self.addresses, strict=True):
            if address.host == "::" and not _ipv6_only(listener):
                addresses.append(PortalAddress("0.0.0.0", address.port))
        return addresses

    async def listen(self, addresses: Iterable[PortalAddress]) -> None:
        """Listen on every address; OSError if one cannot be had, and then on none."""
        wanted = list(addresses)
        ipv4_ports = {one.port for one in wanted if not one.ipv6}
        try:
            for address in wanted:
                # Unless IPv4 has an address of its own, [::] takes it too.
                self._listeners.append(_listener(address, ipv6_only=address.port in ipv4_ports))
        except OSError:
            self._close_sockets()
            raise
        for listener in self._listeners:
            self._acceptors.spawn(self._accept(listener))

    async def close(self) -> None:
        """Listen no more."""
        await self._acceptors.cancel()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            # sock_accept does not suspend while somebody is there already.
            await asyncio.sleep(0)
            try:
                sock, name = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("accepting a connection failed: %s", error)
                if error.errno in _EXHAUSTED:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            self._connected(sock, name)


def _listener(address: PortalAddress, *, ipv6_only: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if address.ipv6 else socket.AF_INET)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        listener.bind(address.socket_name)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _ipv6_only(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
