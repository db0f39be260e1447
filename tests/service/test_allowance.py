"""How much of the time commands that run alone have a logical unit for themselves."""

from __future__ import annotations

import random

import pytest

from scsi2nvme.scsi.status import Status
from scsi2nvme.service.allowance import LONGEST_WAIT_SECONDS, SAVED_SECONDS, SHARE, Allowance
from tests.service.bench import Bench, compare_and_write, told
from tests.support import row


class Clock:
    """The time, which goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_has_a_tenth_of_the_time() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    numbers = random.Random(seed)
    clock = Clock()
    ours, used = Allowance(clock), 0.0
    for _ in range(1000):
        clock.now += ours.wait_seconds
        seconds = numbers.uniform(0, LONGEST_WAIT_SECONDS * SHARE)
        clock.now += seconds
        ours.use(seconds)
        used += seconds
    assert used <= SHARE * (clock.now - 1000.0) + SAVED_SECONDS + LONGEST_WAIT_SECONDS * SHARE
    assert used >= SHARE * (clock.now - 1000.0) - SAVED_SECONDS, "nor does it wait longer"


def test_what_is_done_now_and_then_does_not_wait() -> None:
    clock = Clock()
    ours = Allowance(clock)
    for _ in range(100):
        for _ in range(4):
            assert ours.wait_seconds == 0
            clock.now += SAVED_SECONDS / 4
            ours.use(SAVED_SECONDS / 4)
        clock.now += 1.0


def test_nobody_waits_long_after_a_format() -> None:
    clock = Clock()
    ours = Allowance(clock)
    clock.now += 3600.0
    ours.use(3600.0)
    assert ours.wait_seconds == pytest.approx(LONGEST_WAIT_SECONDS)
    clock.now += LONGEST_WAIT_SECONDS + 0.001
    assert ours.wait_seconds == 0


@told
async def test_starts_leave_the_hot_path_most_of_the_time(bench: Bench) -> None:
    unit = bench.service._registry.units[bench.lu]
    unit.allowance = Allowance()
    start = row("START STOP UNIT").build(start=1)
    first, second = await bench.run(start), await bench.run(start)
    unit.allowance.use(3600.0)
    await bench.drained()
    assert first.status == Status.GOOD
    assert not bench.unit.aside, "the second waits, and keeps nobody off"
    assert second.ended is None
    # Nor does it keep from the blocks who works on some of them alone.
    exclusive = await bench.run(*compare_and_write())
    assert bench.unit.drains, "of its blocks"
    await bench.drained()
    assert exclusive.status == Status.GOOD
    assert second.ended is None
    await bench.abort(second)
    assert second.ended is not None
