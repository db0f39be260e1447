"""The tree: which kinds of nodes there are. A method more is a `Command` more, or a `Kind`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

from scsi2nvme.api import configuration, log_level, methods
from scsi2nvme.api.method import Method
from scsi2nvme.cli import toml
from scsi2nvme.cli.verbs.shell.disks import CONTROLLERS, DISKS
from scsi2nvme.cli.verbs.shell.kernel import KERNEL
from scsi2nvme.cli.verbs.shell.kind import Command, Kind
from scsi2nvme.cli.verbs.shell.portal import ISCSI
from scsi2nvme.records import dataclass

# The configuration


@dataclass(frozen=True, slots=True)
class SaveTo:
    """Where what runs is to be saved."""

    file: str | None = field(
        default=None, metadata={"doc": "the daemon's own file if it is left out"}
    )


_SAVE = Method("", "write what runs, secrets included, to a file", SaveTo, list[str])


def _save(state_dir: Path, method: Method[Any, Any], to: SaveTo) -> list[str]:
    from scsi2nvme.cli.verbs.configuration import save

    return [f"saved to {save(state_dir, to.file)}"]


_CONFIGURATION = (
    Command("config", configuration.GET, lines=lambda answer: toml.written(answer).splitlines()),
    Command("diff", configuration.DIFF),
    Command(
        "reload",
        configuration.RELOAD,
        question="what runs becomes what the configuration file says (see `reload dry_run=true`)",
    ),
    Command("saveconfig", _SAVE, perform=_save),
)

# What happens


@dataclass(frozen=True, slots=True)
class WhichToTell:
    """Events for people."""

    last: int = field(
        default=10, metadata={"doc": "how many of those that have happened to begin with"}
    )
    follow: bool = field(default=False, metadata={"doc": "go on with what happens, until Ctrl-C"})


_EVENTS = Method("", "tell what has happened", WhichToTell, list[Any])


def _told(state_dir: Path, method: Method[Any, Any], which: WhichToTell) -> Iterator[str]:
    from scsi2nvme.cli.verbs import events

    return map(events.line, events.told(state_dir, which.last, follow=which.follow))


# All of it

_TOP: dict[str, Kind] = {
    "controllers": CONTROLLERS,
    "disks": DISKS,
    "iscsi": ISCSI,
    "kernel": KERNEL,
}
ROOT = Kind(
    lambda place: (f"scsi2nvme {place.view.of(methods.VERSION).program}", None),
    lambda place: {name: (kind, None) for name, kind in _TOP.items()},
    (
        *_CONFIGURATION,
        Command("log_level", log_level.LOG_LEVEL),
        Command("events", _EVENTS, perform=_told, lines=lambda told: told),
    ),
)
