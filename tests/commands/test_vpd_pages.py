"""The vital product data pages, against Identify data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands.vpd_pages import PAGES
from scsi2nvme.commands.vpd_pages.block_device_characteristics import BLOCK_DEVICE_CHARACTERISTICS
from scsi2nvme.commands.vpd_pages.block_limits import BLOCK_LIMITS
from scsi2nvme.commands.vpd_pages.designators import (
    DESIGNATOR_HEADER,
    Association,
    Designator,
)
from scsi2nvme.commands.vpd_pages.extended_inquiry import EXTENDED_INQUIRY
from scsi2nvme.commands.vpd_pages.logical_block_provisioning import LOGICAL_BLOCK_PROVISIONING
from scsi2nvme.commands.vpd_pages.scsi_ports import SCSI_PORT
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.model_controller import ModelController
from tests.support import EUI64, NGUID, Bench, make_bench, make_facts, make_nexus

NOTHING = {"nguid": bytes(16), "eui64": bytes(8)}
UUID = bytes(range(0xA0, 0xB0))


def page(bench: Bench, code: int) -> bytes:
    result = bench.do("INQUIRY", evpd=1, page_code=code, allocation_length=0xFFFF)
    assert result.status is Status.GOOD
    data = result.data_in
    assert data[:2] == bytes([0, code])
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    return data


def bench_with_uuid(**options: Any) -> Bench:
    facts = replace(make_facts(**options), uuid=UUID)
    lu = LogicalUnit(facts)
    return Bench(lu, ModelController(facts), make_nexus("a", lu))


def designators(data: bytes) -> list[tuple[Association, Designator, bytes]]:
    """Take a list of designation descriptors apart."""
    found = []
    while data:
        header = DESIGNATOR_HEADER.parse(data)
        association = Association(header.association)
        assert header.piv == (association is not Association.LOGICAL_UNIT)
        assert header.protocol == (5 if header.piv else 0)
        value = data[4 : 4 + header.length]
        assert len(value) == header.length
        found.append((association, Designator(header.designator_type), value))
        data = data[4 + header.length :]
    return found


def of_unit(bench: Bench) -> dict[Designator, list[bytes]]:
    answer: dict[Designator, list[bytes]] = {}
    for association, kind, value in designators(page(bench, 0x83)[4:]):
        if association is Association.LOGICAL_UNIT:
            answer.setdefault(kind, []).append(value)
    return answer


def test_the_list_of_pages_ascends_and_every_page_of_it_answers() -> None:
    bench = make_bench()
    codes = list(page(bench, 0x00)[4:])
    assert codes == sorted(codes) == [row.code for row in PAGES if row.supported(bench.lu)]
    for code in codes:
        page(bench, code)


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ({}, b"0102_0304_0506_0708_090A_0B0C_0D0E_0F10."),
        ({"nguid": bytes(16)}, b"1112_1314_1516_1718."),
        (NOTHING, b"SN0001              _00000001."),
    ],
)
def test_the_serial_number_is_unique_to_the_namespace(
    namespace: dict[str, int | bytes], expected: bytes
) -> None:
    assert page(make_bench(namespace=namespace), 0x80)[4:] == expected


def test_all_identifiers_become_designators() -> None:
    found = of_unit(make_bench())
    assert found[Designator.EUI_64] == [NGUID, EUI64]
    assert found[Designator.SCSI_NAME_STRING] == [b"eui." + NGUID.hex().upper().encode() + bytes(4)]
    assert found[Designator.NAA] == [bytes.fromhex("6123456415161718 1112131000000000")]
    assert found[Designator.T10_VENDOR_ID] == [
        b"NVMe    Model Controller" + NGUID.hex().upper().encode()
    ]


def naa(**options: Any) -> bytes:
    (value,) = of_unit(make_bench(**options))[Designator.NAA]
    return value


def test_without_an_oui_of_the_controllers_that_of_the_eui_64_counts() -> None:
    assert naa(controller={"ieee": 0}) == bytes.fromhex("6111213415161718 1112131000000000")


@given(st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_half_of_the_naa_designator_tells_a_vendors_disks_apart(one: bytes, other: bytes) -> None:
    names = [naa(namespace={"eui64": b"\x11\x12\x13" + low}) for low in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    counted = (int.from_bytes(low, "big") & (1 << 36) - 1 for low in (one, other))
    assert (names[0][:8] == names[1][:8]) == (len(set(counted)) == 1)


def test_without_an_eui_64_the_naa_designator_is_locally_assigned() -> None:
    nameless = [
        naa(namespace=NOTHING, nsid=nsid, controller={"sn": serial.ljust(20)})
        for serial in (b"A", b"B")
        for nsid in (1, 2)
    ]
    nguids = [naa(namespace={"eui64": bytes(8), "nguid": bytes([n]) * 16}) for n in (1, 2)]
    (uuid,) = of_unit(bench_with_uuid(namespace=NOTHING))[Designator.NAA]
    names = [*nameless, *nguids, uuid]
    assert {(len(name), name[0] >> 4) for name in names} == {(8, 3)}
    assert len(set(names)) == len(names)
    assert nameless[0] == naa(namespace=NOTHING, nsid=1, controller={"sn": b"A".ljust(20)})


def test_a_short_name_string_is_padded_too() -> None:
    found = of_unit(make_bench(namespace={"nguid": bytes(16)}))
    assert found[Designator.SCSI_NAME_STRING] == [b"eui." + EUI64.hex().upper().encode() + bytes(4)]


def test_a_uuid_alone_still_names_the_logical_unit() -> None:
    found = of_unit(bench_with_uuid(namespace=NOTHING))
    assert found[Designator.UUID] == [b"\x10\x00" + UUID]
    assert found[Designator.T10_VENDOR_ID][0].endswith(UUID.hex().upper().encode())
    assert set(found) == {Designator.UUID, Designator.T10_VENDOR_ID, Designator.NAA}


def test_namespaces_without_identifiers_do_not_collide() -> None:
    one, two = (of_unit(make_bench(namespace=NOTHING, nsid=nsid)) for nsid in (1, 2))
    assert one[Designator.T10_VENDOR_ID] != two[Designator.T10_VENDOR_ID]
    assert one[Designator.T10_VENDOR_ID][0].startswith(b"NVMe    Model Controller1B36SN0001")


def test_port_and_device_are_named() -> None:
    bench = make_bench()
    target = bench.nexus.target
    found = designators(page(bench, 0x83)[4:])
    port = {kind: value for where, kind, value in found if where is Association.TARGET_PORT}
    assert port[Designator.RELATIVE_TARGET_PORT] == b"\0\0\0\x01"
    assert port[Designator.TARGET_PORT_GROUP] == b"\0\0\0\x01"
    assert port[Designator.SCSI_NAME_STRING].rstrip(b"\0").decode() == target.name
    device = [value for where, _, value in found if where is Association.TARGET_DEVICE]
    assert [value.rstrip(b"\0").decode() for value in device] == [target.device]


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:", min_size=1, max_size=40))
def test_names_of_any_length_are_terminated_and_padded(name: str) -> None:
    bench = make_bench()
    bench.nexus.target = replace(bench.nexus.target, device=f"iqn.2004-01.test:{name}")
    for _, kind, value in designators(page(bench, 0x83)[4:]):
        if kind is Designator.SCSI_NAME_STRING:
            assert len(value) % 4 == 0
            assert value.endswith(b"\0")
            assert not value.endswith(bytes(5))


def test_every_port_of_the_logical_unit_is_listed() -> None:
    bench = make_bench()
    second = replace(bench.nexus.target, portal_group_tag=2)
    bench.lu.target_ports = (second, bench.nexus.target)
    data, numbers = page(bench, 0x88)[4:], []
    while data:
        header = SCSI_PORT.parse(data)
        numbers.append(header.relative_port)
        end = SCSI_PORT.size + header.target_descriptors_length
        names = [v for _, k, v in designators(data[SCSI_PORT.size : end]) if k == 8]
        assert [name.rstrip(b"\0")[-1:] for name in names] == [str(header.relative_port).encode()]
        data = data[end:]
    assert numbers == [1, 2]


def test_a_port_of_the_kernels_is_numbered_and_not_named() -> None:
    bench = make_bench()
    bench.nexus.target = replace(bench.nexus.target, device="")
    numbers = bytes.fromhex("01140004 00000001 01150004 00000001")  # no protocol identifier
    data = page(bench, 0x83)
    assert data.endswith(numbers)
    of_unit = designators(data[4 : -len(numbers)])
    assert {where for where, _, _ in of_unit} == {Association.LOGICAL_UNIT}
    header = SCSI_PORT.parse(page(bench, 0x88)[4:])
    assert (header.relative_port, header.target_descriptors_length) == (1, 16)


@pytest.mark.parametrize("vwc", [0, 1])
def test_extended_inquiry_follows_the_controller(vwc: int) -> None:
    bench = make_bench(controller={"vwc": vwc, "edstt": 25})
    data = EXTENDED_INQUIRY.parse(page(bench, 0x86))
    assert (data.v_sup, data.self_test_minutes, data.simpsup) == (vwc, 25, 1)
    assert (data.spt, data.grd_chk, data.app_chk, data.ref_chk) == (0, 0, 0, 0)
    without = make_bench(controller={"oacs": 0, "edstt": 25})
    assert EXTENDED_INQUIRY.parse(page(without, 0x86)).self_test_minutes == 0


def test_extended_inquiry_claims_what_arrives_and_no_microcode() -> None:
    bench = make_bench()
    bench.lu.firmware_allowed = False
    assert page(bench, 0x86)[4:6] == bytes([0x00, 0x01])  # SIMPLE
    attributes = frozenset(TaskAttribute) - {TaskAttribute.ACA}
    bench.nexus.delivery = ServiceDelivery(attributes=attributes)
    assert page(bench, 0x86)[4:6] == bytes([0x00, 0x07])  # HEADSUP, ORDSUP, SIMPSUP


def test_mode_page_policy_ascends_and_covers_all_pages() -> None:
    entries = page(make_bench(), 0x87)[4:]
    assert entries == bytes([0x08, 0x00, 0x80, 0x00, 0x3F, 0xFF, 0x00, 0x00])


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_block_limits_are_those_of_the_logical_unit(block_bytes: int) -> None:
    bench = make_bench(block_bytes=block_bytes)
    data = BLOCK_LIMITS.parse(page(bench, 0xB0))
    assert len(data.raw) == 64
    assert data.wsnz == 1
    assert data.maximum_transfer == MAXIMUM_TRANSFER_BYTES // block_bytes
    assert data.maximum_compare_and_write == 255
    assert data.maximum_unmap_blocks == 0xFFFFFFFF
    assert data.maximum_unmap_descriptors == 256
    assert data.maximum_write_same == 0xFFFF
    assert (data.optimal_granularity, data.optimal_transfer, data.ugavalid) == (0, 0, 0)


def test_zero_blocks_are_the_rest_where_nothing_can_be_unmapped() -> None:
    data = BLOCK_LIMITS.parse(page(make_bench(controller={"oncs": 0xFB}), 0xB0))
    assert (data.wsnz, data.maximum_unmap_blocks) == (0, 0)


def test_preferred_sizes_become_granularities() -> None:
    sizes = {"nsfeat": 0x10, "npwg": 7, "npwa": 7, "npdg": 5, "npda": 3, "nows": 2047}
    data = BLOCK_LIMITS.parse(page(make_bench(namespace=sizes), 0xB0))
    assert data.optimal_granularity == 8
    assert data.optimal_transfer == 2048
    assert data.optimal_unmap_granularity == 12  # lcm(6, 4)
    assert (data.ugavalid, data.unmap_granularity_alignment) == (1, 0)


@pytest.mark.parametrize(
    ("npwg", "nows", "granularity", "transfer"),
    [
        (7, 7, 8, 0),
        (0, 7, 1, 0),  # of 4 KiB: initiators would cut every request to that
        (7, 2039, 8, 0),  # less than 1 MiB
        (7, 2047, 8, 2048),
        (7, 2050, 8, 0),  # no multiple of the granularity
        (0xFFFE, 0xFFFE, 0xFFFF, 0),  # more than a request can have
        (0xFFFF, 0xFFFF, 0, 0),  # more than the field holds
    ],
)
def test_preferred_sizes_help_or_are_left_out(
    npwg: int, nows: int, granularity: int, transfer: int
) -> None:
    sizes = {"nsfeat": 0x10, "npwg": npwg, "nows": nows}
    data = BLOCK_LIMITS.parse(page(make_bench(namespace=sizes), 0xB0))
    assert (data.optimal_granularity, data.optimal_transfer) == (granularity, transfer)


def test_without_dataset_management_nothing_is_unmapped() -> None:
    bench = make_bench(controller={"oncs": 0}, namespace={"nsfeat": 0x11, "npdg": 7})
    limits = BLOCK_LIMITS.parse(page(bench, 0xB0))
    assert (limits.maximum_unmap_blocks, limits.maximum_unmap_descriptors) == (0, 0)
    assert (limits.optimal_unmap_granularity, limits.ugavalid) == (0, 0)
    provisioning = LOGICAL_BLOCK_PROVISIONING.parse(page(bench, 0xB2))
    assert provisioning.raw[4:] == bytes(4)


@pytest.mark.parametrize(
    ("nsfeat", "dlfeat", "kind", "lbprz"),
    [(0, 0, 1, 0), (1, 1, 2, 1), (0, 0b1001, 1, 1), (0, 2, 1, 0)],
)
def test_provisioning_follows_the_namespace(
    nsfeat: int, dlfeat: int, kind: int, lbprz: int
) -> None:
    bench = make_bench(namespace={"nsfeat": nsfeat, "dlfeat": dlfeat})
    data = LOGICAL_BLOCK_PROVISIONING.parse(page(bench, 0xB2))
    assert (data.lbpu, data.lbpws, data.lbpws10, data.anc_sup, data.dp) == (1, 1, 1, 0, 0)
    assert (data.provisioning_type, data.lbprz) == (kind, lbprz)
    assert bench.lu.reads_zero_after_unmap == bool(lbprz)


def test_it_does_not_rotate() -> None:
    data = BLOCK_DEVICE_CHARACTERISTICS.parse(page(make_bench(), 0xB1))
    assert (data.medium_rotation_rate, data.vbuls, data.fuab) == (1, 1, 0)


@pytest.mark.parametrize(
    ("namespace", "awupf", "exponent"),
    [
        ({"npwg": 7}, 7, 0),  # OPTPERF is zero: NPWG means nothing
        ({"nsfeat": 0x10, "npwg": 7}, 7, 3),
        ({"nsfeat": 0x10, "npwg": 7}, 3, 2),  # no more than is untorn
        ({"nsfeat": 0x10, "npwg": 6}, 7, 0),  # no power of two
        ({"nsfeat": 0x12, "npwg": 7, "nawupf": 1}, 7, 1),  # the namespace's own
        ({"nsfeat": 0x12, "npwg": 7, "nawupf": 0}, 7, 3),  # zero: the controller's
        ({"nsfeat": 0x10, "npwg": 31}, 31, 3),  # 16 KiB: initiators refuse more than 4 KiB
        ({"nsfeat": 0x10, "npwg": 0xFFFF}, 0xFFFF, 3),
    ],
)
def test_the_physical_block_is_untorn(
    namespace: dict[str, int | bytes], awupf: int, exponent: int
) -> None:
    lu = make_bench(namespace=namespace, controller={"awupf": awupf}).lu
    assert lu.physical_block_exponent == exponent


@pytest.mark.parametrize(
    ("block_bytes", "maximum", "exponent"),
    [(512, 512, 0), (512, 65536, 7), (4096, 65536, 4), (4096, 512, 0), (4096, 4096, 0)],
)
def test_larger_physical_blocks_are_told_on_demand(
    block_bytes: int, maximum: int, exponent: int
) -> None:
    sizes = {"nsfeat": 0x10, "npwg": 0x7FFF}
    bench = make_bench(block_bytes=block_bytes, namespace=sizes, controller={"awupf": 0xFFFF})
    bench.lu.maximum_physical_block_bytes = maximum
    assert bench.lu.physical_block_exponent == exponent
    assert BLOCK_LIMITS.parse(page(bench, 0xB0)).optimal_granularity == 0x8000


def test_four_bits_hold_the_physical_block_exponent() -> None:
    lu = make_bench(namespace={"nsfeat": 0x10, "npwg": 0xFFFF}, controller={"awupf": 0xFFFF}).lu
    lu.maximum_physical_block_bytes = 1 << 30
    assert lu.physical_block_exponent == 15


def test_identify_controller_is_told_as_it_is() -> None:
    bench = make_bench()
    data = page(bench, 0xDE)
    assert len(data) == 4160
    assert data[8:36] == b"NVMe    Model Controller1.0 "
    assert data[64:] == bench.lu.facts.controller.raw


@pytest.mark.parametrize(
    ("namespace", "controller", "named"),
    [
        ({}, {}, [0x0102, 0x0103]),
        ({"dlfeat": 0}, {}, [0x0102]),  # nobody knows what unmapped blocks are read as
        ({}, {"oncs": 0x38 & ~4}, [0x0102]),  # nothing is unmapped
        ({}, {"oacs": 0}, None),  # no FORMAT UNIT
        ({}, {"npss": 0}, None),  # no page 8Ah
    ],
)
def test_feature_sets_are_named_where_all_of_them_is_there(
    namespace: dict[str, Any], controller: dict[str, Any], named: list[int] | None
) -> None:
    """Spec: SBC-4 annex H."""
    bench = make_bench(namespace=namespace, controller=controller)
    result = bench.do("INQUIRY", evpd=1, page_code=0x92, allocation_length=255)
    if named is None:
        assert result.status is Status.CHECK_CONDITION
        return
    page = result.data_in
    assert page[:2] == b"\0\x92"
    assert int.from_bytes(page[2:4], "big") == len(page) - 4
    assert page[4:8] == bytes(4)
    codes = [int.from_bytes(page[at : at + 2], "big") for at in range(8, len(page), 2)]
    assert codes == named
