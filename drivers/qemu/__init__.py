"""QEMU's NVMe controller, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.scheme import (
    BLOCK,
    CACHE,
    DEFAULT_BLOCK_BYTES,
    EXTENDED,
    METADATA,
    NAMESPACES,
    PHYSICAL,
    PROTECTION,
    PROTECTION_FIRST,
    READONLY,
    SANITIZE,
    SECURE_FORMAT,
    SECURITY,
    SERIAL,
    SIZE,
    Scheme,
    check_metadata,
    check_size,
)

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport


def _check(path: str, options: Mapping[str, Any]) -> None:
    check_size(options)
    check_metadata(options)


def _open(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.qemu.transport import QemuOptions, QemuTransport

    file = Path(path) if path else None
    given = {BLOCK.keyword: DEFAULT_BLOCK_BYTES, **options}
    if file is not None and SIZE.keyword not in given and file.exists():
        given[SIZE.keyword] = file.stat().st_size // given.get(NAMESPACES.keyword, 1)
    given.setdefault(SERIAL.keyword, _serial(file))
    return QemuTransport(QemuOptions(path=file, **given))


def _inspect(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.transport import TransportError

    if path:
        given = options.get(SIZE.keyword, 0) * options.get(NAMESPACES.keyword, 1)
        try:
            present = Path(path).stat().st_size
        except OSError as error:
            raise TransportError(f"{path}: {error.strerror}") from error
        if not present or given > present:
            why = f"has {present} bytes, not {given}" if present else "is empty"
            raise TransportError(f"{path}: {why}")
    return _open(path, options)


def _rehearse(path: str, options: Mapping[str, Any], held: bool) -> Transport | None:
    from scsi2nvme import durable
    from scsi2nvme.drivers.transport import TransportError

    if held:
        return None
    file, wanted = Path(path), options.get(SIZE.keyword, 0) * options.get(NAMESPACES.keyword, 1)
    if path and not (file.exists() and file.stat().st_size > max(wanted - 1, 0)):
        try:  # it would be made, or grow
            os.close(durable.nameless(file.absolute().parent))
        except OSError as error:
            raise TransportError(f"{path}: {error.strerror}") from error
        path = ""
    return _open(path, options)


def _serial(file: Path | None) -> str:
    """Return a serial number that another image does not have, the same at every start."""
    from hashlib import sha256

    unique = sha256(bytes(file.resolve())).hexdigest() if file is not None else os.urandom(16).hex()
    return f"S2N{unique[:16].upper()}"


TRANSPORT = Scheme(
    "qemu",
    "QEMU's NVMe controller in a process of its own; PATH as above, or empty: no data kept",
    lambda: (
        *(SIZE, BLOCK, METADATA, PROTECTION, PROTECTION_FIRST, EXTENDED),
        *(NAMESPACES, SERIAL, CACHE, PHYSICAL, READONLY, SANITIZE, SECURE_FORMAT, SECURITY),
    ),
    _open,
    _check,
    place=lambda path: os.path.realpath(path) if path else "",
    inspect=_inspect,
    rehearse=_rehearse,
)
