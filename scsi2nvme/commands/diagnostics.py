"""SEND DIAGNOSTIC as Device Self-test, or with a page, and READ DEFECT DATA.

Spec: SPC-4 6.42, 5.4 (self-test operations), SBC-3 5.17, 5.18; NVMe Base 2.0 5.9.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.diagnostic_pages import send_page
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.log_structures import SELF_TEST_LOG
from scsi2nvme.nvme.structures import SELF_TEST_RESULT
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import GOOD, CheckCondition, Progress, Result, Translation
from scsi2nvme.scsi.sense import LOGICAL_UNIT_FAILED_SELF_TEST, Sense
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

OACS_SELF_TEST = 4
POLL_S = 1.0
_HEADER_BYTES = 4  # of the log, before its results
_PASSED = 0x0  # self-test result code


class SelfTest(IntEnum):
    """SELF-TEST CODE. Spec: SPC-4 6.42."""

    NONE = 0
    BACKGROUND_SHORT = 1
    BACKGROUND_EXTENDED = 2
    ABORT_BACKGROUND = 4
    FOREGROUND_SHORT = 5
    FOREGROUND_EXTENDED = 6


class Start(IntEnum):
    """STC of Device Self-test. Spec: NVMe Base 2.2 figure 172."""

    SHORT = 0x1
    EXTENDED = 0x2
    REFRESH = 0x3  # no test of anything: see `background_operations`
    ABORT = 0xF


_START = {
    SelfTest.BACKGROUND_SHORT: Start.SHORT,
    SelfTest.FOREGROUND_SHORT: Start.SHORT,
    SelfTest.BACKGROUND_EXTENDED: Start.EXTENDED,
    SelfTest.FOREGROUND_EXTENDED: Start.EXTENDED,
}


@dataclass(frozen=True)
class RunningTest:
    """A self-test under way. `fraction` is of 65536."""

    fraction: int


def _self_test_log(lu: LogicalUnit) -> Generator[NvmeCommand, Any, bytes]:
    size = _HEADER_BYTES + SELF_TEST_RESULT.size
    completion = yield get_log_page(SELF_TEST_LOG, lu.nsid, size, retain=False)
    data: bytes = completion.data
    return data


def _running(lu: LogicalUnit, log: bytes) -> RunningTest | None:
    """Return the test that the log's first bytes tell of. Spec: NVMe Base 2.0 figure 212."""
    lu.self_test_running = log[0] & 0xF not in (0, Start.REFRESH)
    percent = min(log[1] & 0x7F, 100)
    return RunningTest(min(percent * 65536 // 100, 0xFFFF)) if lu.self_test_running else None


def current_self_test(
    lu: LogicalUnit,
) -> Generator[NvmeCommand, Any, RunningTest | None]:
    """Return the self-test that the controller runs now, None if there is none."""
    return _running(lu, (yield from _self_test_log(lu)))


def operation_under_way(lu: LogicalUnit) -> Generator[NvmeCommand, Any, int]:
    """Return which operation the controller runs as a device self-test, 0: none."""
    return (yield from _self_test_log(lu))[0] & 0xF


def _device_self_test(lu: LogicalUnit, start: Start) -> NvmeCommand:
    return NvmeCommand(AdminOpcode.DEVICE_SELF_TEST, nsid=lu.nsid, cdw10=start, admin=True)


def send_diagnostic(task: Task) -> Translation:
    """Spec: SPC-4 6.42, 5.4.3, 5.4.4.

    The default self-test is a short one in the foreground; without Device
    Self-test, that the controller answered is all there is to it.
    """
    lu, cdb = task.lu, task.cdb
    if cdb.parameter_list_length and (cdb.selftest or cdb.self_test_code):
        raise task.invalid_field("parameter_list_length")
    if cdb.parameter_list_length and not cdb.pf:
        raise task.invalid_field("pf")
    if task.data_out:
        return (yield from send_page(task))
    try:
        test = SelfTest(cdb.self_test_code)
    except ValueError:
        raise task.invalid_field("self_test_code") from None
    if cdb.selftest:
        if test is not SelfTest.NONE:
            raise task.invalid_field("self_test_code")
        if not lu.facts.controller_bit("oacs", OACS_SELF_TEST):
            return GOOD
        test = SelfTest.FOREGROUND_SHORT
    if test is SelfTest.NONE:
        return GOOD
    if not lu.facts.controller_bit("oacs", OACS_SELF_TEST):
        raise task.invalid_field("self_test_code")
    if test is SelfTest.ABORT_BACKGROUND:
        if (yield from current_self_test(lu)) is None:
            raise task.invalid_field("self_test_code")
        yield _device_self_test(lu, Start.ABORT)
        lu.self_test_running = False
        return GOOD
    yield _device_self_test(lu, _START[test])
    lu.self_test_running = True
    if test in (SelfTest.FOREGROUND_SHORT, SelfTest.FOREGROUND_EXTENDED):
        yield from _wait(lu)
    return GOOD


def _wait(lu: LogicalUnit) -> Translation:
    """Wait for the test to end; raises CheckCondition unless it passed."""
    while True:
        log = yield from _self_test_log(lu)
        test = _running(lu, log)
        if test is None:
            break
        yield Progress(test.fraction, POLL_S)
    latest = SELF_TEST_RESULT.parse(log[_HEADER_BYTES:])
    if latest.result != _PASSED:
        raise CheckCondition(Sense(LOGICAL_UNIT_FAILED_SELF_TEST))
    return GOOD


# READ DEFECT DATA: an SSD reports no defects, whichever list is asked for.

DEFECT_LIST_10 = Structure(
    "READ DEFECT DATA (10) parameter data header",
    4,
    (
        Field("plistv", 1, 4, 1),
        Field("glistv", 1, 3, 1),
        Field("format", 1, 0, 3),
        Field("length", 2, 0, 16),
    ),
    spec="SBC-3 5.17.2",
)
DEFECT_LIST_12 = Structure(
    "READ DEFECT DATA (12) parameter data header",
    8,
    (
        Field("plistv", 1, 4, 1),
        Field("glistv", 1, 3, 1),
        Field("format", 1, 0, 3),
        Field("generation", 2, 0, 16),
        Field("length", 4, 0, 32),
    ),
    spec="SBC-3 5.18.2",
)
_FORMATS = (0b000, 0b001, 0b010, 0b011, 0b100, 0b101)  # the rest: vendor specific, reserved


def read_defect_data(task: Task) -> Translation:
    """Spec: SBC-3 5.17, 5.18."""
    yield from ()
    cdb = task.cdb
    if cdb.format not in _FORMATS:
        raise task.invalid_field("format")
    header = DEFECT_LIST_10 if task.command.length == 10 else DEFECT_LIST_12
    return Result(data_in=header.build(plistv=cdb.plist, glistv=cdb.glist, format=cdb.format))


def _defect_row(length: int, opcode: int, spec: str, fields: tuple[Field, ...]) -> Command:
    flags = 2 if length == 10 else 1
    return Command(
        f"READ DEFECT DATA ({length})",
        opcode,
        length,
        spec,
        read_defect_data,
        (
            Field("plist", flags, 4, 1, "primary list wanted"),
            Field("glist", flags, 3, 1, "grown list wanted"),
            Field("format", flags, 0, 3),
            *fields,
        ),
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
    )


COMMANDS = (
    Command(
        "SEND DIAGNOSTIC",
        0x1D,
        6,
        "SPC-4 6.42",
        send_diagnostic,
        (
            Field("self_test_code", 1, 5, 3),
            Field("pf", 1, 4, 1, "page format: that of a parameter list"),
            Field("selftest", 1, 2, 1, "default self-test"),
            Field("devoffl", 1, 1, 1, ignored=True),
            Field("unitoffl", 1, 0, 1, ignored=True),
            Field("parameter_list_length", 3, 0, 16),
        ),
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
        nvme=("Device Self-test", "Get Log Page", "NVMe-MI Send", "NVMe-MI Receive"),
        timeout_s=7200,
    ),
    _defect_row(10, 0x37, "SBC-3 5.17", (Field("allocation_length", 7, 0, 16),)),
    _defect_row(
        12,
        0xB7,
        "SBC-3 5.18",
        (
            Field("address_descriptor_index", 2, 0, 32, ignored=True),
            Field("allocation_length", 6, 0, 32),
        ),
    ),
)
