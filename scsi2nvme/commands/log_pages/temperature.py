"""Log page 0Dh: temperatures, and which are too much. Spec: SPC-4 7.3.21, SPC-5 7.3.9, 7.3.10."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.commands.log_pages.page import (
    SMART,
    ZERO_CELSIUS,
    Feature,
    LogPage,
    Logs,
    Parameter,
    celsius,
    smart_log,
)
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.unit.logical_unit import LogicalUnit

TEMPERATURE = Structure(
    "Temperature", 2, (Field("temperature", 1, doc="Celsius, FFh: unknown"),), spec="SPC-4 7.3.21"
)

ENVIRONMENTAL_REPORTING = Structure(
    "Temperature report",
    8,
    (
        Field("otv", 0, 0, 1, "the last two are valid"),
        Field("temperature", 1, doc="Celsius, signed; 80h: not told"),
        Field("lifetime_maximum", 2),
        Field("lifetime_minimum", 3),
        Field("maximum_since_power_on", 4),
        Field("minimum_since_power_on", 5),
        Field("maximum_other", 6),
        Field("minimum_other", 7),
    ),
    spec="SPC-5 7.3.9",
)

ENVIRONMENTAL_LIMITS = Structure(
    "Temperature limits",
    8,
    (
        Field("high_critical_trigger", 0, doc="Celsius, signed; 80h: none"),
        Field("high_critical_reset", 1),
        Field("low_critical_reset", 2),
        Field("low_critical_trigger", 3),
        Field("high_operating_trigger", 4),
        Field("high_operating_reset", 5),
        Field("low_operating_reset", 6),
        Field("low_operating_trigger", 7),
    ),
    spec="SPC-5 7.3.10",
)

_NONE = 0x80  # of a signed temperature
_SENSORS = 8
_OVER = Feature("TEMPERATURE THRESHOLD, over", 0x04)
_UNDER = Feature("TEMPERATURE THRESHOLD, under", 0x04, 1 << 20)
_LOWEST, _HIGHEST = -127, 127


def signed(kelvin: int) -> int:
    """Return a temperature in a signed byte; 0 kelvin means that there is none."""
    if not kelvin:
        return _NONE
    return min(max(kelvin - ZERO_CELSIUS, _LOWEST), _HIGHEST) & 0xFF


def _temperature(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.21; the reference is the warning threshold."""
    degrees = celsius(smart_log(logs).temperature), celsius(lu.facts.controller.wctemp)
    return tuple(
        Parameter(code, TEMPERATURE.build(temperature=value)) for code, value in enumerate(degrees)
    )


def sensors(smart: Values) -> Iterator[tuple[int, int]]:
    """Yield number and kelvin of each sensor: 0, the composite one, always."""
    yield 0, smart.temperature
    for number in range(1, _SENSORS + 1):
        if kelvin := smart[f"temperature_sensor_{number}"]:
            yield number, kelvin


def _reporting(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """What was once, controllers do not tell."""
    untold = dict.fromkeys(
        [name for name in ENVIRONMENTAL_REPORTING.by_name if name not in ("otv", "temperature")],
        _NONE,
    )
    return tuple(
        Parameter(number, ENVIRONMENTAL_REPORTING.build(temperature=signed(kelvin), **untold))
        for number, kelvin in sensors(smart_log(logs))
    )


def _limits(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Where a limit is passed is where it is kept again: hysteresis is not asked for."""
    over, under = (int.from_bytes(logs[each], "little") & 0xFFFF for each in (_OVER, _UNDER))
    critical, high, low = signed(lu.facts.controller.cctemp), signed(over), signed(under)
    limits = ENVIRONMENTAL_LIMITS.build(
        high_critical_trigger=critical,
        high_critical_reset=critical,
        low_critical_reset=_NONE,
        low_critical_trigger=_NONE,
        high_operating_trigger=_NONE if over == 0xFFFF else high,
        high_operating_reset=_NONE if over == 0xFFFF else high,
        low_operating_reset=low,
        low_operating_trigger=low,
    )
    return (Parameter(0x0000, limits),)


PAGES = (
    LogPage(0x0D, "Temperature", "SPC-4 7.3.21", _temperature, (SMART,)),
    LogPage(0x0D, "Environmental Reporting", "SPC-5 7.3.9", _reporting, (SMART,), subpage=0x01),
    LogPage(0x0D, "Environmental Limits", "SPC-5 7.3.10", _limits, (_OVER, _UNDER), subpage=0x02),
)
