"""Mode page 1Ch, subpage 02h."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import ModePage

AVAILABLE, USED = 0x01, 0x02  # THRESHOLD RESOURCE: as the parameter of log page 0Ch
_DECREASING, _INCREASING = 0, 1  # THRESHOLD ARMING


def _descriptor(name: str, byte: int) -> tuple[Field, ...]:
    """Return the fields of a threshold descriptor: of a count, in threshold sets."""
    return (
        Field(f"{name}_enabled", byte, 7, 1),
        Field(f"{name}_type", byte, 3, 3, "000b: a count is a threshold"),
        Field(f"{name}_arming", byte, 0, 3, "000b: reached by less, 001b: by more"),
        Field(f"{name}_resource", byte + 1),
        Field(f"{name}_count", byte + 4, 0, 32, "threshold sets"),
    )


PROVISIONING_THRESHOLDS = ModePage(
    0x1C,
    Structure(
        "Logical Block Provisioning",
        32,
        (
            Field("situa", 4, 0, 1, "one I_T nexus is told"),
            *_descriptor("available", 16),
            *_descriptor("used", 24),
        ),
        spec="SBC-3 6.4.7",
    ),
    subpage=0x02,
    changeable=("situa", "available_enabled", "available_count", "used_enabled", "used_count"),
    defaults=lambda facts: {
        "available_arming": _DECREASING,
        "available_resource": AVAILABLE,
        "used_arming": _INCREASING,
        "used_resource": USED,
    },
    supported=lambda facts: facts.thin,
)


PAGES = (PROVISIONING_THRESHOLDS,)
