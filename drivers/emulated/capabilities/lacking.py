"""What the controller lacks of what none needs to have: for initiators to meet such disks."""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability
from scsi2nvme.drivers.scheme import Option

NAMES = (
    *("compare", "format", "self-test", "timestamp", "verify", "write-protection"),
    "write-zeroes",
)


def _parse(text: str) -> str:
    if text not in NAMES:
        raise ValueError(f"is {text!r}; known: {', '.join(NAMES)}")
    return text


LACKS = Option(
    "lacks",
    "CAPABILITY",
    "emulated only: be without a capability that every other emulated controller has (may be "
    f"repeated): {', '.join(NAMES)}",
    _parse,
    83,
    "lacks",
    subject="anything to lack",
    repeatable=True,
)

CAPABILITY = Capability("lacking", options=(LACKS,), settings={LACKS.keyword: ()})
