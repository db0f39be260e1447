"""A controller model of our own, and the transport to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.scheme import (
    BLOCK,
    ENCLOSURE,
    EXTENDED,
    FIRMWARE,
    HISTORY,
    HOST_MEMORY,
    METADATA,
    NAMESPACES,
    PHYSICAL,
    PROTECTION_FIRST,
    READONLY,
    REMOVABLE,
    RESERVATIONS,
    SANITIZE,
    SECURE_FORMAT,
    SECURITY,
    SERIAL,
    SIZE,
    Option,
    Scheme,
    check_metadata,
    check_size,
)

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport

MEMORY = "memory"  # the PATH of a disk that lives in memory


def _options() -> tuple[Option, ...]:
    from scsi2nvme.drivers.emulated.capabilities import TABLES

    shape = (SIZE, BLOCK, NAMESPACES, SERIAL, PHYSICAL)
    permitted = (READONLY, REMOVABLE, SANITIZE, SECURE_FORMAT, SECURITY, FIRMWARE, ENCLOSURE)
    return (*shape, *permitted, HISTORY, RESERVATIONS, HOST_MEMORY, *TABLES.options)


def _check(path: str, options: Mapping[str, Any]) -> None:
    if not path:
        raise ValueError(f"PATH is missing; use emulated:PATH or emulated:{MEMORY}")
    if path.startswith(":"):
        raise ValueError(f"PATH: {path!r} begins with a colon; use emulated:{MEMORY}, or ./{path}")
    if options.get("thinp") and path == MEMORY:
        raise ValueError("thinp: only of a disk on a file is known how much is in use")
    if options.get("controller"):
        if path == MEMORY:
            raise ValueError("controller: only a disk on a file is shared")
        for other in ("sanicap", "capacity"):
            if options.get(other):
                raise ValueError(f"controller: namespaces that are shared stay; leave {other} out")
    check_size(options)
    _check_metadata(path, options)
    zones = [name for name in ("zone-capacity", "max-open", "max-active") if name in options]
    if zones and "zoned" not in options:
        raise ValueError(f"{zones[0]}: only where there are zones, with zoned=SIZE")
    for other in ("zoned", "rescap"):
        if options.get(other) and "capacity" in options:
            raise ValueError(f"capacity: its namespaces come and go; leave {other} out")
    if "zoned" in options and path != MEMORY:
        raise ValueError(f"zoned: what zones hold is not kept in a file; use emulated:{MEMORY}")


def _check_metadata(path: str, options: Mapping[str, Any]) -> None:
    check_metadata(options)
    if METADATA.name not in options:
        for name in (EXTENDED.name, PROTECTION_FIRST.name):
            if options.get(name):
                raise ValueError(f"{name}: only where there are metadata; add metadata=8")
        return
    if path != MEMORY:
        raise ValueError(f"metadata: they are not kept in a file; use emulated:{MEMORY}")
    for other in ("zoned", "null"):
        if options.get(other):
            raise ValueError(f"metadata: not with {other}; leave one of them out")


def _open(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport

    return EmulatedTransport(
        EmulatedOptions.of(path=None if path == MEMORY else Path(path), **options)
    )


def _inspect(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.emulated.image_file import Purpose

    return _open(path, {**options, "purpose": Purpose.INSPECT})


def _rehearse(path: str, options: Mapping[str, Any], held: bool) -> Transport:
    from scsi2nvme.drivers.emulated.image_file import Purpose

    purpose = Purpose.REHEARSE_HELD if held else Purpose.REHEARSE
    return _open(path, {**options, "purpose": purpose})


TRANSPORT = Scheme(
    "emulated",
    f"a controller of our own; PATH is its disk image, made if missing, or `{MEMORY}`",
    _options,
    _open,
    _check,
    place=lambda path: "" if path == MEMORY else os.path.realpath(path),
    inspect=_inspect,
    rehearse=_rehearse,
)
