"""iSCSI task management requests, mapped to SAM functions and back."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    REPORTED_LUNS_DATA_HAS_CHANGED,
)
from scsi2nvme.scsi.task_management import TaskManagement as Sam
from scsi2nvme.scsi.task_management import TaskManagementResponse as Answer
from scsi2nvme.scsi.task_management import asynchronous_event
from scsi2nvme.target.iscsi.pdu import TASK_MANAGEMENT_REQUEST
from scsi2nvme.target.iscsi.task_management import RESPONSES, Function, Outcome, Response, perform
from scsi2nvme.unit.logical_unit import Nexus
from tests.support import make_lu, make_nexus

TAG = 0x1234


class Runner:
    """Records what is run, and answers with `answer`."""

    def __init__(self, answer: Answer = Answer.FUNCTION_COMPLETE) -> None:
        self.answer = answer
        self.calls: list[tuple[Sam, int | None, int]] = []

    async def __call__(self, function: Sam, lun: int | None, itt: int) -> Answer:
        self.calls.append((function, lun, itt))
        return self.answer


def run(
    function: int,
    runner: Runner,
    nexus: Nexus,
    *,
    lun: bytes = bytes(8),
    level: int = 2,
    cold_reset: bool = True,
) -> Outcome:
    request = TASK_MANAGEMENT_REQUEST.build(
        opcode=2, final=1, function=function, lun=lun, referenced_task_tag=TAG
    )
    values = TASK_MANAGEMENT_REQUEST.parse(request)
    return asyncio.run(perform(values, nexus, level, runner, cold_reset=cold_reset))


@pytest.fixture
def nexus() -> Nexus:
    """A nexus that sees two logical units, without unit attentions."""
    return make_nexus("a", make_lu(), make_lu())


@pytest.mark.parametrize(
    ("function", "sam", "lun"),
    [
        (Function.ABORT_TASK, Sam.ABORT_TASK, 1),
        (Function.ABORT_TASK_SET, Sam.ABORT_TASK_SET, 1),
        (Function.CLEAR_TASK_SET, Sam.CLEAR_TASK_SET, 1),
        (Function.LOGICAL_UNIT_RESET, Sam.LOGICAL_UNIT_RESET, 1),
        (Function.QUERY_TASK, Sam.QUERY_TASK, 1),
        (Function.QUERY_TASK_SET, Sam.QUERY_TASK_SET, 1),
        (Function.I_T_NEXUS_RESET, Sam.I_T_NEXUS_RESET, None),
        (Function.QUERY_ASYNCHRONOUS_EVENT, Sam.QUERY_ASYNCHRONOUS_EVENT, 1),
    ],
)
def test_functions(function: Function, sam: Sam, lun: int | None, nexus: Nexus) -> None:
    runner = Runner()
    outcome = run(function, runner, nexus, lun=b"\0\x01" + bytes(6))
    assert outcome.response is Response.FUNCTION_COMPLETE
    assert runner.calls == [(sam, lun, TAG)]


@pytest.mark.parametrize("answer", list(Answer))
def test_every_answer_has_a_response(answer: Answer, nexus: Nexus) -> None:
    assert run(Function.ABORT_TASK, Runner(answer), nexus).response is RESPONSES[answer]


def test_the_responses() -> None:
    assert {answer.name: int(response) for answer, response in RESPONSES.items()} == {
        "FUNCTION_COMPLETE": 0,
        "TASK_DOES_NOT_EXIST": 1,
        "INCORRECT_LOGICAL_UNIT_NUMBER": 2,
        "FUNCTION_SUCCEEDED": 7,
        "FUNCTION_REJECTED": 255,
        "SERVICE_DELIVERY_OR_TARGET_FAILURE": 255,
    }


@pytest.mark.parametrize(
    ("function", "response"),
    [
        (0, Response.FUNCTION_NOT_SUPPORTED),
        (Function.CLEAR_ACA, Response.FUNCTION_NOT_SUPPORTED),
        (Function.TASK_REASSIGN, Response.REASSIGNMENT_NOT_SUPPORTED),
        (13, Response.FUNCTION_NOT_SUPPORTED),
        (127, Response.FUNCTION_NOT_SUPPORTED),
    ],
)
def test_not_supported(function: int, response: Response, nexus: Nexus) -> None:
    runner = Runner()
    assert run(function, runner, nexus).response is response
    assert runner.calls == []


@pytest.mark.parametrize("function", range(9, 13))
def test_functions_of_rfc_7144_need_their_protocol_level(function: int, nexus: Nexus) -> None:
    runner = Runner()
    outcome = run(function, runner, nexus, level=1)
    assert outcome.response is Response.FUNCTION_NOT_SUPPORTED
    assert runner.calls == []


@pytest.mark.parametrize(
    "lun", [b"\0\x05" + bytes(6), b"\xc1\x01" + bytes(6), b"\0\0\0\x01" + bytes(4)]
)
def test_lun_does_not_exist(lun: bytes, nexus: Nexus) -> None:
    runner = Runner()
    outcome = run(Function.LOGICAL_UNIT_RESET, runner, nexus, lun=lun)
    assert outcome.response is Response.LUN_DOES_NOT_EXIST
    assert runner.calls == []


@pytest.mark.parametrize("function", [Function.TARGET_WARM_RESET, Function.TARGET_COLD_RESET])
def test_a_target_reset_resets_what_the_initiator_sees(function: Function, nexus: Nexus) -> None:
    runner = Runner()
    assert run(function, runner, nexus).response is Response.FUNCTION_COMPLETE
    assert runner.calls == [(Sam.LOGICAL_UNIT_RESET, lun, 0) for lun in nexus.luns]


class Together(Runner):
    """Answers nobody before all have asked."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._all = asyncio.Barrier(count)

    async def __call__(self, function: Sam, lun: int | None, itt: int) -> Answer:
        async with asyncio.timeout(10):
            await self._all.wait()
        return await super().__call__(function, lun, itt)


