"""Log pages 11h and 15h: how worn the medium is, and whether it is scanned. Spec: SBC-3 6.3."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import SMART, LogPage, Logs, Parameter, saturated, smart_log
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

ENDURANCE = Structure(
    "Percentage used endurance indicator", 4, (Field("percent_used", 3),), spec="SBC-3 6.3"
)

BACKGROUND_SCAN = Structure(
    "Background scan status",
    12,
    (
        Field("power_on_minutes", 0, 0, 32),
        Field("status", 5, doc="00h: no scan is active"),
        Field("scans_performed", 6, 0, 16),
        Field("progress", 8, 0, 16),
        Field("medium_scans_performed", 10, 0, 16),
    ),
    spec="SBC-3 6.3",
)


def _solid_state_media(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (Parameter(0x0001, ENDURANCE.build(percent_used=smart_log(logs).percent_used)),)


def _background_scan(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """What the controller scans in the background it does not tell; hours it does."""
    hours = smart_log(logs).power_on_hours
    minutes = saturated(hours * 60, BACKGROUND_SCAN, "power_on_minutes")
    return (Parameter(0x0000, BACKGROUND_SCAN.build(power_on_minutes=minutes)),)


PAGES = (
    LogPage(0x11, "Solid State Media", "SBC-3 6.3", _solid_state_media, (SMART,)),
    LogPage(0x15, "Background Scan", "SBC-3 6.3", _background_scan, (SMART,)),
)
