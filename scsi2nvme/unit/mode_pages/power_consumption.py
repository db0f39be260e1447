"""Mode page 1Ah, subpage 01h."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.mode_pages.page import ModePage


class ActiveLevel(IntEnum):
    """ACTIVE LEVEL. Spec: SPC-4 7.5.14."""

    BY_IDENTIFIER = 0b00
    HIGHEST = 0b01
    INTERMEDIATE = 0b10
    LOWEST = 0b11


def _wrong(values: Values, device: BlockDevice) -> str:
    by_identifier = values.active_level == ActiveLevel.BY_IDENTIFIER
    known = values.power_consumption_identifier in device.facts.operational_states
    return "power_consumption_identifier" if by_identifier and not known else ""


def most_powerful(values: Mapping[str, int], facts: NamespaceFacts) -> int:
    """Return the NVMe power state that takes the most of those that the page admits."""
    states = facts.operational_states
    level = values["active_level"]
    if level == ActiveLevel.BY_IDENTIFIER:
        identifier = values["power_consumption_identifier"]
        return identifier if identifier in states else 0
    if level == ActiveLevel.INTERMEDIATE:
        return states[len(states) // 2]
    return states[-1] if level == ActiveLevel.LOWEST else 0


_FIELDS = ("active_level", "power_consumption_identifier")
POWER_CONSUMPTION = ModePage(
    0x1A,
    Structure(
        "Power Consumption",
        16,
        (
            Field("active_level", 6, 0, 2, "01b highest, 10b intermediate, 11b lowest"),
            Field("power_consumption_identifier", 7, doc="of VPD page 8Dh, with ACTIVE LEVEL 00b"),
        ),
        spec="SPC-4 7.5.14",
    ),
    subpage=0x01,
    changeable=_FIELDS,
    unsaved=_FIELDS,
    wrong=_wrong,
    supported=lambda facts: facts.consumption_is_told,
)


PAGES = (POWER_CONSUMPTION,)
