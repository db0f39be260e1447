"""SEND DIAGNOSTIC and READ DEFECT DATA."""

from __future__ import annotations

from typing import Any

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import SELF_TEST_RESULT
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_UNIT_FAILED_SELF_TEST,
    LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from tests.model_controller import StatusError
from tests.support import Bench, code, make_bench

SHORT, EXTENDED, ABORT = 1, 2, 0xF
IN_PROGRESS = 0x11D
POLLS = 3  # a self-test is over after so many looks at its log


class SelfTesting:
    """A bench whose controller runs self-tests that end with `result`."""

    def __init__(self, result: int = 0) -> None:
        self.bench: Bench = make_bench()
        self.result = result
        self.started: list[int] = []
        self.running, self.polls = 0, 0
        model = self.bench.model
        model.admin[AdminOpcode.DEVICE_SELF_TEST] = self.start
        get_log_page = model.admin[AdminOpcode.GET_LOG_PAGE]

        def log(command: NvmeCommand) -> object:
            self.poll()
            return get_log_page(command)

        model.admin[AdminOpcode.GET_LOG_PAGE] = log  # type: ignore[assignment]

    def start(self, command: NvmeCommand) -> None:
        """Device Self-test."""
        assert command.nsid == self.bench.lu.nsid
        if command.cdw10 == ABORT:
            self.running = 0
        elif self.running:
            raise StatusError(IN_PROGRESS)
        else:
            self.running, self.polls = command.cdw10, POLLS
        self.started.append(command.cdw10)

    def poll(self) -> None:
        """Let the test go on, and write the log."""
        self.polls -= 1
        if self.polls <= 0:
            self.running = 0
        percent = 100 * (POLLS - self.polls) // (POLLS + 1)
        head = bytes([self.running, percent if self.running else 0, 0, 0])
        latest = SELF_TEST_RESULT.build(result=self.result, code=SHORT)
        self.bench.model.logs[0x06] = head + latest + bytes(28 * 19)

    def send(self, **fields: int) -> Result:
        """Run SEND DIAGNOSTIC."""
        return self.bench.do("SEND DIAGNOSTIC", **fields)


def refusal(result: Result) -> tuple[SenseCode, FieldPointer | None]:
    """Return the sense code of a CHECK CONDITION, and what it points to."""
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    return result.sense.code, result.sense.pointer


@pytest.mark.parametrize(("code", "expected"), [(1, SHORT), (2, EXTENDED)])
def test_background_tests_answer_at_once(code: int, expected: int) -> None:
    tested = SelfTesting()
    assert tested.send(self_test_code=code).status is Status.GOOD
    assert tested.started == [expected]
    assert tested.running
    assert tested.bench.lu.self_test_running


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"self_test_code": 5}, SHORT),
        ({"self_test_code": 6}, EXTENDED),
        ({"selftest": 1}, SHORT),
        ({"selftest": 1, "devoffl": 1, "unitoffl": 1, "pf": 1}, SHORT),
    ],
)
def test_foreground_tests_wait(fields: dict[str, int], expected: int) -> None:
    tested = SelfTesting()
    assert tested.send(**fields).status is Status.GOOD
    assert tested.started == [expected]
    assert not tested.running
    assert not tested.bench.lu.self_test_running
    fractions = [step.fraction for step in tested.bench.model.progress]
    assert len(fractions) == POLLS - 1
    assert fractions == sorted(set(fractions))
    assert all(step.delay_s > 0 for step in tested.bench.model.progress)


@pytest.mark.parametrize("result", [1, 2, 5, 6, 7, 8, 9])
def test_foreground_tests_that_do_not_pass(result: int) -> None:
    tested = SelfTesting(result)
    assert refusal(tested.send(self_test_code=5)) == (LOGICAL_UNIT_FAILED_SELF_TEST, None)


def test_a_second_test_is_refused() -> None:
    tested = SelfTesting()
    tested.send(self_test_code=2)
    code, _ = refusal(tested.send(self_test_code=1))
    assert code == LOGICAL_UNIT_NOT_READY_SELF_TEST_IN_PROGRESS


def test_abort() -> None:
    tested = SelfTesting()
    tested.send(self_test_code=2)
    assert tested.send(self_test_code=4).status is Status.GOOD
    assert tested.started == [EXTENDED, ABORT]
    assert not tested.bench.lu.self_test_running
    assert refusal(tested.send(self_test_code=4)) == (INVALID_FIELD_IN_CDB, FieldPointer(1, 7))


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"self_test_code": 3}, FieldPointer(1, 7)),
        ({"self_test_code": 7}, FieldPointer(1, 7)),
        ({"self_test_code": 1, "selftest": 1}, FieldPointer(1, 7)),
        ({"parameter_list_length": 4}, FieldPointer(1, 4)),  # without PF
        ({"pf": 1, "selftest": 1, "parameter_list_length": 4}, FieldPointer(3, 7)),
        ({"pf": 1, "self_test_code": 1, "parameter_list_length": 4}, FieldPointer(3, 7)),
    ],
)
def test_refusals(fields: dict[str, int], pointer: FieldPointer) -> None:
    tested = SelfTesting()
    data = bytes(fields.get("parameter_list_length", 0))
    result = tested.bench.do("SEND DIAGNOSTIC", data, **fields)
    assert refusal(result) == (INVALID_FIELD_IN_CDB, pointer)
    assert tested.started == []


