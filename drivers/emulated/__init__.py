"""A controller model of our own, and the transport to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.emulated.faults import FAULT
from scsi2nvme.drivers.scheme import (
    BLOCK,
    CACHE,
    NAMESPACES,
    READONLY,
    SERIAL,
    SIZE,
    Option,
    Scheme,
    check_size,
    parse_switch,
)

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport

MEMORY = "memory"  # the PATH of a disk that lives in memory

THIN = Option(
    "thin",
    "on|off",
    "emulated only: whether blocks can be deallocated (default on)",
    parse_switch,
    "thin",
    subject="a choice",
)


def _check(path: str, options: Mapping[str, Any]) -> None:
    if not path:
        raise ValueError(f"PATH is missing; use emulated:PATH or :{MEMORY}")
    check_size(options)


def _open(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport

    return EmulatedTransport(
        EmulatedOptions(path=None if path == MEMORY else Path(path), **options)
    )


TRANSPORT = Scheme(
    "emulated",
    f"a controller of our own; PATH is its disk image, made if missing, or `{MEMORY}`",
    (SIZE, BLOCK, NAMESPACES, SERIAL, CACHE, THIN, READONLY, FAULT),
    _open,
    _check,
)
