"""Log page 10h."""

from __future__ import annotations

from scsi2nvme.commands.diagnostics import Start
from scsi2nvme.commands.log_pages.page import Log, LogPage, Logs, Parameter, saturated
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.structures import SELF_TEST_LOG_BYTES, SELF_TEST_RESULT
from scsi2nvme.scsi.sense import LOGICAL_UNIT_FAILED_SELF_TEST, NO_ADDITIONAL_SENSE_INFORMATION
from scsi2nvme.unit.logical_unit import LogicalUnit

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

SELF_TEST_LOG = Log("SELF TEST", 0x06, SELF_TEST_LOG_BYTES)

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
_ENTRIES = 20
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
        power_on_hours=saturated(result.poh, SELF_TEST, "power_on_hours"),
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
    log = logs[SELF_TEST_LOG]
    results = (
        SELF_TEST_RESULT.parse(log[at : at + SELF_TEST_RESULT.size])
        for at in range(4, SELF_TEST_LOG.size, SELF_TEST_RESULT.size)
    )
    entries = [_self_test_entry(each) for each in results if each.code != Start.REFRESH]
    entries += [bytes(SELF_TEST.size)] * (_ENTRIES - len(entries))
    running = log[0] & 0xF
    if running not in (0, Start.REFRESH):
        code = _self_test_code(running)
        entries.insert(0, SELF_TEST.build(code=code, results=_IN_PROGRESS, address=NOWHERE))
    return tuple(Parameter(code, entry) for code, entry in enumerate(entries[:_ENTRIES], start=1))


def _has_self_tests(lu: LogicalUnit) -> bool:
    return lu.facts.controller_bit("oacs", 4)


PAGES = (
    LogPage(
        0x10,
        "Self-Test Results",
        "SPC-4 7.3.16",
        _self_tests,
        (SELF_TEST_LOG,),
        supported=_has_self_tests,
    ),
)
