"""A daemon in the test's own process, and what it is to serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from scsi2nvme.api.configuration import ConfigFile
from scsi2nvme.cli.config import Settings, settings
from scsi2nvme.cli.daemon.serve import Daemon

TWO_DISKS = ("emulated:memory,size=1M,serial=A1", "emulated:memory,size=1M,serial=B2")


def serving(
    directory: Path, *controllers: str, port: int, config: ConfigFile | None = None
) -> Settings:
    """Return settings for these controllers, one reactor, and a portal of the loopback address."""
    return settings(
        config or ConfigFile(),
        default_state_dir=directory,
        maximum_reactors=1,
        controllers=controllers,
        portals=(f"127.0.0.1:{port}",),
    )


@asynccontextmanager
async def running(configured: Settings) -> AsyncIterator[Daemon]:
    """Run the daemon that is so configured while the context lasts."""
    async with AsyncExitStack() as stack:
        yield await Daemon.start(configured, stack)
