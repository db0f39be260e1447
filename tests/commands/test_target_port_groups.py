"""SET TARGET PORT GROUPS, and what else tells of several ways to a logical unit."""

from __future__ import annotations

import pytest

from scsi2nvme import engine
from scsi2nvme.commands.target_port_groups import access_state
from scsi2nvme.nvme.command import Completion, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    ASYMMETRIC_ACCESS_STATE_CHANGED,
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    SET_TARGET_PORT_GROUPS_COMMAND_FAILED,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.routes import AccessState, Route, Routes
from tests.support import Bench, code, make_bench, make_facts, routed_bench, row

NAME = "SET TARGET PORT GROUPS"


def ask(bench: Bench, *descriptors: str) -> Result:
    data = bytes.fromhex("00000000" + "".join(descriptors))
    return bench.do(NAME, data, parameter_list_length=len(data))


def active(bench: Bench) -> int:
    route = bench.lu.routes.active
    assert route is not None
    return route.group


def test_a_port_of_no_controller_is_as_good_as_any() -> None:
    """That of a target whose LUNs are chosen one by one, whatever number it has."""
    states = [access_state(routed_bench().lu, group) for group in (1, 2, 9)]
    optimized, other = AccessState.ACTIVE_OPTIMIZED, AccessState.ACTIVE_NON_OPTIMIZED
    assert states == [optimized, other, optimized]


def test_a_group_becomes_optimized() -> None:
    bench = routed_bench()
    other = bench.other()
    assert ask(bench, "0000 0002").status == 0
    assert active(bench) == 2
    # What the first has cached is flushed by it.
    assert [one.opcode for one in bench.model.executed] == [Opcode.FLUSH]
    assert bench.lu.pending_attention(bench.nexus) is None
    assert ASYMMETRIC_ACCESS_STATE_CHANGED in {
        sense.code for sense in bench.lu.unit_attentions[other.key]
    }


@pytest.mark.parametrize(
    ("descriptors", "group"),
    [
        ((), 1),
        (("0000 0001",), 1),
        (("0100 0001",), 2),  # another becomes optimized
        (("0100 0002",), 1),
        (("0100 0001", "0000 0002"), 2),
        (("0000 0002", "0100 0001"), 2),
        (("0000 0002", "0000 0002"), 2),
    ],
)
def test_what_may_be_asked_for(descriptors: tuple[str, ...], group: int) -> None:
    bench = routed_bench()
    assert ask(bench, *descriptors).status == 0
    assert active(bench) == group
    assert len(bench.model.executed) == group - 1


@pytest.mark.parametrize(
    ("descriptors", "pointer"),
    [
        (("0200 0002",), FieldPointer(4, 3, in_cdb=False)),  # standby
        (("0300 0001",), FieldPointer(4, 3, in_cdb=False)),  # unavailable
        (("0F00 0001",), FieldPointer(4, 3, in_cdb=False)),  # transitioning
        (("0000 0003",), FieldPointer(6, in_cdb=False)),
        (("0000 0001", "0000 0002"), FieldPointer(8, 3, in_cdb=False)),
        (("0100 0001", "0100 0002"), FieldPointer(4, 3, in_cdb=False)),
    ],
)
def test_what_may_not(descriptors: tuple[str, ...], pointer: FieldPointer) -> None:
    bench = routed_bench()
    result = ask(bench, *descriptors)
    assert result.sense == Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)
    assert active(bench) == 1


@pytest.mark.parametrize("length", [1, 3, 5, 7])
def test_half_a_descriptor_is_refused(length: int) -> None:
    result = routed_bench().do(NAME, bytes(length), parameter_list_length=length)
    assert code(result) == PARAMETER_LIST_LENGTH_ERROR


def test_no_list_changes_nothing() -> None:
    bench = routed_bench()
    assert bench.do(NAME, parameter_list_length=0).status == 0
    assert active(bench) == 1


def test_a_controller_that_is_lost_is_not_taken() -> None:
    bench = routed_bench()
    bench.lu.routes.every[1].alive = lambda: False
    assert code(ask(bench, "0000 0002")) == SET_TARGET_PORT_GROUPS_COMMAND_FAILED
    assert active(bench) == 1


def test_one_that_is_lost_while_the_cache_is_flushed_is_not_taken() -> None:
    bench = routed_bench()
    data = bytes.fromhex("00000000 00000002")
    cdb = row(NAME).build(parameter_list_length=len(data))
    setting = engine.run(engine.select(bench.nexus, 0, cdb), data)
    next(setting)
    bench.lu.routes.every[1].alive = lambda: False
    with pytest.raises(StopIteration) as end:
        setting.send(Completion(0))
    assert code(end.value.value) == SET_TARGET_PORT_GROUPS_COMMAND_FAILED
    assert active(bench) == 1


def test_blocks_are_those_of_a_format_by_whichever_controller() -> None:
    """With the former length the hot path would read and write elsewhere, and too much."""
    bench = routed_bench()
    select = bytes([0, 0, 0, 8]) + bytes(5) + (4096).to_bytes(3, "big")
    assert bench.do("MODE SELECT (6)", select, pf=1, parameter_list_length=12).status == 0
    assert bench.do("FORMAT UNIT").status == 0
    assert bench.lu.block_bytes == 4096
    lengths = [1 << route.facts.lba_format.lbads for route in bench.lu.routes.every]
    assert lengths == [4096, 4096]


def test_where_the_cache_cannot_be_flushed_nothing_changes() -> None:
    bench = routed_bench()
    bench.model.faults[Opcode.FLUSH] = [StatusCode.INTERNAL_ERROR]
    assert code(ask(bench, "0000 0002")) == SET_TARGET_PORT_GROUPS_COMMAND_FAILED
    assert active(bench) == 1


def test_one_controller_lets_nobody_set_anything() -> None:
    result = make_bench().do(NAME, bytes(8), parameter_list_length=8)
    assert code(result) in (INVALID_COMMAND_OPERATION_CODE, INVALID_FIELD_IN_CDB)


def test_inquiry_tells_that_it_may_be_set() -> None:
    def tpgs(bench: Bench) -> int:
        return bench.do("INQUIRY", allocation_length=96).data_in[5] >> 4 & 3

    assert (tpgs(make_bench()), tpgs(routed_bench())) == (0b01, 0b11)


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        (0, 0, None),
        (1, 0, 2),
        (0, 1, None),
        (3, 1, 2),
        (3, 2, None),  # neither leads there
        (4, 2, 2),  # but it may
        (4, 3, 2),
        (4, 4, None),
        (2, 0, 2),
    ],
)
def test_which_route_is_better(
    first: int, second: int, better: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = {1: first, 2: second}
    monkeypatch.setattr(Route, "rank", property(lambda route: ranks[route.group]))
    routes = Routes()
    facts = make_facts()
    routes.every = tuple(Route(group, facts, lambda: True) for group in (1, 2))
    for route in routes.every:
        route.alive = lambda route=route: ranks[route.group] < 4  # type: ignore[misc]
    found = routes.better_than(routes.every[0])
    assert (None if found is None else found.group) == better
