"""The sockets of a portal group's addresses, and what comes in by them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Collection, Iterable

from scsi2nvme.background import Background
from scsi2nvme.records import dataclass
from scsi2nvme.target.portal_address import (
    PortalAddress,
    SocketName,
    bound,
    check_free,
    ports_of_ipv4,
)

log = logging.getLogger(__name__)

_AT_ONCE = 8  # as many are accepted in a round of the event loop
_BACKLOG = 4096  # somaxconn: whoever finds it full comes again after a second
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # of this system
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Listening:
    """An address, as it was asked for, with its socket and who accepts there."""

    address: PortalAddress
    socket: socket.socket
    acceptor: asyncio.Task[None]


class Listeners:
    """Accepts connections; `connected` takes each with the peer's name, and owns the socket.

    It does not block.
    """

    def __init__(self, connected: Callable[[socket.socket, SocketName], None]) -> None:
        self._connected = connected
        self._listening: list[_Listening] = []
        self._acceptors = Background()

    @property
    def addresses(self) -> list[PortalAddress]:
        """The addresses on which it listens, with their actual ports."""
        return [PortalAddress.of_socket(one.socket.getsockname()) for one in self._listening]

    @property
    def by_family(self) -> list[PortalAddress]:
        """The same, and 0.0.0.0 where [::] takes IPv4, too."""
        addresses = self.addresses
        for one, address in zip(self._listening, self.addresses, strict=True):
            if address.host == "::" and not _ipv6_only(one.socket):
                addresses.append(PortalAddress("0.0.0.0", address.port))
        return addresses

    def check(self, new: Collection[PortalAddress], going: Collection[PortalAddress]) -> None:
        """See that new addresses could be had, were others listened on no more; OSError if not."""
        gone = [one for one in self._listening if one.address in going]
        there = [one.address for one in self._listening if one not in gone]
        actual = [PortalAddress.of_socket(one.socket.getsockname()) for one in gone]
        check_free(new, there, actual)

    async def listen(self, addresses: Iterable[PortalAddress]) -> None:
        """Listen on every address, too; OSError if one cannot be had, and then on none of them."""
        wanted = list(addresses)
        there = [one.address for one in self._listening]
        ipv4_ports = ports_of_ipv4([*there, *wanted])
        opened: list[tuple[PortalAddress, socket.socket]] = []
        try:
            for address in wanted:
                ipv6_only = address.port in ipv4_ports
                opened.append((address, _listener(address, ipv6_only=ipv6_only)))
        except OSError:
            for _, listener in opened:
                listener.close()
            raise
        self._listening += [
            _Listening(address, listener, self._acceptors.spawn(self._accept(listener)))
            for address, listener in opened
        ]

    async def unlisten(self, addresses: Collection[PortalAddress]) -> None:
        """Listen on these addresses no more, as `listen` was given them."""
        gone = [one for one in self._listening if one.address in addresses]
        self._listening = [one for one in self._listening if one.address not in addresses]
        for one in gone:
            one.acceptor.cancel()
        if gone:
            await asyncio.wait([one.acceptor for one in gone])
        for one in gone:
            one.socket.close()

    async def close(self) -> None:
        """Listen no more."""
        await self.unlisten([one.address for one in self._listening])

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
            self._accept_more(listener)

    def _accept_more(self, listener: socket.socket) -> None:
        """Accept those who are there as well; what fails is told of in the next round."""
        for _ in range(_AT_ONCE - 1):
            try:
                sock, name = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            self._connected(sock, name)


def _listener(address: PortalAddress, *, ipv6_only: bool) -> socket.socket:
    listener = bound(address, ipv6_only=ipv6_only)
    try:
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _ipv6_only(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
