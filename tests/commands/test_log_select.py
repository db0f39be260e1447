"""What the target counts itself, and LOG SELECT, which sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands.log_pages.page import (
    PAGE_HEADER,
    PARAMETER_HEADER,
)
from scsi2nvme.commands.log_pages.statistics import STATISTICS
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import GOOD, Result
from scsi2nvme.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOG_PARAMETERS_CHANGED,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.counters import MAXIMUM
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.statistics import KindStatistics, Statistics
from scsi2nvme.unit.store import DamagedState, MemoryStore, UnsavedState
from tests.commands.log_pages import (
    CURRENT,
    WRITE_FAULT,
    numbers,
    parameters,
    refused_in_cdb,
)
from tests.model_controller import ModelController
from tests.support import Bench, make_bench, make_facts, make_lu, make_nexus


def select(bench: Bench, data: bytes = b"", **fields: Any) -> Result:
    values: dict[str, Any] = {"pc": CURRENT, **fields}
    return bench.do("LOG SELECT", data, parameter_list_length=len(data), **values)


def fail_a_write(bench: Bench) -> None:
    bench.model.faults[Opcode.WRITE] = [WRITE_FAULT]
    result = bench.do("WRITE (10)", bytes(512), transfer_length=1)
    assert result.status is Status.CHECK_CONDITION


def with_control(page: bytes, control: int) -> bytes:
    """Return the page of one parameter with another parameter control byte."""
    return page[:6] + bytes([control]) + page[7:]


def listed(code: int, *values: tuple[int, bytes]) -> bytes:
    """Return a log page as LOG SELECT takes it."""
    body = b"".join(
        PARAMETER_HEADER.build(parameter_code=number, parameter_length=len(value)) + value
        for number, value in values
    )
    return PAGE_HEADER.build(page_code=code, page_length=len(body)) + body


def test_failed_writes_are_counted() -> None:
    bench = make_bench()
    fail_a_write(bench)
    fail_a_write(bench)
    assert numbers(parameters(bench, 0x02))[6] == 2
    assert numbers(parameters(bench, 0x03))[6] == 0


@pytest.mark.parametrize(
    ("opcode", "status", "written", "verified"),
    [
        (Opcode.WRITE, 0x280, 1, 0),
        (Opcode.WRITE_ZEROES, 0x280, 1, 0),
        (Opcode.VERIFY, 0x281, 0, 1),
        (Opcode.COMPARE, 0x284, 0, 1),
        (Opcode.COMPARE, 0x285, 0, 0),  # a miscompare
        (Opcode.WRITE, 0x27F, 0, 0),
        (Opcode.READ, 0x281, 0, 0),  # the controller counts it
    ],
)
def test_errors_count_where_they_belong(
    opcode: Opcode, status: int, written: int, verified: int
) -> None:
    bench = make_bench()
    bench.lu.log.counters.record(opcode, status)
    assert numbers(parameters(bench, 0x02))[6] == written
    assert numbers(parameters(bench, 0x05))[6] == verified


def test_errors_that_are_not_the_mediums_are_not_counted() -> None:
    bench = make_bench()
    bench.model.faults[Opcode.WRITE] = [0x006]
    bench.do("WRITE (10)", bytes(512), transfer_length=1)
    assert numbers(parameters(bench, 0x02))[6] == 0
    assert numbers(parameters(bench, 0x06)) == {0: 1}


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        (0x002, 0),
        (0x004, 1),
        (0x006, 1),
        (0x080, 0),
        (0x082, 0),
        (0x182, 0),
        (0x281, 0),
        (0x370, 1),
    ],
)
def test_what_is_no_ones_fault_is_a_non_medium_error(status: int, counted: int) -> None:
    bench = make_bench()
    bench.lu.log.counters.record(Opcode.READ, status)
    assert numbers(parameters(bench, 0x06)) == {0: counted}
    assert bench.do("LOG SELECT", pcr=1, page_code=0x06, pc=CURRENT).status is Status.GOOD
    assert numbers(parameters(bench, 0x06)) == {0: 0}


@pytest.mark.parametrize("page_code", [0x00, 0x02])
def test_reset_clears_the_targets_counters(page_code: int) -> None:
    bench = make_bench()
    other = bench.other()
    fail_a_write(bench)
    assert select(bench, pcr=1, page_code=page_code).status is Status.GOOD
    assert numbers(parameters(bench, 0x02))[6] == 0
    assert bench.lu.take_attention(other) == Sense(LOG_PARAMETERS_CHANGED)
    assert bench.lu.pending_attention(bench.nexus) is None


@pytest.mark.parametrize(
    ("data", "fields", "byte", "bit"),
    [
        (b"", {"sp": 1, "page_code": 0x0D}, 1, 0),  # nothing of it is kept
        (b"", {"pcr": 1, "page_code": 0x0D, "subpage_code": 0x30}, 3, 7),
        (b"", {"pcr": 1, "page_code": 0x04, "subpage_code": 0xFF}, 2, 5),
        (b"", {"pcr": 1, "page_code": 0x04}, 2, 5),
        (listed(0x02), {"pcr": 1}, 1, 1),
        (listed(0x02), {"page_code": 0x02}, 2, 5),
        (listed(0x02), {"pc": 0}, 2, 7),
    ],
)
def test_wrong_selections_are_pointed_at(
    data: bytes, fields: dict[str, int], byte: int, bit: int
) -> None:
    bench = make_bench()
    fail_a_write(bench)
    assert refused_in_cdb(select(bench, data, **fields), byte, bit)
    assert numbers(parameters(bench, 0x02))[6] == 1


@pytest.mark.parametrize("value", [0, 2, 42])
def test_a_list_sets_no_counter(value: int) -> None:
    """They can be reset only. Spec: SPC-4 7.3.23, table 357."""
    bench = make_bench()
    other = bench.other()
    fail_a_write(bench)
    left = listed(0x0F, (0, b"x" * 252))  # nothing is set if one may not be
    data = listed(0x02, (6, value.to_bytes(8, "big"))) + left
    sense_data = Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=FieldPointer(8, in_cdb=False))
    assert select(bench, data).sense == sense_data
    assert numbers(parameters(bench, 0x02))[6] == 1
    assert parameters(bench, 0x0F)[0] == bytes(252)
    assert bench.lu.pending_attention(other) is None


def test_a_list_may_have_counters_as_they_are() -> None:
    bench = make_bench()
    other = bench.other()
    fail_a_write(bench)
    data = listed(0x02, (6, bytes(7) + b"\1"))
    assert select(bench, data).status is Status.GOOD
    assert bench.lu.pending_attention(other) is None
    assert select(bench, data + listed(0x0F, (0, b"x" * 252))).status is Status.GOOD
    assert bench.lu.take_attention(other) == Sense(LOG_PARAMETERS_CHANGED)


@pytest.mark.parametrize(
    ("data", "byte"),
    [
        (listed(0x04), 0),  # no such page
        (PAGE_HEADER.build(page_code=0x02, spf=1), 0),
        (listed(0x02, (4, bytes(8))), 4),  # there is none
        (listed(0x02, (6, bytes(8)), (6, bytes(8))), 16),  # not ascending
        (listed(0x02, (6, bytes(4))), 7),
        (listed(0x02, (6, bytes(8)))[:-1], 2),  # cut
        (listed(0x02)[:3], 0),
        (PAGE_HEADER.build(page_code=0x02, page_length=2) + bytes(2), 4),
        (listed(0x03, (6, bytes(8))) + listed(0x05, (0, bytes(8))), 20),
        (listed(0x05, (6, bytes(8))) + listed(0x03, (6, bytes(8))), 16),  # not ascending
        (listed(0x02) + listed(0x02), 4),
        (with_control(listed(0x02, (6, bytes(8))), 0x20), 6),  # TSD
        (with_control(listed(0x02, (6, bytes(8))), 0x10), 6),  # ETC
    ],
)
def test_wrong_lists_set_nothing(data: bytes, byte: int) -> None:
    bench = make_bench()
    fail_a_write(bench)
    sense_data = Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=FieldPointer(byte, in_cdb=False))
    assert select(bench, data).sense == sense_data
    assert numbers(parameters(bench, 0x02))[6] == 1


@given(
    st.binary(min_size=1, max_size=40), st.sampled_from([b"", b"\x02\x00\x00\x0c\x00\x06\x00\x08"])
)
def test_any_list_is_applied_whole_or_refused(tail: bytes, start: bytes) -> None:
    bench = make_bench()
    fail_a_write(bench)
    result = select(bench, start + tail)
    if result.status is Status.GOOD:
        found = numbers(parameters(bench, 0x02))
        assert found[6] == 1
    else:
        assert result.sense is not None
        assert result.sense.code == INVALID_FIELD_IN_PARAMETER_LIST
        assert numbers(parameters(bench, 0x02))[6] == 1


def test_default_counters_are_zero() -> None:
    bench = make_bench()
    fail_a_write(bench)
    assert numbers(parameters(bench, 0x02, pc=3)) == {5: 0, 6: 0}
    assert numbers(parameters(bench, 0x02))[6] == 1
    assert select(bench, pc=3, page_code=0x02).status is Status.GOOD
    assert numbers(parameters(bench, 0x02))[6] == 0


@pytest.mark.parametrize("pc", [0, 1, 2])
def test_no_list_and_no_reset_change_nothing(pc: int) -> None:
    bench = make_bench()
    other = bench.other()
    fail_a_write(bench)
    assert select(bench, pc=pc).status is Status.GOOD
    assert numbers(parameters(bench, 0x02))[6] == 1
    assert bench.lu.pending_attention(other) is None


# What is kept


def restarted(bench: Bench) -> Bench:
    """Return another life of the logical unit."""
    lu = LogicalUnit(bench.lu.facts, bench.lu.store)
    return Bench(lu, bench.model, make_nexus("a", lu))


def counted(bench: Bench, reads: int, writes: int) -> None:
    """Have the hot path have counted so many commands of a block."""
    kinds = [KindStatistics(512 * n, 0, 1000 * n, (n,)) for n in (reads, writes, 0, 0)]
    bench.lu.statistics = lambda: Statistics(reads + writes, 0, tuple(kinds))


def test_counts_outlive_a_restart_once_they_are_saved() -> None:
    bench = make_bench()
    bench.lu.controller_units = (bench.lu, make_lu(nsid=2))
    fail_a_write(bench)
    counted(bench, 3, 5)
    assert numbers(parameters(restarted(bench), 0x02))[6] == 0
    assert select(bench, sp=1).status is Status.GOOD
    again = restarted(bench)
    again.lu.controller_units = bench.lu.controller_units
    counted(again, 10, 20)
    assert numbers(parameters(again, 0x02)) == {5: 25 * 512, 6: 1}
    assert numbers(parameters(again, 0x03)) == {5: 13 * 512, 6: 0}
    statistics = STATISTICS.parse(parameters(again, 0x19)[1])
    assert (statistics.read_commands, statistics.write_commands) == (13, 25)


def test_a_reset_outlives_a_restart() -> None:
    bench = make_bench()
    bench.lu.controller_units = (bench.lu, make_lu(nsid=2))
    counted(bench, 3, 5)
    assert select(bench, pcr=1, sp=1, page_code=0x03).status is Status.GOOD
    counted(bench, 4, 5)
    assert numbers(parameters(bench, 0x03))[5] == 512
    again = restarted(bench)
    again.lu.controller_units = bench.lu.controller_units
    assert numbers(parameters(again, 0x03))[5] == 0


@pytest.mark.parametrize("fields", [{"pcr": 1}, {"pc": 3}])
def test_statistics_are_reset_alone(fields: dict[str, int]) -> None:
    """Spec: SPC-4 7.3.6 (Reset Only; the time interval never)."""
    bench = make_bench()
    bench.lu.controller_units = (bench.lu, make_lu(nsid=2))
    counted(bench, 3, 5)
    before = parameters(bench, 0x19)
    assert before[2] != bytes(8)
    assert select(bench, b"", page_code=0x19, sp=1, **fields).status is Status.GOOD
    bench.lu.log.save()
    assert parameters(bench, 0x19) == {1: bytes(64), 2: bytes(8), 3: before[3]}
    assert parameters(bench, 0x19, pc=3) == {1: bytes(64), 2: bytes(8), 3: before[3]}
    assert numbers(parameters(bench, 0x02))[5] == 5 * 512
    counted(bench, 4, 5)
    assert STATISTICS.parse(parameters(bench, 0x19)[1]).read_commands == 1
    again = restarted(bench)
    again.lu.controller_units = bench.lu.controller_units
    counted(again, 2, 0)
    assert STATISTICS.parse(parameters(again, 0x19)[1]).read_commands == 2
    assert numbers(parameters(again, 0x03))[5] == 5 * 512


def test_log_sense_saves_too() -> None:
    bench = make_bench()
    fail_a_write(bench)
    assert parameters(bench, 0x02, sp=1)[6] == bytes(7) + b"\x01"
    assert numbers(parameters(restarted(bench), 0x02))[6] == 1


def test_nothing_is_written_where_nothing_has_changed() -> None:
    bench = make_bench()
    store = bench.lu.store
    assert isinstance(store, MemoryStore)
    bench.lu.log.save()
    assert store.values == {}
    fail_a_write(bench)
    bench.lu.log.save()
    (saved,) = store.values.values()
    bench.lu.log.save()
    assert list(store.values.values()) == [saved]
    assert next(iter(store.values.values())) is saved


def test_a_counter_at_its_maximum_stays_there() -> None:
    bench = make_bench()
    bench.lu.log.counters.set(0x02, 0x0006, MAXIMUM)
    fail_a_write(bench)
    assert parameters(bench, 0x02, sp=1)[6] == b"\xff" * 8
    assert parameters(restarted(bench), 0x02)[6] == b"\xff" * 8


def test_application_clients_leave_what_is_kept() -> None:
    bench = make_bench()
    assert list(parameters(bench, 0x0F).values()) == [bytes(252)] * 64
    other, text = bench.other(), b"backed up on Sunday".ljust(252, b"\0")
    assert select(bench, listed(0x0F, (0, text), (63, text))).status is Status.GOOD
    assert bench.lu.take_attention(other) == Sense(LOG_PARAMETERS_CHANGED)
    found = parameters(restarted(bench), 0x0F)
    assert (found[0], found[1], found[63]) == (text, bytes(252), text)
    refused = select(bench, listed(0x0F, (64, text)))
    assert refused.sense is not None
    assert refused.sense.code == INVALID_FIELD_IN_PARAMETER_LIST
    assert select(bench, pcr=0, page_code=0x0F, pc=3) == GOOD  # which is of counters
    assert parameters(bench, 0x0F)[0] == text
    assert select(bench, pcr=1, page_code=0x0F) == GOOD
    assert list(parameters(restarted(bench), 0x0F).values()) == [bytes(252)] * 64


@pytest.mark.parametrize("fields", [{"page_code": 0x0D}, {"page_code": 0x0D, "subpage_code": 0xFF}])
def test_what_is_never_reset_stays_as_it_is(fields: dict[str, int]) -> None:
    bench = make_bench()
    other = bench.other()
    assert select(bench, b"", pcr=1, **fields) == GOOD
    assert bench.lu.pending_attention(other) is None


def test_pages_are_reset_with_their_subpages() -> None:
    bench = make_bench()
    fail_a_write(bench)
    assert select(bench, pcr=1, page_code=0x02, subpage_code=0xFF) == GOOD
    assert numbers(parameters(bench, 0x02))[6] == 0


@pytest.mark.parametrize("pc", [2, 3])
def test_defaults_are_not_saved(pc: int) -> None:
    bench = make_bench()
    fail_a_write(bench)
    assert select(bench, pcr=1, sp=1, pc=pc, page_code=0x02) == GOOD
    assert numbers(parameters(restarted(bench), 0x02))[6] == 0
    assert bench.lu.store.load(f"log/{bench.lu.state_key}") is None


def test_what_an_application_client_leaves_is_kept_or_refused() -> None:
    class Full(MemoryStore):
        def save(self, key: str, value: Mapping[str, Any]) -> None:
            raise UnsavedState("there is no space")

    lu = LogicalUnit(make_facts(), Full())
    bench = Bench(lu, ModelController(lu.facts), make_nexus("a", lu))
    result = select(bench, listed(0x0F, (0, bytes([7]) * 252)))
    assert result.sense == Sense(INTERNAL_TARGET_FAILURE)
    assert parameters(bench, 0x0F)[0] == bytes(252)


@pytest.mark.parametrize(
    "saved",
    [
        {"counts": {"02/0006": 1 << 64}},
        {"totals": {"read_commands": -1}},
        {"client": {"0040": "00" * 252}},
        {"client": {"0000": "00"}},
        {"client": {"zero": "00" * 252}},
        {"others": 1},
    ],
)
def test_what_makes_no_sense_is_not_gone_on_from(saved: dict[str, Any]) -> None:
    store, facts = MemoryStore(), make_facts()
    store.save(f"log/{LogicalUnit(facts).state_key}", saved)
    with pytest.raises(DamagedState):
        LogicalUnit(facts, store)
