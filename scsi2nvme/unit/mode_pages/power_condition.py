"""Mode page 1Ah."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import ModePage

POWER_CONDITION = ModePage(
    0x1A,
    Structure(
        "Power Condition",
        40,
        (
            Field("pm_bg_precedence", 2, 6, 2),
            Field("standby_y", 2, 0, 1),
            Field("idle_c", 3, 3, 1),
            Field("idle_b", 3, 2, 1),
            Field("idle_a", 3, 1, 1),
            Field("standby_z", 3, 0, 1),
            Field("idle_a_timer", 4, 0, 32, "100 ms"),
            Field("standby_z_timer", 8, 0, 32, "100 ms"),
            Field("idle_b_timer", 12, 0, 32, "100 ms"),
            Field("idle_c_timer", 16, 0, 32, "100 ms"),
            Field("standby_y_timer", 20, 0, 32, "100 ms"),
            Field("ccf_idle", 39, 6, 2),
            Field("ccf_standby", 39, 4, 2),
            Field("ccf_stopped", 39, 2, 2),
        ),
        spec="SPC-4 7.5.13",
    ),
    changeable=tuple(
        name
        for condition in ("idle_a", "idle_b", "idle_c", "standby_y", "standby_z")
        for name in (condition, f"{condition}_timer")
    ),
)


PAGES = (POWER_CONDITION,)