def test_no_logical_unit_waits_for_the_reset_of_another(nexus: Nexus) -> None:
    runner = Together(2)
    assert run(Function.TARGET_WARM_RESET, runner, nexus).response is Response.FUNCTION_COMPLETE
    assert len(runner.calls) == 2


def test_a_cold_reset_wants_permission_and_something_to_reset(nexus: Nexus) -> None:
    runner = Runner()
    outcomes = [
        run(Function.TARGET_COLD_RESET, runner, nexus, cold_reset=False),
        run(Function.TARGET_COLD_RESET, runner, make_nexus("blind")),
    ]
    assert [outcome.response for outcome in outcomes] == [Response.AUTHORIZATION_FAILED] * 2
    assert runner.calls == []


def test_a_failed_target_reset_is_told(nexus: Nexus) -> None:
    runner = Runner(Answer.SERVICE_DELIVERY_OR_TARGET_FAILURE)
    outcome = run(Function.TARGET_WARM_RESET, runner, nexus)
    assert outcome.response is Response.FUNCTION_REJECTED


def test_query_asynchronous_event_tells_the_unit_attention(nexus: Nexus) -> None:
    lu = nexus.luns[0]
    assert run(Function.QUERY_ASYNCHRONOUS_EVENT, Runner(), nexus).additional == 0
    lu.establish_attention(CAPACITY_DATA_HAS_CHANGED, only=nexus.key)
    runner = Runner(Answer.FUNCTION_SUCCEEDED)
    outcome = run(Function.QUERY_ASYNCHRONOUS_EVENT, runner, nexus)
    assert outcome == Outcome(Response.FUNCTION_SUCCEEDED, 0x162A09)
    lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED, only=nexus.key)
    assert asynchronous_event(lu.unit_attentions[nexus.key]) == b"\x26\x2a\x09"