def test_without_device_self_test_the_default_test_passes() -> None:
    bench = make_bench(controller={"oacs": 0})
    assert bench.do("SEND DIAGNOSTIC", selftest=1).status is Status.GOOD
    assert bench.do("SEND DIAGNOSTIC").status is Status.GOOD
    result = bench.do("SEND DIAGNOSTIC", self_test_code=1)
    assert refusal(result) == (INVALID_FIELD_IN_CDB, FieldPointer(1, 7))
    assert bench.model.executed == []


@pytest.mark.parametrize("length", [10, 12])
@pytest.mark.parametrize("lists", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("list_format", [0, 3, 4, 5])
def test_there_are_no_defects(length: int, lists: tuple[int, int], list_format: int) -> None:
    primary, grown = lists
    result = make_bench().do(
        f"READ DEFECT DATA ({length})",
        plist=primary,
        glist=grown,
        format=list_format,
        allocation_length=64,
    )
    flags = primary << 4 | grown << 3 | list_format
    assert result.data_in == bytes([0, flags]) + bytes(2 if length == 10 else 6)


@pytest.mark.parametrize(("length", "byte"), [(10, 2), (12, 1)])
def test_unknown_defect_list_formats(length: int, byte: int) -> None:
    for list_format in (6, 7):
        result = make_bench().do(f"READ DEFECT DATA ({length})", format=list_format)
        assert refusal(result) == (INVALID_FIELD_IN_CDB, FieldPointer(byte, 2))


# Diagnostic pages


def translate(supplied: int, translated: int, address: int) -> bytes:
    return bytes([0x40, 0, 0, 10, supplied, translated]) + address.to_bytes(8, "big")


def send(bench: Bench, page: bytes, **fields: int) -> Result:
    cdb: dict[str, int] = {"pf": 1, **fields}
    return bench.do("SEND DIAGNOSTIC", page, parameter_list_length=len(page), **cdb)


def receive(bench: Bench, **fields: Any) -> Result:
    return bench.do("RECEIVE DIAGNOSTIC RESULTS", allocation_length=255, **fields)


def test_the_supported_pages_are_listed() -> None:
    bench = make_bench()
    pages = bytes([0, 0, 0, 2, 0x00, 0x40])
    assert receive(bench).data_in == receive(bench, pcv=1).data_in == pages
    assert send(bench, translate(3, 3, 5)).status is Status.GOOD
    assert send(bench, bytes(4)).status is Status.GOOD
    assert receive(bench).data_in == pages


@pytest.mark.parametrize(
    ("supplied", "translated", "address", "expected"),
    [
        (3, 3, 7, 7),
        (3, 0, 7, 7 << 32),
        (0, 3, 7 << 32, 7),
        (0, 0, 4095 << 32, 4095 << 32),
    ],
)
def test_a_block_is_where_it_is(
    supplied: int, translated: int, address: int, expected: int
) -> None:
    bench = make_bench()
    assert send(bench, translate(supplied, translated, address)).status is Status.GOOD
    page = translate(supplied, translated, expected)
    assert receive(bench).data_in == receive(bench, pcv=1, page_code=0x40).data_in == page
    assert receive(bench, nexus=bench.other()).data_in[0] == 0  # another's is its own


@pytest.mark.parametrize(
    ("page", "byte", "bit"),
    [
        (bytes([0x41, 0, 0, 0]), 0, 7),
        (bytes([0x00, 0, 0, 1, 0]), 2, 7),
        (bytes([0x40, 0, 0, 9]) + bytes(9), 2, 7),
        (translate(1, 3, 0), 4, 2),
        (translate(3, 5, 0), 5, 2),
        (translate(3, 3, 4096), 6, 7),
    ],
)
def test_wrong_pages_are_pointed_at(page: bytes, byte: int, bit: int) -> None:
    bench = make_bench()
    pointer = FieldPointer(byte, bit, in_cdb=False)
    assert send(bench, page).sense == Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    assert receive(bench).data_in[0] == 0


@pytest.mark.parametrize("length", [1, 3, 13])
def test_pages_that_are_cut_are_refused(length: int) -> None:
    bench = make_bench()
    assert code(send(bench, translate(3, 3, 5)[:length])) == PARAMETER_LIST_LENGTH_ERROR


def test_what_was_not_asked_for_cannot_be_received() -> None:
    bench = make_bench()
    assert code(receive(bench, pcv=1, page_code=0x40)) == COMMAND_SEQUENCE_ERROR
    refused = receive(bench, pcv=1, page_code=0x01).sense
    assert refused == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(2, 7))
    assert send(bench, translate(3, 3, 5)).status is Status.GOOD
    bench.lu.release(bench.nexus)
    assert receive(bench).data_in[0] == 0
