"""What the daemon counts, over HTTP: metrics by the library prometheus-client, and a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from scsi2nvme.api.statistics import AllCounts
from scsi2nvme.cli import advice
from scsi2nvme.cli.daemon.health import Health
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.target.portal_address import PortalAddress, check_free


def start(
    address: PortalAddress,
    counts: Callable[[], AllCounts],
    listed: Callable[[], dict[str, Any]],
    health: Callable[[], Awaitable[tuple[Health, ...]]],
    stack: AsyncExitStack,
) -> PortalAddress:
    """Serve metrics, and a status page, until the stack ends; return where.

    `listed` tells what `list --json` does, `health` how the controllers are. OperationError if it
    cannot be, as without the library.
    """
    check_library()
    from scsi2nvme.cli.daemon.metrics import families, serving

    async def look() -> families.Seen:
        known = await health()
        return families.Seen(counts(), listed(), known)

    return serving.start(address, look, stack)


def check_library() -> None:
    """See that the library is there; OperationError says how to get it."""
    try:
        from scsi2nvme.cli.daemon.metrics import serving  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        how = advice.install(advice.PROMETHEUS)
        raise OperationError(f"metrics are told by prometheus-client; run: {how}") from None


class Metrics:
    """Metrics where they are configured to be, if anywhere; arguments are those of `start`."""

    def __init__(
        self,
        counts: Callable[[], AllCounts],
        listed: Callable[[], dict[str, Any]],
        health: Callable[[], Awaitable[tuple[Health, ...]]],
    ) -> None:
        self._start = partial(start, counts=counts, listed=listed, health=health)
        self._wanted: PortalAddress | None = None
        self._stack = AsyncExitStack()
        self.where: PortalAddress | None = None  # they are served

    def check(self, wanted: PortalAddress | None) -> None:
        """See that `configure` would be possible now; OperationError says why it would not be."""
        if wanted is None or wanted == self._wanted:
            return
        check_library()
        try:
            check_free([wanted], going=[] if self.where is None else [self.where])
        except OSError as error:
            raise OperationError(f"metrics {wanted}: {error.strerror}") from None

    async def configure(self, wanted: PortalAddress | None) -> None:
        """Serve there only; OperationError if that is impossible, and then all is as before."""
        before = self._wanted
        if wanted == before:
            return
        await self.stop()  # the other address may be another of the same port
        try:
            self._begin(wanted)
        except OperationError:
            self._begin(before)
            raise

    def _begin(self, wanted: PortalAddress | None) -> None:
        self.where = None if wanted is None else self._start(wanted, stack=self._stack)
        self._wanted = wanted

    async def stop(self) -> None:
        """Serve them nowhere."""
        await self._stack.aclose()
        self._wanted = self.where = None
