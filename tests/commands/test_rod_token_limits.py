"""How many tokens, and copies in the background, there may be, and where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from scsi2nvme.commands.vpd_pages.third_party_copy import BLOCK_ROD_FEATURES, ROD_TOKEN_FEATURES
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit import tokens
from scsi2nvme.unit.copies import MOST_BEHIND
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.tokens import (
    MOST_ALL_RANGES,
    MOST_OWN_RANGES,
    MOST_OWN_TOKENS,
    MOST_RANGES,
)
from tests.commands.test_extended_copy import told
from tests.commands.test_rod_tokens import ZERO, bench, do, populate, populating, write, writing
from tests.support import FOUR_ZONES, Bench, make_bench, make_nexus, row

__all__ = ["bench"]


def test_there_is_room_for_so_many_ranges(bench: Bench) -> None:
    ranges, most = [(2 * n, 1) for n in range(MOST_RANGES)], MOST_OWN_RANGES // MOST_RANGES
    first = populate(bench, ranges)
    for _ in range(most):
        populate(bench, ranges)
    assert told(write(bench, first, [(200, 1)])) == (5, 0x23, 0x08)
    assert len(bench.lu.rods.tokens.all()) == most
    for number in range(1, MOST_ALL_RANGES // MOST_OWN_RANGES):
        for _ in range(most):
            populate(bench, ranges, nexus=bench.other(f"n{number}"))
    populate(bench, [(0, 1)], nexus=bench.other("more"))
    assert len(bench.lu.rods.tokens.all()) == 8 * most


def test_why_the_last_ones_are_no_more_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_MOST_ENDED", 3)
    made = [populate(bench, [(n % 32, 1)]) for n in range(MOST_OWN_TOKENS + 4)]
    outcomes = [told(write(bench, token, [(100, 1)])) for token in made[:4]]
    assert outcomes == [(5, 0x23, 0x04), *[(5, 0x23, 0x08)] * 3]
    assert write(bench, made[4], [(100, 1)]).status is Status.GOOD


def test_what_has_expired_makes_room_for_what_is_new(bench: Bench) -> None:
    now = [1000.0]
    bench.lu.rods.tokens.now = lambda: now[0]
    made = [populate(bench, [(n % 32, 1)]) for n in range(MOST_OWN_TOKENS)]
    now[0] += tokens.DEFAULT_INACTIVITY_S
    populate(bench, [(0, 1)])
    assert told(write(bench, made[0], [(100, 1)])) == (5, 0x23, 0x07)  # not as one too many


class _Timer:
    """A timer that was asked for."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds = seconds
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_one_timer_at_a_time_ends_tokens(bench: Bench) -> None:
    known, now, timers = bench.lu.rods.tokens, [1000.0], list[_Timer]()

    def later(seconds: float, call: Callable[[], None]) -> _Timer:
        timers.append(_Timer(seconds, call))
        return timers[-1]

    known.now, known.later = lambda: now[0], later
    populate(bench, [(1, 1)], inactivity_timeout=300)
    now[0] += 100
    populate(bench, [(2, 1)])
    assert [each.seconds for each in timers] == [301]
    now[0] += 201
    timers[0].call()  # both are over: the second was the first
    assert (len(timers), known._live) == (1, {})
    populate(bench, [(3, 1)])
    now[0] += 50
    populate(bench, [(4, 1)])
    now[0] += 11
    timers[1].call()
    assert [each.seconds for each in timers[1:]] == [61, 50]
    known.stop()
    assert [each.cancelled for each in timers] == [False, False, True]
    populate(bench, [(5, 1)])
    assert len(timers) == 3


def test_who_watches_is_told_once_of_many(bench: Bench) -> None:
    rods, watched = bench.lu.rods, list[Sequence[range]]()
    for lba in range(MOST_OWN_TOKENS):
        populate(bench, [(lba, 1)])
    rods.watch = watched.append
    rods.changed((range(10, 20), range(15, 30)))
    assert watched == [[range(10), range(30, MOST_OWN_TOKENS)]]
    rods.changed((range(10, 30), range(MOST_OWN_TOKENS, 1 << 64)))
    assert len(watched) == 1
    rods.tokens.now = lambda: float("inf")
    assert rods.tokens.all() == []
    assert watched[1:] == [[]]


