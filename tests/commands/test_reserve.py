"""PERSISTENT RESERVE IN and OUT on the wire: lengths, layouts, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands import COMMANDS, transport_id
from scsi2nvme.commands.persistent_reserve_in import CAPABILITIES, FULL_STATUS, LIST_HEADER
from scsi2nvme.commands.persistent_reserve_out import (
    MOVE_PARAMETER_LIST,
    PARAMETER_LIST,
    TRANSPORT_IDS_LENGTH,
)
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.ports import PortName
from tests.support import Bench, make_bench

ACTIONS = (
    "REGISTER",
    "RESERVE",
    "RELEASE",
    "CLEAR",
    "PREEMPT",
    "PREEMPT AND ABORT",
    "REGISTER AND IGNORE EXISTING KEY",
    "REGISTER AND MOVE",
)


def out(bench: Bench, action: str, data: bytes, **fields: int) -> Result:
    """Run PERSISTENT RESERVE OUT with this parameter list."""
    name = f"PERSISTENT RESERVE OUT, {action}"
    return bench.do(name, data, parameter_list_length=len(data), **fields)


def refusal(result: Result) -> tuple[SenseCode, FieldPointer | None]:
    """Return the sense code of a CHECK CONDITION, and what it points to."""
    assert result.status is Status.CHECK_CONDITION
    assert result.sense is not None
    return result.sense.code, result.sense.pointer


def registered(key: int = 0x1122334455667788) -> Bench:
    """Return a bench whose nexus is registered."""
    bench = make_bench()
    data = PARAMETER_LIST.build(service_action_key=key)
    assert out(bench, "REGISTER", data).status is Status.GOOD
    return bench


def test_read_keys_layout() -> None:
    bench = registered()
    result = bench.do("PERSISTENT RESERVE IN, READ KEYS", allocation_length=255)
    assert result.data_in == bytes.fromhex("00000001 00000008 1122334455667788")


@pytest.mark.parametrize("length", [0, 4, 8, 12])
def test_the_additional_length_is_not_truncated(length: int) -> None:
    bench = registered()
    result = bench.do("PERSISTENT RESERVE IN, READ KEYS", allocation_length=length)
    assert result.data_in == bytes.fromhex("00000001 00000008 11223344")[:length]


def test_read_reservation_layout() -> None:
    bench = registered()
    empty = bench.do("PERSISTENT RESERVE IN, READ RESERVATION", allocation_length=255)
    assert empty.data_in == bytes.fromhex("00000001 00000000")
    out(bench, "RESERVE", PARAMETER_LIST.build(key=0x1122334455667788), type=6)
    held = bench.do("PERSISTENT RESERVE IN, READ RESERVATION", allocation_length=255)
    assert held.data_in == bytes.fromhex("00000001 00000010 1122334455667788 00000000 00 06 0000")


def test_report_capabilities() -> None:
    bench = make_bench()
    result = bench.do("PERSISTENT RESERVE IN, REPORT CAPABILITIES", allocation_length=255)
    assert result.data_in == bytes.fromhex("0008 9d 80 ea01 0000")
    out(bench, "REGISTER", PARAMETER_LIST.build(service_action_key=1, aptpl=1))
    result = bench.do("PERSISTENT RESERVE IN, REPORT CAPABILITIES", allocation_length=255)
    assert CAPABILITIES.parse(result.data_in).ptpl_a == 1


@pytest.mark.parametrize(("kind", "holders"), [(1, [1, 0]), (5, [1, 0]), (7, [1, 1])])
def test_read_full_status(kind: int, holders: list[int]) -> None:
    bench = make_bench()
    for nexus in (bench.nexus, bench.other("b")):
        bench.do(
            "PERSISTENT RESERVE OUT, REGISTER",
            PARAMETER_LIST.build(service_action_key=9),
            nexus=nexus,
            parameter_list_length=24,
        )
    out(bench, "RESERVE", PARAMETER_LIST.build(key=9), type=kind)
    result = bench.do("PERSISTENT RESERVE IN, READ FULL STATUS", allocation_length=65535)
    rest = result.data_in[LIST_HEADER.size :]
    assert LIST_HEADER.parse(result.data_in).additional_length == len(rest)
    seen = []
    while rest:
        each = FULL_STATUS.parse(rest)
        identifier = rest[FULL_STATUS.size :][: each.additional_length]
        port, size = transport_id.decode(identifier)
        assert size == len(identifier)
        assert each.key == 9
        assert each.relative_target_port == bench.nexus.target.relative_identifier
        assert each.type == (kind if each.r_holder else 0)
        seen.append((port, each.r_holder))
        rest = rest[FULL_STATUS.size + size :]
    expected = [bench.nexus.initiator, bench.other("b").initiator]
    assert seen == list(zip(expected, holders, strict=True))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("length", [0, 23, 25, 28])
def test_the_parameter_list_is_24_bytes(action: str, length: int) -> None:
    result = out(registered(), action, bytes(length), type=1)
    assert refusal(result) == (PARAMETER_LIST_LENGTH_ERROR, None)


@pytest.mark.parametrize("action", ["RESERVE", "PREEMPT", "PREEMPT AND ABORT"])
def test_type_and_scope_are_checked(action: str) -> None:
    bench = registered()
    for kind in (0, 2, 4, 9, 15):
        result = out(bench, action, PARAMETER_LIST.build(), type=kind)
        assert refusal(result) == (INVALID_FIELD_IN_CDB, FieldPointer(2, 3))
    result = out(bench, action, PARAMETER_LIST.build(), type=1, scope=1)
    assert refusal(result) == (INVALID_FIELD_IN_CDB, FieldPointer(2, 7))


@pytest.mark.parametrize("action", [each for each in ACTIONS if each != "REGISTER AND MOVE"])
def test_only_register_takes_spec_i_pt(action: str) -> None:
    identifiers = transport_id.encode(PortName("iqn.2004-01.test:b", isid=bytes(6)))
    data = PARAMETER_LIST.build(service_action_key=1, spec_i_pt=1)
    data += TRANSPORT_IDS_LENGTH.build(length=len(identifiers)) + identifiers
    result = out(make_bench(), action, data, type=1)
    if action == "REGISTER":
        assert result.status is Status.GOOD
    else:
        pointer = FieldPointer(20, 3, in_cdb=False)
        assert refusal(result) == (INVALID_FIELD_IN_PARAMETER_LIST, pointer)


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        (b"", PARAMETER_LIST_LENGTH_ERROR),
        (bytes(3), PARAMETER_LIST_LENGTH_ERROR),
        (TRANSPORT_IDS_LENGTH.build(length=4), PARAMETER_LIST_LENGTH_ERROR),
        (TRANSPORT_IDS_LENGTH.build(length=4) + bytes(4), INVALID_FIELD_IN_PARAMETER_LIST),
        (TRANSPORT_IDS_LENGTH.build(length=2) + b"\x05\0", INVALID_FIELD_IN_PARAMETER_LIST),
    ],
)
def test_broken_transport_ids_are_refused(rest: bytes, code: SenseCode) -> None:
    data = PARAMETER_LIST.build(service_action_key=1, spec_i_pt=1) + rest
    bench = make_bench()
    assert refusal(out(bench, "REGISTER", data))[0] == code
    assert not bench.lu.reservations.state.registrations


def test_move_names_one_port_and_no_device() -> None:
    bench = registered(1)
    out(bench, "RESERVE", PARAMETER_LIST.build(key=1), type=1)
    port = transport_id.encode(PortName("iqn.2004-01.test:b", isid=bytes(6)))
    device = transport_id.encode(PortName("iqn.2004-01.test:b"))
    for identifiers in (device, port + port, b""):
        data = MOVE_PARAMETER_LIST.build(
            key=1,
            service_action_key=2,
            relative_target_port=1,
            transport_id_length=len(identifiers),
        )
        code, _ = refusal(out(bench, "REGISTER AND MOVE", data + identifiers))
        assert code == INVALID_FIELD_IN_PARAMETER_LIST


@pytest.mark.parametrize("action", [0x09, 0x1F])
def test_unknown_service_actions_point_at_the_service_action(action: int) -> None:
    for opcode in (0x5E, 0x5F):
        cdb = bytes([opcode, action]) + bytes(8)
        assert refusal(make_bench().run(cdb)) == (INVALID_FIELD_IN_CDB, FieldPointer(1, 4))


@pytest.mark.parametrize("name", ["RESERVE (6)", "RELEASE (6)", "RESERVE (10)", "RELEASE (10)"])
def test_third_parties_and_extents_are_refused(name: str) -> None:
    bench = make_bench()
    for flag in (0x10, 0x01):
        cdb = bytearray(bench_cdb(name))
        cdb[1] = flag
        code, pointer = refusal(bench.run(bytes(cdb)))
        assert code == INVALID_FIELD_IN_CDB
        assert pointer == FieldPointer(1, flag.bit_length() - 1)


def bench_cdb(name: str) -> bytes:
    """Return a plain CDB of a row."""
    from tests.support import row

    return row(name).build()


# TransportIDs

devices = st.from_regex(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z.]{1,30}:[a-z0-9.-]{0,40}", fullmatch=True)


@given(device=devices, isid=st.binary(min_size=6, max_size=6) | st.just(b""))
def test_transport_ids_are_what_they_were(device: str, isid: bytes) -> None:
    port = PortName(device, isid=isid)
    data = transport_id.encode(port)
    assert len(data) % 4 == 0
    assert len(data) >= 24
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    assert data.endswith(b"\0")
    assert transport_id.decode(data) == (port, len(data))
    assert transport_id.decode_list(data * 3) == [port] * 3


def test_transport_id_layout() -> None:
    data = transport_id.encode(PortName("iqn.a:b", isid=bytes.fromhex("00023d000001")))
    assert data == b"\x45\0\0\x1c" + b"iqn.a:b,i,0x00023d000001".ljust(28, b"\0")
    assert transport_id.encode(PortName("iqn.a:b")) == b"\x05\0\0\x14" + b"iqn.a:b".ljust(20, b"\0")


@given(st.binary(max_size=64))
def test_any_bytes_are_a_transport_id_or_refused(data: bytes) -> None:
    try:
        port, size = transport_id.decode(data)
    except ValueError:
        return
    assert size <= len(data)
    assert port.device


@pytest.mark.parametrize(
    "name",
    [b"", b",i,0x00023d000001", b"iqn.a:b,i,0x00023d", b"iqn.a:b,i,0x00023d00000g", b"iqn.a:b"],
)
def test_port_names_that_are_none(name: bytes) -> None:
    data = b"\x45\0\0\x20" + name.ljust(32, b"\0")
    with pytest.raises(ValueError, match=r"."):
        transport_id.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\0\0\x14" + b"iqn.a:b".ljust(20, b"\0"),  # of another protocol
        b"\x85\0\0\x14" + b"iqn.a:b".ljust(20, b"\0"),  # of another format
        b"\x05\0\0\x10" + b"iqn.a:b".ljust(16, b"\0"),  # too short
        b"\x05\0\0\x16" + b"iqn.a:b".ljust(22, b"\0"),  # of no whole words
        b"\x05\0\0\x14" + b"iqn.a:b".ljust(19, b"\0"),  # cut off
        b"\x05\0\0\x14" + b"iqn.a:b".ljust(20, b"c"),  # not terminated
        b"\x05\0\0\x14" + b"iqn.a:b".ljust(19, b"\0") + b"c",  # padded with something
    ],
)
def test_transport_ids_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        transport_id.decode(data)


@pytest.mark.parametrize(
    "name", [each.name for each in COMMANDS if each.opcode in (0x16, 0x17, 0x56, 0x57, 0x5E, 0x5F)]
)
def test_nobody_reserves_for_all_who_are_one_nexus(name: str) -> None:
    """As where the kernel's target is told to hand reservations on: all would be the holder."""
    bench = make_bench()
    nexus = Nexus(PortName("tcm-user.0.a"), PortName(""), {0: bench.lu})
    bench.lu.attach(nexus)
    bench.lu.unit_attentions[nexus.key].clear()
    result = bench.do(name, bytes(24), nexus=nexus)
    assert (result.status, result.sense) == (
        Status.CHECK_CONDITION,
        Sense(INVALID_COMMAND_OPERATION_CODE, pointer=FieldPointer(0)),
    )
