"""REPORT SUPPORTED OPERATION CODES, TASK MANAGEMENT FUNCTIONS, TARGET PORT GROUPS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.commands.maintenance import (
    COMMAND_DESCRIPTOR,
    FUNCTIONS_EXTENDED,
    ONE_HEADER,
    TIMEOUTS,
)
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.scsi.sense import INVALID_FIELD_IN_CDB, FieldPointer
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_management import TaskManagement
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.ports import PortName
from tests.support import Bench, bench_of, make_bench

OPCODES = "REPORT SUPPORTED OPERATION CODES"
LONG = 1 << 20
COMMANDS = commands.COMMANDS
by_name = pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)


def one(bench: Bench, row: Command, options: int, *, rctd: int = 0) -> bytes:
    """Ask for one command; it must be answered."""
    result = bench.do(
        OPCODES,
        reporting_options=options,
        requested_opcode=row.opcode,
        requested_service_action=row.service_action or 0,
        rctd=rctd,
        allocation_length=LONG,
    )
    assert result.status is Status.GOOD
    return result.data_in


def refused(bench: Bench, byte: int, bit: int, **fields: int) -> None:
    """Expect INVALID FIELD IN CDB with a pointer."""
    result = bench.do(OPCODES, allocation_length=LONG, **fields)
    assert result.sense is not None
    assert result.sense.code == INVALID_FIELD_IN_CDB
    assert result.sense.pointer == FieldPointer(byte, bit)


@pytest.mark.parametrize("rctd", [0, 1])
def test_all_commands(rctd: int) -> None:
    bench = make_bench()
    data = bench.do(OPCODES, allocation_length=LONG, rctd=rctd).data_in
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    rest, seen = data[4:], []
    while rest:
        each = COMMAND_DESCRIPTOR.parse(rest)
        action = each.service_action if each.servactv else None
        seen.append((each.opcode, action, each.cdb_length))
        assert each.ctdp == rctd
        rest = rest[COMMAND_DESCRIPTOR.size :]
        if rctd:
            timeouts = TIMEOUTS.parse(rest)
            assert timeouts.length == 10
            row = commands.actions(each.opcode)[action]
            assert timeouts.recommended_s == row.timeout_s
            rest = rest[TIMEOUTS.size :]
    expected = [row for row in COMMANDS if row.supported(bench.lu)]
    assert seen == [(row.opcode, row.service_action, row.length) for row in expected]


def test_the_length_is_not_truncated() -> None:
    bench = make_bench()
    whole = bench.do(OPCODES, allocation_length=LONG).data_in
    assert bench.do(OPCODES, allocation_length=10).data_in == whole[:10]


@by_name
def test_one_command_as_it_must_be_asked_for(row: Command) -> None:
    bench = bench_of(row)
    options = 1 if row.service_action is None else 2
    for data in (one(bench, row, options), one(bench, row, 3)):
        header = ONE_HEADER.parse(data)
        assert header.support == 3
        assert header.cdb_size == row.length
        assert data[ONE_HEADER.size :] == row.usage_by(bench.lu)
    timed = one(bench, row, 3, rctd=1)
    assert ONE_HEADER.parse(timed).ctdp == 1
    timeouts = TIMEOUTS.parse(timed[ONE_HEADER.size + row.length :])
    assert timeouts.recommended_s == row.timeout_s


@by_name
def test_the_usage_map_is_what_a_cdb_may_hold(row: Command) -> None:
    """Every bit of the map is accepted, and the map names the command itself.

    So is what is ignored, which is not in it: see `test_usage`.
    """
    assert row.usage[0] == row.opcode
    every = {field.name: field.maximum for field in row.fields}
    assert row.reserved_bit(row.build(**every)) is None
    every = {field.name: field.maximum for field in row.fields if not field.ignored}
    full = row.build(**every)
    mask = row.structure.mask
    assert row.reserved_bit(full) is None
    free = bytes(value & bits for value, bits in zip(full, mask, strict=True))
    naca = row.structure.by_name["naca"].mask(row.length, "big")
    assert bytes(a | b for a, b in zip(free, naca, strict=True)) == row.usage


@by_name
def test_one_command_asked_for_wrongly(row: Command) -> None:
    options = 2 if row.service_action is None else 1
    fields = {"requested_opcode": row.opcode, "reporting_options": options}
    refused(make_bench(), 3, 7, **fields)


@pytest.mark.parametrize("options", [1, 3])
def test_unknown_opcodes_are_not_supported(options: int) -> None:
    data = make_bench().do(
        OPCODES, reporting_options=options, requested_opcode=0xFF, rctd=1, allocation_length=LONG
    )
    assert data.data_in == bytes.fromhex("00010000")


def test_unknown_service_actions_are_not_supported() -> None:
    for options in (2, 3):
        result = make_bench().do(
            OPCODES,
            reporting_options=options,
            requested_opcode=0x5E,
            requested_service_action=0x1F,
            allocation_length=LONG,
        )
        assert result.data_in == bytes.fromhex("00010000")


def test_either_way_without_service_actions_wants_zero() -> None:
    result = make_bench().do(
        OPCODES,
        reporting_options=3,
        requested_opcode=0x28,
        requested_service_action=1,
        allocation_length=LONG,
    )
    assert result.data_in == bytes.fromhex("00010000")


@pytest.mark.parametrize("options", [4, 5, 6, 7])
def test_other_reporting_options_are_refused(options: int) -> None:
    refused(make_bench(), 2, 2, reporting_options=options)


def test_what_the_controller_cannot_do_is_not_supported() -> None:
    bench = make_bench(controller={"oncs": 0, "oacs": 0})
    missing = [row for row in COMMANDS if not row.supported(bench.lu)]
    assert missing, "every row is supported whatever the controller"
    for row in missing:
        assert one(bench, row, 3) == bytes.fromhex("00010000")
        assert bench.run(row.build()).status is Status.CHECK_CONDITION


# Task management functions


def test_task_management_functions() -> None:
    bench = make_bench()
    bench.nexus.delivery = ServiceDelivery(functions=frozenset(TaskManagement))
    name = "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS"
    assert bench.do(name, allocation_length=4).data_in == bytes.fromhex("dc070000")
    data = bench.do(name, repd=1, allocation_length=16).data_in
    assert data[:5] == bytes.fromhex("dc07000c 01")
    assert len(data) == 16
    assert FUNCTIONS_EXTENDED.parse(data).long_timeout > 0
    assert bench.do(name, repd=1, allocation_length=6).data_in == data[:6]
    for length in range(4):
        result = bench.do(name, allocation_length=length)
        assert result.sense is not None
        assert result.sense.pointer == FieldPointer(6, 7)


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        (ServiceDelivery().functions, "88000000"),  # ABORT TASK, LOGICAL UNIT RESET
        (frozenset({TaskManagement.CLEAR_TASK_SET, TaskManagement.QUERY_TASK}), "14000000"),
        (frozenset(), "00000000"),
    ],
)
def test_only_what_the_transport_carries_is_supported(
    functions: frozenset[TaskManagement], expected: str
) -> None:
    bench = make_bench()
    bench.nexus.delivery = ServiceDelivery(functions=functions)
    name = "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS"
    assert bench.do(name, allocation_length=4).data_in.hex() == expected
    extended = bench.do(name, repd=1, allocation_length=16).data_in
    assert extended[:3].hex() == expected[:6]


# Target port groups


def test_target_port_groups() -> None:
    bench = make_bench()
    name = "REPORT TARGET PORT GROUPS"
    group = bytes.fromhex("00 09 0001 00 00 00 01 0000 0001")
    data = bench.do(name, allocation_length=64).data_in
    assert data == bytes.fromhex("0000000c") + group
    extended = bench.do(name, parameter_data_format=1, allocation_length=64).data_in
    assert extended == bytes.fromhex("00000010 10000000") + group
    assert bench.do(name, allocation_length=6).data_in == data[:6]


def test_every_known_target_port_is_in_its_group() -> None:
    bench = make_bench()
    device = bench.nexus.target.device
    bench.lu.target_ports = (PortName(device, portal_group_tag=7),)
    bench.lu.attach(Nexus(bench.nexus.initiator, PortName(device, portal_group_tag=3)))
    data = bench.do("REPORT TARGET PORT GROUPS", allocation_length=64).data_in
    groups = ("00 09 0001 00 00 00 01 0000 0001", "00 09 0003 00 00 00 01 0000 0003")
    assert data[4:] == bytes.fromhex(" ".join((*groups, "00 09 0007 00 00 00 01 0000 0007")))


@pytest.mark.parametrize("parameter_data_format", range(2, 8))
def test_other_headers_are_refused(parameter_data_format: int) -> None:
    result = make_bench().do(
        "REPORT TARGET PORT GROUPS",
        parameter_data_format=parameter_data_format,
        allocation_length=64,
    )
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(1, 7)


@pytest.mark.parametrize(
    ("state", "group"),
    [
        (AnaState.OPTIMIZED, "00 8b 0001 00 00 00 01"),
        (AnaState.NON_OPTIMIZED, "01 8b 0001 00 02 00 01"),
        (AnaState.INACCESSIBLE, "03 8b 0001 00 02 00 01"),
        (AnaState.PERSISTENT_LOSS, "03 8b 0001 00 02 00 01"),
        (AnaState.CHANGE, "0f 8b 0001 00 02 00 01"),
    ],
)
def test_the_group_is_in_the_namespaces_state(state: AnaState, group: str) -> None:
    bench = make_bench(controller={"cmic": 8, "anacap": 0x1F, "anatt": 30})
    bench.lu.facts = replace(bench.lu.facts, ana_state=state)
    data = bench.do(
        "REPORT TARGET PORT GROUPS", parameter_data_format=1, allocation_length=64
    ).data_in
    assert data[4:16] == bytes.fromhex("10 1e 0000") + bytes.fromhex(group)
