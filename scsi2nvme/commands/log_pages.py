"""The table of log pages.

A page is a row: which logs of the controller it needs, and how they become
log parameters. Spec: SPC-4 7.3, SBC-3 6.3; NVMe Base 2.0 5.16.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import SELF_TEST_LOG_BYTES, SELF_TEST_RESULT, SMART_LOG
from scsi2nvme.scsi.sense import (
    INFORMATIONAL_CACHE_NOW_VOLATILE,
    INFORMATIONAL_HARDWARE_IMPENDING_FAILURE,
    INFORMATIONAL_SPARE_AREA_EXHAUSTION,
    INFORMATIONAL_TEMPERATURE_EXCEEDED,
    INFORMATIONAL_WRITE_PROTECTED,
    LOGICAL_UNIT_FAILED_SELF_TEST,
    NO_ADDITIONAL_SENSE_INFORMATION,
    SenseCode,
)
from scsi2nvme.unit.counters import (
    BYTES_PROCESSED,
    UNCORRECTED_ERRORS,
    VERIFY_ERRORS,
    WRITE_ERRORS,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages import INFORMATIONAL_EXCEPTIONS_CONTROL

DATA_UNIT_BYTES = 512_000  # Spec: NVMe Base 2.0 figure 208 (Data Units Read)
ZERO_CELSIUS = 273  # kelvin, as the SMART log rounds it
RETAIN_EVENT = 1 << 15  # RAE: the driver, not LOG SENSE, answers asynchronous events


class Log(IntEnum):
    """Log page identifiers of the controller. Spec: NVMe Base 2.0 figure 202."""

    SMART = 0x02
    SELF_TEST = 0x06


LOG_BYTES = {Log.SMART: SMART_LOG.size, Log.SELF_TEST: SELF_TEST_LOG_BYTES}


def get_log(log: Log) -> NvmeCommand:
    """Return the command that reads a whole log of the controller."""
    size = LOG_BYTES[log]
    return NvmeCommand(
        AdminOpcode.GET_LOG_PAGE,
        nsid=BROADCAST_NSID,
        cdw10=log | RETAIN_EVENT | (size // 4 - 1) << 16,
        data_in=size,
        admin=True,
    )


class Linking(IntEnum):
    """FORMAT AND LINKING. Spec: SPC-4 7.3.2."""

    BOUNDED_COUNTER = 0b00
    ASCII_LIST = 0b01
    UNBOUNDED_COUNTER = 0b10
    BINARY_LIST = 0b11


PAGE_HEADER = Structure(
    "Log page header",
    4,
    (
        Field("ds", 0, 7, 1, "LOG SELECT with SP does not save the page"),
        Field("spf", 0, 6, 1, "subpage format"),
        Field("page_code", 0, 0, 6),
        Field("subpage_code", 1),
        Field("page_length", 2, 0, 16),
    ),
    spec="SPC-4 7.3.2",
)
PARAMETER_HEADER = Structure(
    "Log parameter header",
    4,
    (
        Field("parameter_code", 0, 0, 16),
        Field("du", 2, 7, 1),
        Field("tsd", 2, 5, 1),
        Field("etc", 2, 4, 1),
        Field("tmc", 2, 2, 2),
        Field("format_and_linking", 2, 0, 2),
        Field("parameter_length", 3),
    ),
    spec="SPC-4 7.3.2",
)
COUNTER = Structure("Error counter", 8, (Field("count", 0, 0, 64),), spec="SPC-4 7.3.14")
TEMPERATURE = Structure(
    "Temperature", 2, (Field("temperature", 1, doc="Celsius, FFh: unknown"),), spec="SPC-4 7.3.21"
)
CYCLES = Structure(
    "Accumulated start-stop cycles", 4, (Field("cycles", 0, 0, 32),), spec="SPC-4 7.3.17"
)
SELF_TEST = Structure(
    "Self-test results",
    16,
    (
        Field("code", 0, 5, 3),
        Field("results", 0, 0, 4),
        Field("number", 1, doc="the segment that failed"),
        Field("power_on_hours", 2, 0, 16),
        Field("address", 4, 0, 64, "of the first failure, all ones: none"),
        Field("sense_key", 12, 0, 4),
        Field("asc", 13),
        Field("ascq", 14),
    ),
    spec="SPC-4 7.3.16",
)
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
STATISTICS = Structure(
    "General access statistics and performance",
    64,
    (
        Field("read_commands", 0, 0, 64),
        Field("write_commands", 8, 0, 64),
        Field("blocks_received", 16, 0, 64, "written"),
        Field("blocks_transmitted", 24, 0, 64, "read"),
        Field("read_intervals", 32, 0, 64),
        Field("write_intervals", 40, 0, 64),
        Field("weighted_commands", 48, 0, 64),
        Field("weighted_intervals", 56, 0, 64),
    ),
    spec="SPC-4 7.3.6",
)
IDLE_TIME = Structure("Idle time", 8, (Field("intervals", 0, 0, 64),), spec="SPC-4 7.3.6")
TIME_INTERVAL = Structure(
    "Time interval descriptor",
    8,
    (Field("exponent", 0, 0, 32, "a negative power of ten"), Field("integer", 4, 0, 32, "seconds")),
    spec="SPC-4 7.3.6",
)
INFORMATIONAL_EXCEPTION = Structure(
    "Informational exceptions",
    4,
    (
        Field("asc", 0),
        Field("ascq", 1),
        Field("temperature", 2, doc="Celsius, FFh: unknown"),
        Field("threshold", 3, doc="vendor specific: the warning threshold, as disks do"),
    ),
    spec="SPC-4 7.3.8",
)


@dataclass(frozen=True)
class Parameter:
    """One log parameter."""

    code: int
    value: bytes
    linking: Linking = Linking.BINARY_LIST

    @property
    def data(self) -> bytes:
        """The parameter with its header."""
        header = PARAMETER_HEADER.build(
            parameter_code=self.code,
            format_and_linking=self.linking,
            parameter_length=len(self.value),
        )
        return header + self.value


Logs = Mapping[Log, bytes]


@dataclass(frozen=True)
class LogPage:
    """One row.

    `parameters` ascend by code. `counters`: the page holds counters, so PC
    matters. `own`: the parameter codes of those that the target keeps, which
    LOG SELECT may set. A page without `parameters` is a list of pages.
    """

    code: int
    name: str
    spec: str
    parameters: Callable[[LogicalUnit, Logs], tuple[Parameter, ...]] | None = None
    needs: tuple[Log, ...] = ()
    subpage: int = 0
    counters: bool = False
    own: tuple[int, ...] = ()
    supported: Callable[[LogicalUnit], bool] = lambda lu: True


def _smart(logs: Logs) -> Values:
    return SMART_LOG.parse(logs[Log.SMART])


def _saturated(value: int, structure: Structure, name: str) -> int:
    """Return what fits: the controller's counters have 128 bits."""
    return min(value, structure.by_name[name].maximum)