def test_so_many_go_on_behind_their_commands(bench: Bench) -> None:
    listed = populating([(0, 1)], immed=1)
    results = [do(bench, "POPULATE TOKEN", listed, each) for each in range(MOST_BEHIND)]
    assert {each.status for each in results} == {Status.GOOD}
    assert do(bench, "POPULATE TOKEN", listed, 99).status is Status.BUSY
    zeroes = writing(ZERO, [(9, 1)], immed=1)
    assert do(bench, "WRITE USING TOKEN", zeroes, 99).status is Status.BUSY
    assert do(bench, "POPULATE TOKEN", listed, 99, bench.other()).status is Status.GOOD
    assert do(bench, "POPULATE TOKEN", populating([(0, 1)]), 99).status is Status.GOOD
    bench.finish(results[0])
    assert do(bench, "WRITE USING TOKEN", zeroes, 99).status is Status.GOOD


def third_party_descriptors(bench: Bench, nexus: Any = None) -> dict[int, bytes]:
    """Return what follows the headers of the descriptors in VPD page 8Fh, by their types."""
    page = bench.do("INQUIRY", nexus=nexus, evpd=1, page_code=0x8F, allocation_length=4096).data_in
    at, found = 4, dict[int, bytes]()
    while at < len(page):
        end = at + 4 + int.from_bytes(page[at + 2 : at + 4], "big")
        found[int.from_bytes(page[at : at + 2], "big")] = page[at + 4 : end]
        at = end
    return found


@pytest.mark.parametrize(("zones", "kind"), [(None, 0x00), (FOUR_ZONES, 0x14)])
def test_a_zoned_unit_tells_of_tokens_as_of_its_kind(zones: Zones | None, kind: int) -> None:
    features = third_party_descriptors(make_bench(zones=zones))[0x0106]
    of_type = features[ROD_TOKEN_FEATURES.size :]
    assert BLOCK_ROD_FEATURES.parse(of_type).peripheral_device_type == kind


def test_there_are_none_where_initiators_cannot_be_told_from_each_other(bench: Bench) -> None:
    """Two that have chosen the same list identifier would be given each other's tokens."""
    nexus = make_nexus("a")
    nexus.target, nexus.luns[0] = PortName(""), bench.lu  # as the kernel's target has it
    bench.lu.attach(nexus)
    bench.lu.unit_attentions[nexus.key].clear()
    for name, data in (
        ("POPULATE TOKEN", populating([(1, 1)])),
        ("WRITE USING TOKEN", writing(ZERO, [(9, 1)])),
        ("EXTENDED COPY (LID4)", b""),
    ):
        fields = {"parameter_list_length": len(data)}
        assert told(bench.do(name, data, nexus=nexus, **fields)) == (5, 0x24, 0)
    names = ("RECEIVE ROD TOKEN INFORMATION", "RECEIVE COPY STATUS (LID4)", "REPORT ALL ROD TOKENS")
    for name in names:
        assert told(bench.do(name, nexus=nexus)) == (5, 0x24, 0)
        asked = {"reporting_options": 2, "requested_opcode": 0x84, "allocation_length": 64}
        action = row(name).service_action or 0
        answers = [
            bench.do(
                "REPORT SUPPORTED OPERATION CODES",
                nexus=each,
                requested_service_action=action,
                **asked,
            ).data_in[1]
            & 7
            for each in (nexus, bench.nexus)
        ]
        assert answers == [1, 3]
    assert told(bench.do("COPY OPERATION ABORT", nexus=nexus)) == (5, 0x24, 0)
    tokens = {0x0000, 0x0106, 0x0108}
    found = third_party_descriptors(bench)
    assert found.keys() - third_party_descriptors(bench, nexus).keys() == tokens
    assert bench.do("EXTENDED COPY (LID1)", nexus=nexus).status is Status.GOOD


def test_types_of_tokens_follow_their_length() -> None:
    """As sg_vpd and FreeBSD have it. Spec: SPC-4 7.8.17.9."""
    body = third_party_descriptors(make_bench())[0x0108]
    entries = [body[at : at + 64] for at in range(4, len(body), 64)]
    assert int.from_bytes(body[2:4], "big") == len(body) - 4 == 3 * 64
    types = [int.from_bytes(entry[:4], "big") for entry in entries]
    assert types == [0x00010000, 0x00800001, 0xFFFF0001]
    assert [entry[4] for entry in entries] == [3, 3, 2]


def test_a_copy_with_a_short_identifier_is_aborted_as_well(bench: Bench) -> None:
    name = "COPY OPERATION ABORT"
    operation = bench.lu.copies.begin(bench.nexus, 5, 0, long=False)
    assert operation is not None
    assert told(bench.do(name, list_identifier=6)) == (5, 0x24, 0)
    assert bench.do(name, list_identifier=5).status is Status.GOOD
    assert operation.aborting
