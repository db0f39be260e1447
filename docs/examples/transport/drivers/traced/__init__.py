"""Our own controller, every register access of which is logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.scheme import BLOCK, SIZE, Scheme, check_size

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport


def _check(path: str, options: Mapping[str, Any]) -> None:
    if not path:
        raise ValueError("PATH is missing; use traced:PATH")
    check_size(options)


def _open(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.traced.transport import EmulatedOptions, TracedTransport

    return TracedTransport(EmulatedOptions(path=Path(path), **options))


TRANSPORT = Scheme(
    "traced",
    "as emulated, and every access to a register is logged",
    lambda: (SIZE, BLOCK),
    _open,
    _check,
)