def _count(code: int, value: int) -> Parameter:
    data = COUNTER.build(count=_saturated(value, COUNTER, "count"))
    return Parameter(code, data, Linking.BOUNDED_COUNTER)


def _own(lu: LogicalUnit, page_code: int, code: int) -> Parameter:
    """Return what the target itself counts."""
    return _count(code, lu.counters.value(page_code, code))


def _write_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (
        _count(BYTES_PROCESSED, _smart(logs).data_units_written * DATA_UNIT_BYTES),
        _own(lu, WRITE_ERRORS, UNCORRECTED_ERRORS),
    )


def _read_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """The controller does not say in which direction the medium failed: say reading."""
    smart = _smart(logs)
    return (
        _count(BYTES_PROCESSED, smart.data_units_read * DATA_UNIT_BYTES),
        _count(UNCORRECTED_ERRORS, smart.media_errors),
    )


def _verify_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (_own(lu, VERIFY_ERRORS, UNCORRECTED_ERRORS),)


def _non_medium_errors(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Every error has an entry in the error log, so what remains is not the medium's."""
    smart = _smart(logs)
    return (_count(0x0000, max(smart.num_err_log_entries - smart.media_errors, 0)),)


def celsius(kelvin: int) -> int:
    """Return a temperature in SPC's form; 0 kelvin means that there is no sensor."""
    return min(max(kelvin - ZERO_CELSIUS, 0), 0xFE) if kelvin else 0xFF


def _temperature(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.21; the reference is the warning threshold."""
    degrees = celsius(_smart(logs).temperature), celsius(lu.facts.controller.wctemp)
    return tuple(
        Parameter(code, TEMPERATURE.build(temperature=value)) for code, value in enumerate(degrees)
    )


def _start_stop(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    cycles = _saturated(_smart(logs).power_cycles, CYCLES, "cycles")
    return (Parameter(0x0004, CYCLES.build(cycles=cycles)),)


# Self-test result of the controller to SCSI. Spec: NVMe Base 2.0 figure 213, SPC-4 7.3.16.
_SELF_TEST_RESULTS = {
    0x0: 0x0,  # no error
    0x1: 0x1,  # aborted by a command
    0x2: 0x2,  # by a reset
    0x3: 0x2,  # by removal of the namespace
    0x4: 0x2,  # by Format NVM
    0x5: 0x3,  # unknown error
    0x6: 0x4,  # an unknown segment failed
    0x8: 0x2,  # aborted for an unknown reason
    0x9: 0x2,  # by Sanitize
}
_SEGMENT_FAILED, _NOT_USED = 0x7, 0xF
_IN_PROGRESS = 0xF  # in SCSI
FLBA_VALID = 1 << 1  # valid diagnostic information. Spec: NVMe Base 2.0 figure 213
NOWHERE = SELF_TEST.by_name["address"].maximum


def _self_test_entry(result: Values) -> bytes:
    """Translate one result; an unused one is all zeroes."""
    if result.result == _NOT_USED:
        return bytes(SELF_TEST.size)
    if result.result == _SEGMENT_FAILED:
        results = {1: 0x5, 2: 0x6}.get(result.segment, 0x7)
    else:
        results = _SELF_TEST_RESULTS.get(result.result, 0x3)
    failed = results >= 0x3
    where = result.flba if failed and result.valid & FLBA_VALID else NOWHERE
    sense = LOGICAL_UNIT_FAILED_SELF_TEST if failed else NO_ADDITIONAL_SENSE_INFORMATION
    return SELF_TEST.build(
        code=_self_test_code(result.code),
        results=results,
        number=result.segment if result.result == _SEGMENT_FAILED else 0,
        power_on_hours=_saturated(result.poh, SELF_TEST, "power_on_hours"),
        address=where,
        sense_key=sense.key,
        asc=sense.asc,
        ascq=sense.ascq,
    )


def _self_test_code(code: int) -> int:
    """Return the background short or extended self-test; other codes have no equal."""
    return code if code in (1, 2) else 0


def _self_tests(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """All twenty are always there, the newest first. Spec: SPC-4 7.3.16."""
    log = logs[Log.SELF_TEST]
    entries = [
        _self_test_entry(SELF_TEST_RESULT.parse(log[at : at + SELF_TEST_RESULT.size]))
        for at in range(4, SELF_TEST_LOG_BYTES, SELF_TEST_RESULT.size)
    ]
    running = log[0] & 0xF
    if running:
        code = _self_test_code(running)
        entries.insert(0, SELF_TEST.build(code=code, results=_IN_PROGRESS, address=NOWHERE))
    return tuple(Parameter(code, entry) for code, entry in enumerate(entries[:20], start=1))


def _solid_state_media(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return (Parameter(0x0001, ENDURANCE.build(percent_used=_smart(logs).percent_used)),)


def _background_scan(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """What the controller scans in the background it does not tell; hours it does."""
    hours = _smart(logs).power_on_hours
    minutes = _saturated(hours * 60, BACKGROUND_SCAN, "power_on_minutes")
    return (Parameter(0x0000, BACKGROUND_SCAN.build(power_on_minutes=minutes)),)


def _statistics(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.6. The controller counts for all its namespaces, and in minutes."""
    smart = _smart(logs)
    values = {
        "read_commands": smart.host_read_commands,
        "write_commands": smart.host_write_commands,
        "blocks_received": smart.data_units_written * DATA_UNIT_BYTES // lu.block_bytes,
        "blocks_transmitted": smart.data_units_read * DATA_UNIT_BYTES // lu.block_bytes,
    }
    fitting = {name: _saturated(value, STATISTICS, name) for name, value in values.items()}
    idle = max(smart.power_on_hours * 60 - smart.controller_busy_time, 0)
    intervals = _saturated(idle, IDLE_TIME, "intervals")
    return (
        Parameter(0x0001, STATISTICS.build(**fitting), Linking.UNBOUNDED_COUNTER),
        Parameter(0x0002, IDLE_TIME.build(intervals=intervals), Linking.UNBOUNDED_COUNTER),
        Parameter(0x0003, TIME_INTERVAL.build(integer=60)),
    )


# Critical warning bits, the gravest first. Spec: NVMe Base 2.0 figure 208.
_CRITICAL_WARNINGS = (
    (1 << 3, INFORMATIONAL_WRITE_PROTECTED),
    (1 << 2, INFORMATIONAL_HARDWARE_IMPENDING_FAILURE),
    (1 << 0, INFORMATIONAL_SPARE_AREA_EXHAUSTION),
    (1 << 4, INFORMATIONAL_CACHE_NOW_VOLATILE),
    (1 << 1, INFORMATIONAL_TEMPERATURE_EXCEEDED),
)
_WARNING_ASC = 0x0B


def informational_exception(lu: LogicalUnit, smart: Values) -> SenseCode | None:
    """Return what the controller warns of, as far as mode page 1Ch lets it be told.

    Spec: SPC-4 7.5.11 (DEXCPT disables all, EWASC enables warnings).
    """
    mode = lu.mode
    if mode.field(INFORMATIONAL_EXCEPTIONS_CONTROL, "dexcpt"):
        return None
    warnings = mode.field(INFORMATIONAL_EXCEPTIONS_CONTROL, "ewasc")
    for bit, code in _CRITICAL_WARNINGS:
        if smart.critical_warning & bit and (warnings or code.asc != _WARNING_ASC):
            return code
    return None


def _informational_exceptions(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    smart = _smart(logs)
    code = informational_exception(lu, smart)
    value = INFORMATIONAL_EXCEPTION.build(
        asc=code.asc if code else 0,
        ascq=code.ascq if code else 0,
        temperature=celsius(smart.temperature),
        threshold=celsius(lu.facts.controller.wctemp),
    )
    return (Parameter(0x0000, value),)


def _has_self_tests(lu: LogicalUnit) -> bool:
    return lu.facts.controller_bit("oacs", 4)


_SMART = (Log.SMART,)
_OWN = (UNCORRECTED_ERRORS,)
# In ascending order, as the lists of pages are. Spec: SPC-4 7.3.18 and 7.3.19.
PAGES = (
    LogPage(0x00, "Supported Log Pages", "SPC-4 7.3.18"),
    LogPage(0x00, "Supported Log Pages and Subpages", "SPC-4 7.3.19", subpage=0xFF),
    LogPage(
        WRITE_ERRORS,
        "Write Error Counters",
        "SPC-4 7.3.23",
        _write_errors,
        _SMART,
        counters=True,
        own=_OWN,
    ),
    LogPage(0x03, "Read Error Counters", "SPC-4 7.3.14", _read_errors, _SMART, counters=True),
    LogPage(
        VERIFY_ERRORS,
        "Verify Error Counters",
        "SPC-4 7.3.22",
        _verify_errors,
        counters=True,
        own=_OWN,
    ),
    LogPage(0x06, "Non-Medium Error", "SPC-4 7.3.11", _non_medium_errors, _SMART, counters=True),
    LogPage(0x0D, "Temperature", "SPC-4 7.3.21", _temperature, _SMART),
    LogPage(0x0E, "Start-Stop Cycle Counter", "SPC-4 7.3.17", _start_stop, _SMART),
    LogPage(
        0x10,
        "Self-Test Results",
        "SPC-4 7.3.16",
        _self_tests,
        (Log.SELF_TEST,),
        supported=_has_self_tests,
    ),
    LogPage(0x11, "Solid State Media", "SBC-3 6.3", _solid_state_media, _SMART),
    LogPage(0x15, "Background Scan", "SBC-3 6.3", _background_scan, _SMART),
    LogPage(
        0x19,
        "General Statistics and Performance",
        "SPC-4 7.3.6",
        _statistics,
        _SMART,
        counters=True,
    ),
    LogPage(0x2F, "Informational Exceptions", "SPC-4 7.3.8", _informational_exceptions, _SMART),
)
