"""Health: the SMART log, temperatures that are too high or too low, and how worn it is, on request.

Spec: NVMe Base 2.0c 5.16, 5.27.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
from scsi2nvme.drivers.emulated.model import (
    BACKUP,
    READ_ONLY,
    RELIABILITY,
    SPARE,
    TEMPERATURE,
    invalid_field,
)
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.structures import SMART_LOG

_THRESHOLDS = 0x04
_COMPOSITE, _ALL_SENSORS = 0, 0xF  # TMPSEL
_UNDER = 1 << 20  # THSEL
_SENSORS = 8
_ZERO_CELSIUS_K = 273
_WARNING_TEMPERATURE_K = 343
_CRITICAL_TEMPERATURE_K = 353
_DATA_UNIT_BYTES = 512 * 1000

_CELSIUS, _PERCENT, _COUNT, _SWITCH = range(-_ZERO_CELSIUS_K, 1000), range(101), 1 << 63, range(2)
# What can be asked for, and its values. Counts are added to what is counted.
FIELDS: dict[str, range] = {
    "temperature": _CELSIUS,
    **{f"sensor-{number}": _CELSIUS for number in range(1, _SENSORS + 1)},
    "spare": _PERCENT,
    "threshold": _PERCENT,
    "used": range(256),
    "reliability": _SWITCH,
    "read-only": _SWITCH,
    "backup-failed": _SWITCH,
    "media-errors": range(_COUNT),
    "power-on-hours": range(_COUNT),
    "power-cycles": range(_COUNT),
    "unsafe-shutdowns": range(_COUNT),
    "busy-minutes": range(_COUNT),
    "data-units-written": range(_COUNT),
    "data-units-read": range(_COUNT),
}
_DEFAULTS = {"temperature": 37, "spare": 100, "threshold": 10}
_SWITCHES = {"reliability": RELIABILITY, "read-only": READ_ONLY, "backup-failed": BACKUP}


def parse_health(text: str) -> tuple[str, int]:
    """Return field and value of `spare:5`; ValueError says what is wrong."""
    name, _, number = text.partition(":")
    if name not in FIELDS:
        raise ValueError(f"names none of {', '.join(FIELDS)}")
    try:
        value = int(number)
    except ValueError:
        raise ValueError(f"has {number!r}, which is no number") from None
    if value not in FIELDS[name]:
        least, most = FIELDS[name][0], FIELDS[name][-1]
        raise ValueError(f"has {number}, which is not between {least} and {most}")
    return name, value


HEALTH = Option(
    "health",
    "FIELD:VALUE",
    "be in this state of health (emulated only; may be repeated): FIELD is temperature or "
    f"sensor-1 to sensor-{_SENSORS} (Celsius), spare, threshold or used (percent), reliability, "
    "read-only or backup-failed (1: that is warned of), or a count as media-errors, "
    "power-on-hours, unsafe-shutdowns, which is added to what is counted",
    parse_health,
    81,
    "health",
    subject="a state of health to choose",
    repeatable=True,
)


class Health(Part):
    """How it is, and what of that is warned of. A reset restores the thresholds."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._values: dict[str, int] = {
            **dict.fromkeys(FIELDS, 0),
            **_DEFAULTS,
            **dict(controller.settings[HEALTH.keyword]),
        }
        given = dict(controller.settings[HEALTH.keyword])
        self._sensors = {n for n in range(1, _SENSORS + 1) if f"sensor-{n}" in given}
        controller.model.warn(self._warnings({}))

    def set(self, values: Mapping[str, int]) -> None:
        """Change some of FIELDS; ValueError for what is none, or no value of it."""
        for name, value in values.items():
            parse_health(f"{name}:{value}")
        self._sensors |= {n for n in range(1, _SENSORS + 1) if f"sensor-{n}" in values}
        self._values |= values
        self.judge()

    def reset(self) -> None:
        """See Part."""
        self._controller.model.warn(self._warnings({}))

    def judge(self) -> None:
        """Warn of what there is to be warned of, by the thresholds of Feature 04h."""
        self._controller.model.warn(self._warnings(self._controller.part(Features).values))

    def value(self, name: str) -> int:
        """Return one of FIELDS."""
        return self._values[name]

    def kelvin(self, sensor: int) -> int:
        """Return the temperature of a sensor, 0: it has none. The composite one has number 0."""
        if sensor == _COMPOSITE:
            return self._values["temperature"] + _ZERO_CELSIUS_K
        if sensor in self._sensors:
            return self._values[f"sensor-{sensor}"] + _ZERO_CELSIUS_K
        return self.kelvin(_COMPOSITE) if sensor == 1 else 0

    @property
    def sensors(self) -> Iterator[int]:
        """The numbers of those that are there, the composite one's first."""
        return (number for number in range(_SENSORS + 1) if self.kelvin(number))

    def _warnings(self, thresholds: Mapping[tuple[int, int, int], int]) -> int:
        """Return the critical warning. Spec: NVMe Base 2.0c figure 208."""
        values = self._values
        hot = any(self._beyond(sensor, thresholds) for sensor in self.sensors)
        warnings = (values["spare"] < values["threshold"]) << SPARE | hot << TEMPERATURE
        return warnings | sum(values[name] << bit for name, bit in _SWITCHES.items())

    def _beyond(self, sensor: int, thresholds: Mapping[tuple[int, int, int], int]) -> bool:
        kelvin = self.kelvin(sensor)
        over, under = (_threshold(key, thresholds) for key in (sensor, sensor | _UNDER >> 16))
        return kelvin >= over or kelvin <= under


