"""How much the daemon tells in its log."""

from __future__ import annotations

from dataclasses import field

from scsi2nvme.api.configuration import LogLevel
from scsi2nvme.api.method import Method, doc
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class NewLevel:
    """The least important messages that are to be written."""

    level: LogLevel | None = field(default=None, metadata=doc("null leaves it as it is"))


@dataclass(frozen=True, slots=True)
class Level:
    """The least important messages that are written."""

    level: LogLevel


LOG_LEVEL = Method(
    "log.level", "ask for, or set, how much is told from now on", NewLevel, Level, changes=True
)
