"""Health: the SMART log, and temperatures that are too high or too low.

Spec: NVMe Base 2.0c 5.16, 5.27.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capabilities.features import Features
from scsi2nvme.drivers.emulated.capabilities.told import told
from scsi2nvme.drivers.emulated.capability import (
    Capability,
    Controller,
    Feature,
    Fields,
    LogPage,
    Part,
)
from scsi2nvme.drivers.emulated.model import TEMPERATURE_K, invalid_field
from scsi2nvme.fields import Values
from scsi2nvme.nvme.structures import SMART_LOG

_THRESHOLDS = 0x04
_WARNING_TEMPERATURE_K = 343
_CRITICAL_TEMPERATURE_K = 353
_DATA_UNIT_BYTES = 512 * 1000


class Alarm(Part):
    """A reset restores the thresholds, and no temperature is beyond those."""

    def __init__(self, controller: Controller) -> None:
        self._model = controller.model

    def reset(self) -> None:
        """See Part."""
        self._model.set_temperature_alarm(False)


def _smart(controller: Controller) -> bytes:
    totals = controller.model.smart()
    fields = {
        "critical_warning": controller.model.critical_warning,
        "temperature": TEMPERATURE_K,
        "avail_spare": 100,
        "spare_thresh": 10,
        "data_units_read": -(-totals.bytes_read // _DATA_UNIT_BYTES),
        "data_units_written": -(-totals.bytes_written // _DATA_UNIT_BYTES),
        "host_read_commands": totals.host_reads,
        "host_write_commands": totals.host_writes,
        "power_cycles": totals.power_cycles,
        "power_on_hours": int(totals.power_on_seconds) // 3600,
        "unsafe_shutdowns": totals.unsafe_shutdowns,
        "media_errors": totals.media_errors,
        "num_err_log_entries": totals.error_count,
        "temperature_sensor_1": TEMPERATURE_K,
    }
    return SMART_LOG.build(**fields | told(controller.settings, "smart"))


def _key(value: int) -> int:
    return value >> 16 & 0x3F  # TMPSEL, THSEL


def _check(controller: Controller, value: int) -> int:
    selected, kind = value >> 16 & 0xF, value >> 20 & 3
    if selected not in (0, 1, 0xF) or kind > 1:
        raise invalid_field(46)
    return value & 0x3FFFFF


def _apply(controller: Controller, command: Values) -> None:
    """Compare the composite temperature with its thresholds."""
    values, value = controller.part(Features).values, command.cdw11
    if value >> 16 & 0xF == 0xF:  # all sensors: we compare the composite one
        values[_THRESHOLDS, 0, value >> 16 & 0x30] = value & 0x30FFFF
    over = values.get((_THRESHOLDS, 0, 0), _WARNING_TEMPERATURE_K) & 0xFFFF
    under = values.get((_THRESHOLDS, 0, 0x10), 0) & 0xFFFF
    controller.model.set_temperature_alarm(over <= TEMPERATURE_K or under >= TEMPERATURE_K)


def _controller(controller: Controller) -> Fields:
    return {"wctemp": _WARNING_TEMPERATURE_K, "cctemp": _CRITICAL_TEMPERATURE_K}


CAPABILITY = Capability(
    "health",
    log_pages=(LogPage(0x02, _smart, controller_only=True),),
    features=(
        Feature(_THRESHOLDS, default=_WARNING_TEMPERATURE_K, check=_check, apply=_apply, key=_key),
    ),
    controller=_controller,
    start=Alarm,
)
