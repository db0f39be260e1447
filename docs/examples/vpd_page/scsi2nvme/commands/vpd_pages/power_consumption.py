"""VPD page 8Dh."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import POWER_STATE

POWER_CONSUMPTION = Structure(
    "Power consumption descriptor",
    4,
    (
        Field("identifier", 0),
        Field("units", 1, 0, 3, "100b: milliwatts"),
        Field("value", 2, 0, 16),
    ),
    spec="SPC-4 7.8.11",
)
_MILLIWATTS = 0b100


def power_consumption(task: Task) -> bytes:
    """Return the most that each power state takes. Spec: NVMe Base 2.0c figure 277 (MP, MXPS)."""
    controller = task.lu.facts.controller
    raw, size = controller.bytes("psds"), POWER_STATE.size
    answer = b""
    for state in range((controller.npss & 0x1F) + 1):
        power = POWER_STATE.parse(raw[state * size : (state + 1) * size])
        milliwatts = -(-power.mp // 10) if power.mxps else 10 * power.mp
        answer += POWER_CONSUMPTION.build(
            identifier=state, units=_MILLIWATTS, value=min(milliwatts, 0xFFFF)
        )
    return answer


PAGES = (VpdPage(0x8D, "Power Consumption", "SPC-4 7.8.11", power_consumption),)
