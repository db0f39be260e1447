"""Answers that are kept are what the engine would answer now, whatever has happened."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.fuzz import parameters
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.service.bench import (
    HEAD_OF_QUEUE,
    ORDERED,
    SIMPLE,
)
from tests.service.twins import CHANGES, Act, Pair, Twins, twins
from tests.support import make_facts


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_an_answer(name: str) -> None:
    async def story(both: Twins) -> None:
        *before, last = CHANGES[name]
        for act in before:
            await both.do(act)
        answers = both.answers
        await both.do(last)
        assert both.answers != answers

    twins(story)


# Whatever happens


@st.composite
def anything(draw: st.DrawFn) -> Act:
    """Return an event, or any command with a CDB of its own, of one nexus or the other."""
    if draw(st.booleans()):
        return draw(st.sampled_from([act for acts in CHANGES.values() for act in acts]))
    chosen = draw(st.sampled_from([each for each in commands.COMMANDS if _ends_soon(each)]))
    cdb, data = draw(parameters.requests(chosen, LogicalUnit(make_facts())))
    attribute = draw(st.sampled_from((SIMPLE, SIMPLE, ORDERED, HEAD_OF_QUEUE)))
    by_other = draw(st.booleans())

    async def act(bench: Pair) -> None:
        plane_nexus = bench.plane_other if by_other else bench.plane_nexus
        bench.submit(cdb, data, plane_nexus=plane_nexus, attribute=attribute)

    return act


def _ends_soon(chosen: Command) -> bool:
    return chosen.name != "SEND DIAGNOSTIC"  # self-tests take seconds


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(anything(), min_size=1, max_size=5))
def test_what_is_kept_is_what_would_be_answered(acts: list[Act]) -> None:
    async def story(both: Twins) -> None:
        for act in acts:
            await both.do(act)

    twins(story)
