"""All that the daemon can be asked, of every subject."""

from __future__ import annotations

from typing import Any

from scsi2nvme.api import changing, configuration, passing, scsi
from scsi2nvme.api.events import EVENTS, SUBSCRIBE
from scsi2nvme.api.log_level import LOG_LEVEL
from scsi2nvme.api.method import Method
from scsi2nvme.api.methods import (
    ADD,
    DISCOVER,
    END_SESSION,
    EXPORTS,
    FORGET,
    HEALTH,
    READ,
    REMOVE,
    RESET,
    SESSIONS,
    SHOW,
    VERSION,
)
from scsi2nvme.api.statistics import STATISTICS

METHODS: tuple[Method[Any, Any], ...] = (
    VERSION,
    SHOW,
    READ,
    ADD,
    REMOVE,
    RESET,
    FORGET,
    HEALTH,
    SESSIONS,
    END_SESSION,
    STATISTICS,
    EVENTS,
    SUBSCRIBE,
    EXPORTS,
    LOG_LEVEL,
    DISCOVER,
    *configuration.METHODS,
    *changing.METHODS,
    *passing.METHODS,
    *scsi.METHODS,
)
BY_NAME: dict[str, Method[Any, Any]] = {each.name: each for each in METHODS}
