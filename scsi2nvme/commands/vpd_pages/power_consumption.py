"""VPD page 8Dh."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure, Values

POWER_CONSUMPTION = Structure(
    "Power consumption descriptor",
    4,
    (
        Field("identifier", 0, doc="the NVMe power state"),
        Field("units", 1, 0, 3, "011b: watts, 100b: milliwatts"),
        Field("value", 2, 0, 16),
    ),
    spec="SPC-4 7.8.11",
)
_WATTS, _MILLIWATTS = 0b011, 0b100
_MOST = 0xFFFF


def _descriptor(state: int, power: Values) -> bytes:
    """Return what a power state takes at most, rounded up. Spec: NVMe Base 2.0c figure 277."""
    milliwatts = -(-power.mp // 10) if power.mxps else 10 * power.mp
    units, value = _MILLIWATTS, milliwatts
    if milliwatts > _MOST:
        units, value = _WATTS, -(-milliwatts // 1000)
    return POWER_CONSUMPTION.build(identifier=state, units=units, value=value)


def power_consumption(task: Task) -> bytes:
    """List the operational power states, one of which mode page 1Ah/01h can choose."""
    facts = task.lu.facts
    return b"".join(
        _descriptor(state, facts.power_state(state)) for state in facts.operational_states
    )


PAGES = (
    VpdPage(
        0x8D,
        "Power Consumption",
        "SPC-4 7.8.11",
        power_consumption,
        supported=lambda lu: lu.facts.consumption_is_told,
    ),
)
