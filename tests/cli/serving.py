"""What a daemon in the test's own process is to serve."""

from __future__ import annotations

from pathlib import Path

from scsi2nvme.cli.config import ConfigFile, Settings, settings


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
