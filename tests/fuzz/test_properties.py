"""Every property holds for every row, as far as a few examples show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from scsi2nvme import commands
from scsi2nvme.fuzz import runner
from scsi2nvme.fuzz.finding import Property
from scsi2nvme.fuzz.properties import PROPERTIES
from tests.fuzz.hunting import SEED


@pytest.mark.parametrize("each", PROPERTIES, ids=lambda each: each.name)
def test_a_property_holds(each: Property) -> None:
    assert_holds(each, examples=2, number=SEED)


@pytest.mark.slow
@pytest.mark.parametrize("each", PROPERTIES, ids=lambda each: each.name)
def test_a_property_holds_for_more(each: Property) -> None:
    assert_holds(each, examples=2, number=SEED + 1000)


def assert_holds(each: Property, *, examples: int, number: int) -> None:
    tried: set[str] = set()

    def check(subject: Any, data: st.DataObject) -> None:
        each.check(subject, data)
        tried.add(subject.name)  # what is drawn has suited it

    subjects = list(each.subjects())
    found = [
        runner.examine(
            replace(each, check=check), subject, examples=examples, number=number + place
        )
        for place, subject in enumerate(subjects)
    ]
    assert found, "there is nothing that it is about"
    assert [failure for failure in found if failure is not None] == []
    assert {subject.name for subject in subjects} - tried == set(), "nothing suited these"


def test_every_row_is_looked_at() -> None:
    subjects = {(each.name, subject.name) for each, subject in runner.cases()}
    for row in commands.COMMANDS:
        for name in ("one legal outcome", "within limits", "native agrees", "CDB comes back"):
            assert (name, row.name) in subjects


def test_structures_of_every_kind_are_looked_at() -> None:
    subjects = {subject.name for each, subject in runner.cases() if "structure" in each.name}
    assert {"Caching", "UNMAP block descriptor", "Identify Namespace", "BHS"} <= subjects
