"""The portal's sockets: a crowd that comes at once finds room, and is let in one by one."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import ExitStack

from scsi2nvme.target.iscsi.listeners import Listeners
from scsi2nvme.target.portal_address import PortalAddress, SocketName

CROWD = 300


async def _let_a_crowd_in() -> None:
    come = asyncio.Event()
    accepted: list[socket.socket] = []

    def connected(sock: socket.socket, _name: SocketName) -> None:
        accepted.append(sock)
        if len(accepted) == CROWD:
            come.set()

    listeners = Listeners(connected)
    await listeners.listen([PortalAddress("127.0.0.1", 0)])
    address = listeners.addresses[0].socket_name
    with ExitStack() as stack:
        poll = select.poll()
        for _ in range(CROWD):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(address)
            poll.register(sock, select.POLLOUT)
        # Nobody was accepted yet: the event loop had no turn.
        assert len(poll.poll(0)) == CROWD
        await come.wait()
        for sock in accepted:
            sock.close()
    await listeners.close()


def test_a_crowd_waits_in_the_backlog() -> None:
    """Whoever finds that full comes again a second later, and later still."""
    asyncio.run(_let_a_crowd_in())
