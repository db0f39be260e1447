"""Who may be connected, and who has to go; how often proofs are looked at."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from scsi2nvme.target.iscsi.admission import (
    IDLE_SECONDS,
    Admission,
    CrowdedError,
    HalfOpen,
    Limits,
    ProofPace,
    Trust,
    source_of,
)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:0:0:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_sources(host: str, source: str) -> None:
    assert source_of(host) == source


class Door:
    """Lets connections in, and remembers who was dropped."""

    def __init__(self, limits: Limits) -> None:
        self.now = 0.0
        self.admission = Admission(limits, lambda: self.now)
        self.dropped: list[HalfOpen] = []

    def enter(self, source: str, *, spoke: bool = False) -> HalfOpen:
        one = self.admission.enter(source)
        if spoke:
            self.admission.hear(one)
        one.drop = lambda: self.dropped.append(one)
        return one


def test_a_network_full_of_silent_peers_drops_its_own_oldest() -> None:
    door = Door(Limits(half_open=8, half_open_per_address=2))
    other = door.enter("b")
    ours = [door.enter("a") for _ in range(5)]
    assert door.dropped == ours[:3]
    assert other not in door.dropped


def test_silence_makes_room_for_others_first_of_who_has_most() -> None:
    door = Door(Limits(half_open=4, half_open_per_address=3))
    speaker = door.enter("c", spoke=True)
    single = door.enter("b")
    ours = [door.enter("a") for _ in range(2)]
    door.enter("d")
    assert door.dropped == [ours[0]]
    assert {speaker, single}.isdisjoint(door.dropped)


def test_who_is_about_to_speak_is_not_driven_out_by_who_has_more() -> None:
    door = Door(Limits(half_open=4))
    for _ in range(3):
        door.enter("a", spoke=True)
    door.enter("b")
    with pytest.raises(CrowdedError):
        door.enter("a")
    assert door.dropped == []


def test_a_storm_of_single_logins_drops_nobody_who_spoke() -> None:
    door = Door(Limits(half_open=4))
    for number in range(4):
        door.enter(str(number), spoke=True)
    with pytest.raises(CrowdedError):
        door.enter("late")
    assert door.dropped == []


def test_many_who_began_a_login_each_make_room_once_they_idle() -> None:
    door = Door(Limits(half_open=4))
    waiting = [door.enter(str(number), spoke=True) for number in range(4)]
    door.now += IDLE_SECONDS / 2
    door.admission.hear(waiting[0])
    door.now += IDLE_SECONDS / 2
    with pytest.raises(CrowdedError):
        door.enter("3")
    door.enter("late")
    assert door.dropped == [waiting[1]], "the first goes on with its login"


def test_who_has_logged_in_is_not_dropped() -> None:
    door = Door(Limits(half_open=4))
    ours = [door.enter("a", spoke=True) for _ in range(4)]
    ours[0].logged_in = True
    door.enter("b")
    assert door.dropped == [ours[1]]


def test_nobody_takes_all_connections() -> None:
    admission = Admission(Limits(maximum=7, per_initiator=3, per_address=5))
    for _ in range(3):
        assert not admission.crowd("alice", "a")
        admission.begin("alice", "a")
    assert admission.crowd("alice", "b")
    for name in ("bob", "carol"):
        assert not admission.crowd(name, "a")
        admission.begin(name, "a")
    assert admission.crowd("dave", "a")
    for name in ("dave", "erin"):
        assert not admission.crowd(name, "b")
        admission.begin(name, "b")
    assert admission.crowd("frank", "c")
    admission.end("alice", "a")
    assert not admission.crowd("alice", "a")


@pytest.mark.parametrize("connections", [1, 16, 100, 1000, 1216, 100_000])
def test_limits_follow_what_there_is(connections: int) -> None:
    limits = Limits.within(connections)
    assert limits.maximum + limits.half_open + limits.discovery <= max(3, connections)
    assert 1 <= limits.per_initiator <= limits.per_address <= limits.maximum
    assert 1 <= limits.half_open_per_address <= limits.half_open
    assert (limits == Limits()) is (connections >= 1216)


SECONDS = 0.1
ALICE, BOB = ("alice", "disk"), ("bob", "disk")


def test_wrong_proofs_of_a_source_are_looked_at_one_by_one() -> None:
    async def guess() -> tuple[float, Counter[str]]:
        pace, looked = ProofPace(SECONDS), Counter[str]()

        async def prove(source: str, *, wrong: bool) -> None:
            async with pace.turn(source, ALICE):
                looked[source] += 1
                if wrong:
                    pace.failed(source, ALICE)

        begun = time.monotonic()
        guesses = [asyncio.create_task(prove("a", wrong=True)) for _ in range(4)]
        await asyncio.sleep(0)
        await prove("b", wrong=False)
        at_first = Counter(looked)
        await asyncio.gather(*guesses)
        right = [prove("a", wrong=False) for _ in range(100)]
        await asyncio.gather(*right)
        return time.monotonic() - begun, at_first

    took, at_first = asyncio.run(guess())
    assert at_first == {"a": 1, "b": 1}, "others do not wait"
    assert took >= 4 * SECONDS
    assert took < 50 * SECONDS, "right ones follow each other at once"


def test_what_a_source_is_remembered_for_is_forgotten() -> None:
    async def many() -> int:
        pace = ProofPace(0.0)
        for number in range(1000):
            pace.failed(str(number), ALICE)
        return len(pace._waits)

    assert asyncio.run(many()) == 1


def test_who_has_proved_himself_does_not_wait_for_guessers() -> None:
    async def looked_at(*, guessed: bool) -> list[tuple[str, str]]:
        pace, looked = ProofPace(1000.0), []

        async def prove(claim: tuple[str, str], *, wrong: bool) -> None:
            async with pace.turn("a", claim):
                looked.append(claim)
                (pace.failed if wrong else pace.proved)("a", claim)

        await prove(ALICE, wrong=False)
        await prove(ALICE if guessed else BOB, wrong=True)
        looked.clear()
        claims = [ALICE, ALICE, BOB, ("alice", "another disk")]
        tasks = [asyncio.create_task(prove(claim, wrong=False)) for claim in claims]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return looked

    assert asyncio.run(looked_at(guessed=False)) == [ALICE, ALICE]
    assert asyncio.run(looked_at(guessed=True)) == []


def test_a_guesser_gains_one_guess_by_a_trusted_name() -> None:
    now = 0.0
    trust = Trust(lambda: now)
    for step in range(100):
        now = 60.0 * step
        trust.proved("a", ALICE)  # its owner goes on logging in
        gained = ("a", ALICE) in trust
        assert gained is (step % 10 == 0)
        if gained:
            trust.failed("a", ALICE)
        assert ("b", ALICE) not in trust
        trust.failed("a", BOB)
        assert ("a", BOB) not in trust


def test_trust_has_an_end() -> None:
    trust = Trust()
    trust.proved("b", ALICE)
    for number in range(Trust.CLAIMS + 1):
        trust.proved("a", ("alice", str(number)))
        trust.proved("a", ALICE)
    assert ("a", ALICE) in trust, "used last"
    assert ("b", ALICE) in trust, "a source pushes out its own"
    kept = [("a", ("alice", str(number))) in trust for number in range(Trust.CLAIMS + 1)]
    assert kept == [False] * 2 + [True] * (Trust.CLAIMS - 1)
    for number in range(Trust.SOURCES):
        trust.proved(str(number), ALICE)
    assert ("b", ALICE) not in trust
    assert ("0", ALICE) in trust
