"""The metrics and the page as the daemon serves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from scsi2nvme import __version__
from scsi2nvme.api.rpc import plain
from scsi2nvme.cli.daemon.metrics.families import Families, Seen
from scsi2nvme.cli.daemon.metrics.page import site
from scsi2nvme.cli.daemon.metrics.server import MetricsServer
from scsi2nvme.target.portal_address import PortalAddress

LOOK_S = 5.0  # for the daemon to say what it has seen

log = logging.getLogger(__name__)


def start(
    address: PortalAddress, look: Callable[[], Awaitable[Seen]], stack: AsyncExitStack
) -> PortalAddress:
    """Serve metrics until the stack ends, and return where; OperationError if they cannot be.

    `look` is called in the running loop's thread.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()  # what there is to see goes then

    async def seen() -> Seen:
        if ended.is_set():
            raise TimeoutError
        return await look()

    def from_a_thread() -> Seen:
        if ended.is_set():
            raise TimeoutError
        try:
            return asyncio.run_coroutine_threadsafe(seen(), loop).result(LOOK_S)
        except CancelledError:
            raise TimeoutError from None

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(from_a_thread))
    ProcessCollector(registry=registry)

    def status() -> dict[str, Any]:
        now = from_a_thread()
        return {
            "version": __version__,
            "counts": plain(now.counts),
            "listed": now.listed,
            "health": [plain(one.told()) for one in now.health],
        }

    server = MetricsServer(address, site(make_wsgi_app(registry), status))
    stack.callback(server.stop)
    stack.callback(ended.set)
    if not address.loopback:
        log.warning(
            "metrics: whoever reaches %s may read the names of disks and initiators, and what "
            "they do; listen on 127.0.0.1 only if that is too much",
            server.address,
        )
    return server.address
