"""How answers are kept, and given again."""

from __future__ import annotations

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.scsi.result import GOOD, Result, check_condition
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED, INVALID_FIELD_IN_CDB, Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.answers import LONGEST, MOST_ANSWERS, MOST_BYTES, KeptAnswers
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.mode_pages.caching import CACHING
from scsi2nvme.unit.reservations import Access
from tests.service.bench import (
    ORDERED,
    Bench,
    played,
    told,
)
from tests.service.twins import ALL, PROBES
from tests.support import row

KEPT = tuple(row for row in commands.COMMANDS if row.kept)


CACHING_SENSE = row("MODE SENSE (6)").build(page_code=0x08, dbd=1, allocation_length=ALL)


@told
async def test_a_command_is_not_translated_again(bench: Bench) -> None:
    executed = bench.controller.model.executed
    sense = row("MODE SENSE (6)").build(page_code=0x3F, allocation_length=ALL)
    first = await bench.run(sense)
    asked = len(executed)
    assert asked
    again = [await bench.run(sense) for _ in range(3)]
    assert len(executed) == asked
    assert {task.ended for task in again} == {first.ended}


@told
async def test_what_changes_while_an_answer_is_made_is_in_the_next(bench: Bench) -> None:
    """Get Features is done, and its answer under way, when another sets the feature."""
    bench.controller.held = True
    task = await bench.run(CACHING_SENSE)
    bench.controller.model.features[0x06] = 0
    bench.service.controller_interrupted()
    while task.ended is None:
        await bench.controller.release()
    bench.controller.held = False
    asked = len(bench.controller.model.executed)
    await bench.run(CACHING_SENSE)
    assert len(bench.controller.model.executed) > asked


@told
async def test_what_a_reset_sets_while_an_answer_is_made_is_in_the_next(bench: Bench) -> None:
    model = bench.controller.model
    model.features[0x06] = 0
    bench.controller.held = True
    bench.service.unit_was_reset(bench.lu)
    task = await bench.run(CACHING_SENSE)
    while bench.controller.waiting:
        await bench.controller.release()
    bench.controller.held = False
    assert task.status == Status.GOOD
    assert model.features[0x06] == 1
    ended = (await bench.run(CACHING_SENSE)).ended
    assert ended is not None
    assert CACHING.layout.parse(ended[2][4:]).wce == 1


@told
async def test_an_aborted_command_is_not_answered_by_what_is_kept(bench: Bench) -> None:
    await bench.run(PROBES[0])
    task = await bench.run(PROBES[0], aborted=True)
    assert task.status == Status.BUSY
    task = await bench.run(PROBES[0], misrouted=True)
    assert task.sense == (5, 0x25, 0x00)


@told
async def test_whose_turn_it_is_the_reactor_says_whatever_is_kept(bench: Bench) -> None:
    await bench.run(PROBES[0])
    for _ in range(2):
        task = await bench.run(PROBES[0], attribute=ORDERED)
        assert task.status == Status.GOOD
    assert not bench.unit.drains


def test_a_unit_attention_is_reported_though_the_answer_is_kept() -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        capacity = row("READ CAPACITY (10)").build()
        assert (await bench.run(capacity)).status == Status.GOOD
        bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
        assert (await bench.run(capacity)).sense == (6, 0x2A, 0x09)
        assert (await bench.run(capacity)).status == Status.GOOD

    played(story)


def test_what_a_nexus_has_kept_is_bounded() -> None:
    epoch = Epoch()
    kept, kinds = KeptAnswers(epoch), range(3 * MOST_ANSWERS)
    kept.keep("other", 0, Result(data_in=b"other"), epoch.number)
    for kind in kinds:
        kept.keep("nexus", kind, Result(data_in=b"a"), epoch.number)
    assert sum(kept.find("nexus", kind) is not None for kind in kinds) <= MOST_ANSWERS
    assert kept.find("nexus", kinds[-1]) == b"a"
    assert kept.find("other", 0) == b"other"
    kept.keep("nexus", "long", Result(data_in=bytes(LONGEST + 1)), epoch.number)
    assert kept.find("nexus", "long") is None


def test_what_all_have_kept_is_bounded() -> None:
    epoch = Epoch()
    kept, nexuses, answer = KeptAnswers(epoch), range(2000), Result(data_in=bytes(LONGEST))
    for nexus in nexuses:
        for kind in range(MOST_ANSWERS + 1):
            kept.keep(nexus, kind, answer, epoch.number)
    held = [kept.find(nexus, kind) for nexus in nexuses for kind in range(MOST_ANSWERS + 1)]
    assert 0 < sum(len(each) for each in held if each is not None) <= MOST_BYTES
    assert kept.find(nexuses[-1], MOST_ANSWERS) is not None


def test_only_what_ended_well_and_unchanged_is_kept() -> None:
    epoch = Epoch()
    kept, since = KeptAnswers(epoch), epoch.number
    kept.keep(1, "refused", check_condition(Sense(INVALID_FIELD_IN_CDB)), since)
    kept.keep(1, "good", GOOD, since)
    assert (kept.find(1, "refused"), kept.find(1, "good")) == (None, b"")
    assert kept.find(2, "good") is None
    epoch.advance()
    assert kept.find(1, "good") is None
    kept.keep(1, "late", GOOD, since)
    assert kept.find(1, "late") is None


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_rows_whose_answers_are_kept_change_nothing(kept: Command) -> None:
    assert (kept.data, kept.transfer, kept.hot) == (Data.IN, Transfer.BYTES, Hot.NO)
    assert kept.access in (Access.ALWAYS, Access.READ)
    assert not kept.modifies_medium
    assert not kept.exclusive
    assert any(commands.find(cdb) is kept for cdb in PROBES)
    assert len(PROBES) < MOST_ANSWERS  # of which all are kept at a time