def _threshold(key: int, thresholds: Mapping[tuple[int, int, int], int]) -> int:
    """Return what was set of a sensor's threshold, over or under, or its default."""
    default = _WARNING_TEMPERATURE_K if key == _COMPOSITE else 0xFFFF
    return thresholds.get((_THRESHOLDS, 0, key), 0 if key & 0x10 else default) & 0xFFFF


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    """Nothing is saved: there are current values, and defaults."""
    current = not command.cdw10 >> 8 & 7
    values = controller.part(Features).values if current else {}
    return _threshold(_key(command.cdw11), values), b""


def smart_log(controller: Controller) -> bytes:
    """Return the SMART log."""
    totals, health = controller.model.smart(), controller.part(Health)
    read = -(-totals.bytes_read // _DATA_UNIT_BYTES)
    written = -(-totals.bytes_written // _DATA_UNIT_BYTES)
    hours = int(totals.power_on_seconds) // 3600
    fields = {
        "critical_warning": controller.model.critical_warning,
        "temperature": health.kelvin(_COMPOSITE),
        "avail_spare": health.value("spare"),
        "spare_thresh": health.value("threshold"),
        "percent_used": health.value("used"),
        "data_units_read": read + health.value("data-units-read"),
        "data_units_written": written + health.value("data-units-written"),
        "host_read_commands": totals.host_reads,
        "host_write_commands": totals.host_writes,
        "controller_busy_time": health.value("busy-minutes"),
        "power_cycles": totals.power_cycles + health.value("power-cycles"),
        "power_on_hours": hours + health.value("power-on-hours"),
        "unsafe_shutdowns": totals.unsafe_shutdowns + health.value("unsafe-shutdowns"),
        "media_errors": totals.media_errors + health.value("media-errors"),
        "num_err_log_entries": totals.error_count,
        **{f"temperature_sensor_{n}": health.kelvin(n) for n in range(1, _SENSORS + 1)},
    }
    return SMART_LOG.build(**fields | told(controller.settings, "smart"))


def _key(value: int) -> int:
    return value >> 16 & 0x3F  # TMPSEL, THSEL


def _check(controller: Controller, value: int) -> int:
    selected, kind = value >> 16 & 0xF, value >> 20 & 3
    if selected not in (*controller.part(Health).sensors, _ALL_SENSORS) or kind > 1:
        raise invalid_field(46)
    return value & 0x3FFFFF


def _apply(controller: Controller, command: Values) -> None:
    """Compare the temperatures with their thresholds."""
    value, health = command.cdw11, controller.part(Health)
    if value >> 16 & 0xF == _ALL_SENSORS:
        values = controller.part(Features).values
        for sensor in health.sensors:
            values[_THRESHOLDS, 0, sensor | value >> 16 & 0x30] = value & 0x30FFFF | sensor << 16
    health.judge()


def _controller(controller: Controller) -> Fields:
    return {"wctemp": _WARNING_TEMPERATURE_K, "cctemp": _CRITICAL_TEMPERATURE_K}


CAPABILITY = Capability(
    "health",
    log_pages=(LogPage(0x02, smart_log, controller_only=True),),
    features=(
        Feature(
            _THRESHOLDS,
            default=_WARNING_TEMPERATURE_K,
            check=_check,
            apply=_apply,
            key=_key,
            get=_get,
        ),
    ),
    controller=_controller,
    options=(HEALTH,),
    settings={HEALTH.keyword: ()},
    start=Health,
)
