"""MODE SENSE and MODE SELECT, their pages, and what outlives a reset and a restart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands.mode import HEADER_6, HEADER_10, LONG_DESCRIPTOR, SHORT_DESCRIPTOR
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.structures import POWER_STATE
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    MODE_PARAMETERS_CHANGED,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages import PAGES
from scsi2nvme.unit.mode_pages.caching import CACHING
from scsi2nvme.unit.mode_pages.control import CONTROL, CONTROL_EXTENSION
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from scsi2nvme.unit.mode_pages.page import PAGE_0, SUBPAGE, ModePage, PageControl
from tests.support import Bench, make_bench, make_lu, make_nexus

WCE = 0x06  # feature identifier
SAVE = 1 << 31
TWO_OPERATIONAL_STATES: dict[str, Any] = {
    "psds": POWER_STATE.build(mp=900) + POWER_STATE.build(mp=100)
}
ALL: dict[str, Any] = {"page_code": 0x3F, "subpage_code": 0xFF}


def sense(bench: Bench, length: int = 10, **fields: Any) -> bytes:
    allocation = {6: 0xFF, 10: 0xFFFF}[length]
    result = bench.do(f"MODE SENSE ({length})", allocation_length=allocation, **fields)
    assert result.status is Status.GOOD, result.sense
    return result.data_in


def pages_of(data: bytes) -> dict[tuple[int, int], bytes]:
    """Take the pages after an eight-byte header without descriptors apart."""
    found, rest = {}, data[8:]
    while rest:
        if rest[0] & 0x40:
            header = SUBPAGE.parse(rest)
            size, key = 4 + header.page_length, (header.page_code, header.subpage_code)
        else:
            short = PAGE_0.parse(rest)
            size, key = 2 + short.page_length, (short.page_code, 0)
        assert len(rest) >= size
        found[key] = rest[:size]
        rest = rest[size:]
    return found


def page(bench: Bench, wanted: ModePage, control: PageControl = PageControl.CURRENT) -> Values:
    data = sense(bench, dbd=1, pc=control, page_code=wanted.code, subpage_code=wanted.subpage)
    (found,) = pages_of(data).values()
    return wanted.layout.parse(found)


def changed(bench: Bench, wanted: ModePage, **fields: int) -> bytes:
    """Return a page as it is now, with fields changed."""
    data = bytearray(page(bench, wanted).raw)
    wanted.layout.write(data, **fields)
    return bytes(data)


def select(bench: Bench, *pages: bytes, save: int = 0, header: bytes = bytes(8)) -> Result:
    data = header + b"".join(pages)
    return bench.do("MODE SELECT (10)", data, pf=1, sp=save, parameter_list_length=len(data))


def refused_in_list(result: Result, byte: int, bit: int | None = None) -> bool:
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return result.sense == Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer)


def refused_in_cdb(result: Result, byte: int, bit: int) -> bool:
    return result.sense == Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))


# MODE SENSE


def test_all_pages_ascend_and_the_lengths_agree() -> None:
    bench = make_bench(controller=TWO_OPERATIONAL_STATES, namespace={"nsfeat": 1})
    data = sense(bench, dbd=1, **ALL)
    assert HEADER_10.parse(data).mode_data_length == len(data) - 2
    found = pages_of(data)
    sizes = {(r.code, r.subpage): r.layout.size for r in PAGES if r.supported(bench.lu.facts)}
    assert list(found) == sorted(found) == list(sizes)
    assert {key: len(each) for key, each in found.items()} == sizes


def test_subpages_come_only_when_asked_for() -> None:
    bench = make_bench()
    assert (0x0A, 1) not in pages_of(sense(bench, dbd=1, page_code=0x3F))
    control = pages_of(sense(bench, dbd=1, page_code=0x0A, subpage_code=0xFF))
    assert list(control) == [(0x0A, 0), (0x0A, 1), (0x0A, 6)]
    assert list(pages_of(sense(bench, dbd=1, page_code=0x0A))) == [(0x0A, 0)]


@pytest.mark.parametrize(
    ("fields", "byte", "bit"),
    [
        ({"page_code": 0x05}, 2, 5),
        ({"page_code": 0x00}, 2, 5),
        ({"page_code": 0x0A, "subpage_code": 7}, 3, 7),
        ({"page_code": 0x3F, "subpage_code": 1}, 3, 7),
    ],
)
def test_unknown_pages_are_refused(fields: dict[str, Any], byte: int, bit: int) -> None:
    bench = make_bench()
    result = bench.do("MODE SENSE (10)", allocation_length=255, **fields)
    assert refused_in_cdb(result, byte, bit)


def test_the_short_header_and_descriptor() -> None:
    bench = make_bench(blocks=4096, block_bytes=512)
    data = sense(bench, 6, page_code=0x08)
    header = HEADER_6.parse(data)
    assert header.mode_data_length == len(data) - 1
    assert (header.dpofua, header.wp, header.block_descriptor_length) == (1, 0, 8)
    descriptor = SHORT_DESCRIPTOR.parse(data[4:12])
    assert (descriptor.blocks, descriptor.block_bytes) == (4096, 512)


def test_a_capacity_beyond_32_bits_saturates_the_short_descriptor() -> None:
    lu = make_lu(namespace={"nsze": 1 << 33})
    bench = make_bench()
    bench.lu = lu
    bench.nexus = make_nexus("big", lu)
    assert SHORT_DESCRIPTOR.parse(sense(bench, page_code=0x08)[8:]).blocks == 0xFFFFFFFF
    data = sense(bench, llbaa=1, page_code=0x08)
    header = HEADER_10.parse(data)
    assert (header.longlba, header.block_descriptor_length) == (1, 16)
    assert LONG_DESCRIPTOR.parse(data[8:24]).blocks == 1 << 33


def test_write_protection_shows_in_the_header() -> None:
    bench = make_bench()
    bench.lu.read_only = True
    assert HEADER_6.parse(sense(bench, 6, page_code=0x08)).wp == 1
    assert HEADER_10.parse(sense(bench, page_code=0x08)).wp == 1


def test_the_allocation_length_only_truncates() -> None:
    bench = make_bench()
    whole = sense(bench, **ALL)
    for length in (0, 1, 8, 30):
        result = bench.do("MODE SENSE (10)", allocation_length=length, **ALL)
        assert result.data_in == whole[:length]


def test_changeable_values_are_what_select_accepts() -> None:
    bench = make_bench(controller=TWO_OPERATIONAL_STATES, namespace={"nsfeat": 1})
    check_every_bit(bench, [row for row in PAGES if row.supported(bench.lu.facts)])


def check_every_bit(bench: Bench, rows: list[ModePage]) -> None:  # the mask says which are taken
    for row in rows:
        mask = page(bench, row, PageControl.CHANGEABLE).raw
        start = row.header.size
        for index in range(start, row.layout.size):
            for bit in range(8):
                wanted = bytearray(page(bench, row).raw)
                wanted[index] ^= 1 << bit
                result = select(bench, bytes(wanted))
                if mask[index] >> bit & 1:
                    makes_sense = not row.wrong(row.layout.parse(wanted), bench.lu)  # alone
                    assert (result.status is Status.GOOD) == makes_sense
                    bench.lu.exceptions.reset()  # TEST has made one
                    bench.lu.take_attention(bench.nexus)
                    assert (page(bench, row).raw == bytes(wanted)) == makes_sense
                else:
                    assert refused_in_list(result, 8 + index, bit)


def test_defaults_stay_while_current_values_change() -> None:
    bench = make_bench()
    default = page(bench, CONTROL, PageControl.DEFAULT).raw
    assert page(bench, CONTROL).raw == default
    assert select(bench, changed(bench, CONTROL, d_sense=1)).status is Status.GOOD
    assert page(bench, CONTROL).d_sense == 1
    assert page(bench, CONTROL, PageControl.DEFAULT).raw == default
    assert page(bench, CONTROL, PageControl.SAVED).raw == default


def test_the_control_page_describes_the_device() -> None:
    control = page(make_bench(controller={"edstt": 10}), CONTROL)
    assert (control.d_sense, control.swp, control.tas, control.qerr) == (0, 0, 1, 0)
    assert control.tst == 1  # a task set for each I_T nexus
    assert control.self_test_completion_time == 600
    long = page(make_bench(controller={"edstt": 0xFFFF}), CONTROL)
    assert long.self_test_completion_time == 0xFFFF
    assert page(make_bench(controller={"oacs": 0}), CONTROL).self_test_completion_time == 0


# The write cache


@pytest.mark.parametrize("current", [0, 1])
@pytest.mark.parametrize("default", [0, 1])
@pytest.mark.parametrize("saved", [0, 1])
def test_wce_is_the_controllers(current: int, default: int, saved: int) -> None:
    bench = make_bench()
    bench.model.features[WCE] = current
    bench.model.default_features[WCE] = default
    bench.model.saved_features[WCE] = saved
    values = [page(bench, CACHING, control).wce for control in PageControl]
    assert values == [current, 1, default, saved]
    assert PAGE_0.parse(page(bench, CACHING).raw).ps == 1


def test_without_a_cache_wce_is_zero_for_good() -> None:
    bench = make_bench(controller={"vwc": 0})
    assert [page(bench, CACHING, control).wce for control in PageControl] == [0, 0, 0, 0]
    assert refused_in_list(select(bench, changed(bench, CACHING, wce=1)), 8 + 2, 2)
    assert not bench.model.executed


def test_a_controller_without_selection_is_asked_for_current_values_only() -> None:
    bench = make_bench(controller={"oncs": 0xEF})
    assert [page(bench, CACHING, control).wce for control in PageControl] == [1, 1, 1, 1]
    assert {command.cdw10 for command in bench.model.executed} == {WCE}
    assert PAGE_0.parse(page(bench, CACHING).raw).ps == 0
    assert select(bench, changed(bench, CACHING, wce=0), save=1).status is Status.GOOD
    assert bench.model.features[WCE] == 0


def test_turning_the_cache_off_flushes_it() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CACHING, wce=0)).status is Status.GOOD
    assert bench.model.features[WCE] == 0
    assert bench.model.saved_features[WCE] == 1
    assert [(c.opcode, c.admin) for c in bench.model.executed[-2:]] == [
        (AdminOpcode.SET_FEATURES, True),
        (Opcode.FLUSH, False),
    ]
    assert select(bench, changed(bench, CACHING, wce=1)).status is Status.GOOD
    assert bench.model.features[WCE] == 1
    assert bench.model.opcodes()[-1] == AdminOpcode.SET_FEATURES


def test_an_unchanged_cache_is_left_alone() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CACHING)).status is Status.GOOD
    assert AdminOpcode.SET_FEATURES not in bench.model.opcodes()


def test_saving_the_write_cache_is_the_controllers_affair() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CACHING, wce=0), save=1).status is Status.GOOD
    assert bench.model.saved_features[WCE] == 0
    assert page(bench, CACHING, PageControl.SAVED).wce == 0


def test_a_feature_that_cannot_change_is_not_changeable() -> None:
    bench = make_bench()
    whole = bench.model.admin[AdminOpcode.GET_FEATURES]

    def fixed(command: NvmeCommand) -> bytes | Completion | None:
        return Completion(dw0=0) if command.cdw10 >> 8 & 7 == 3 else whole(command)

    bench.model.admin[AdminOpcode.GET_FEATURES] = fixed
    bench.model.saved_features[WCE] = 0
    assert page(bench, CACHING, PageControl.CHANGEABLE).wce == 0
    assert PAGE_0.parse(page(bench, CACHING).raw).ps == 0
    assert page(bench, CACHING, PageControl.SAVED).wce == 1  # the default: nothing is saved
    assert refused_in_list(select(bench, changed(bench, CACHING, wce=0)), 8 + 2, 2)


def test_neighbours_on_the_controller_hear_of_its_cache() -> None:
    bench = make_bench()
    neighbour, stranger = make_lu(nsid=2), make_lu(controller={"sn": b"OTHER".ljust(20)})
    bench.nexus.luns |= {1: neighbour, 2: stranger}
    bench.lu.controller_units = (bench.lu, neighbour)
    make_nexus("b", bench.lu, neighbour, stranger)
    heard = [unit.unit_attentions for unit in (bench.lu, neighbour, stranger)]
    assert select(bench, changed(bench, CACHING, wce=0)).status is Status.GOOD
    told = [[s.code for queue in each.values() for s in queue] for each in heard]
    assert told == [[MODE_PARAMETERS_CHANGED], [MODE_PARAMETERS_CHANGED], []]


# MODE SELECT


def test_an_empty_list_changes_nothing() -> None:
    bench = make_bench()
    assert bench.do("MODE SELECT (6)", pf=1).status is Status.GOOD
    assert bench.do("MODE SELECT (10)", pf=1).status is Status.GOOD


def test_vendor_specific_pages_are_refused() -> None:
    result = make_bench().do("MODE SELECT (6)", bytes(4), parameter_list_length=4)
    assert refused_in_cdb(result, 1, 4)


@pytest.mark.parametrize("length", [6, 10])
def test_both_lengths_select(length: int) -> None:
    bench = make_bench()
    data = bytes({6: 4, 10: 8}[length]) + changed(bench, CONTROL, swp=1)
    name = f"MODE SELECT ({length})"
    assert bench.do(name, data, pf=1, parameter_list_length=len(data)).status is Status.GOOD
    assert bench.lu.mode.swp
    assert bench.lu.write_protected


def test_a_list_cut_anywhere_else_than_after_a_page_is_an_error() -> None:
    bench = make_bench()
    descriptor = SHORT_DESCRIPTOR.build(block_bytes=512)
    header = HEADER_10.build(block_descriptor_length=8)
    first, second = changed(bench, CONTROL, d_sense=1), changed(bench, CONTROL_EXTENSION)
    whole = header + descriptor + first + second
    ends = {0, 16, 16 + len(first), len(whole)}
    for length in range(len(whole) + 1):
        bench.lu.mode.reset()
        result = bench.do("MODE SELECT (10)", whole[:length], pf=1, parameter_list_length=length)
        if length in ends:
            assert result.status is Status.GOOD
        else:
            assert result.sense == Sense(PARAMETER_LIST_LENGTH_ERROR)
            assert not bench.lu.mode.descriptor_sense


def test_nothing_is_applied_unless_all_is_right() -> None:
    bench = make_bench()
    good = changed(bench, CONTROL, swp=1)
    cache = changed(bench, CACHING, wce=0)
    bad = changed(bench, INFORMATIONAL_EXCEPTIONS_CONTROL, logerr=1)
    offset = 8 + len(good) + len(cache)
    assert refused_in_list(select(bench, good, cache, bad), offset + 2, 0)
    assert not bench.lu.mode.swp
    assert bench.model.features[WCE] == 1


@pytest.mark.parametrize(
    ("data", "byte", "bit"),
    [
        (bytes([0x05, 30]) + bytes(30), 8, 5),  # no such page
        (bytes([0x4A, 7, 0, 28]) + bytes(28), 8, 5),  # no such subpage
        (bytes([0x48, 0, 0, 16]) + bytes(16), 8, 5),  # a page in subpage format
        (bytes([0x0A, 9]) + bytes(9), 9, None),  # too short
        (bytes([0x0A, 11]) + bytes(11), 9, None),  # too long
    ],
)
def test_wrong_pages_are_pointed_at(data: bytes, byte: int, bit: int | None) -> None:
    assert refused_in_list(select(make_bench(), data), byte, bit)


@given(
    st.binary(max_size=64), st.sampled_from([b"", b"\x0a\x0a", b"\x08\x12", b"\x4a\x01\x00\x1c"])
)
def test_any_list_is_applied_whole_or_refused(tail: bytes, start: bytes) -> None:
    bench = make_bench()
    before = sense(bench, **ALL)
    result = select(bench, start + tail)
    if result.status is not Status.GOOD:
        assert result.sense is not None
        assert result.sense.code in (INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR)
        assert sense(bench, **ALL) == before


def test_the_ps_bit_is_not_looked_at() -> None:
    bench = make_bench()
    data = bytearray(changed(bench, CONTROL, d_sense=1))
    for ps in (0x80, 0x00):
        data[0] = ps | 0x0A
        assert select(bench, bytes(data)).status is Status.GOOD
    assert bench.lu.mode.descriptor_sense


@pytest.mark.parametrize(("length", "longlba"), [(7, 0), (16, 0), (8, 1), (24, 1)])
def test_a_descriptor_length_that_fits_no_descriptor_is_refused(length: int, longlba: int) -> None:
    header = HEADER_10.build(block_descriptor_length=length, longlba=longlba)
    assert refused_in_list(select(make_bench(), bytes(length), header=header), 6)


@pytest.mark.parametrize("blocks", [0, 4096, 512, 0xFFFFFFFF])
def test_a_new_block_length_waits_for_format_unit(blocks: int) -> None:
    bench = make_bench(blocks=4096, block_bytes=512)
    header = HEADER_10.build(block_descriptor_length=8)
    descriptor = SHORT_DESCRIPTOR.build(blocks=blocks, block_bytes=4096)
    assert select(bench, descriptor, header=header).status is Status.GOOD
    assert bench.lu.mode.pending_block_bytes == 4096
    assert bench.lu.block_bytes == 512
    shown = SHORT_DESCRIPTOR.parse(sense(bench, page_code=0x08)[8:])
    assert (shown.block_bytes, shown.blocks) == (4096, 512)
    assert select(bench, changed(bench, CONTROL, swp=1)).status is Status.GOOD
    assert bench.lu.mode.pending_block_bytes == 4096  # without a descriptor it is what it was
    back = SHORT_DESCRIPTOR.build(block_bytes=512)
    assert select(bench, back, header=header).status is Status.GOOD
    assert bench.lu.mode.pending_block_bytes is None


@pytest.mark.parametrize(
    ("fields", "byte"),
    [
        ({"block_bytes": 520}, 8 + 5),
        ({"block_bytes": 0}, 8 + 5),
        ({"block_bytes": 512, "blocks": 1000}, 8),
    ],
)
def test_impossible_descriptors_are_refused(fields: dict[str, int], byte: int) -> None:
    header = HEADER_10.build(block_descriptor_length=8)
    descriptor = SHORT_DESCRIPTOR.build(**fields)
    assert refused_in_list(select(make_bench(), descriptor, header=header), byte)


def test_reserved_bytes_of_the_list_must_be_zero() -> None:
    medium = HEADER_10.build(medium_type=1)
    assert refused_in_list(select(make_bench(), header=medium), 2)
    header = HEADER_10.build(block_descriptor_length=8)
    descriptor = bytes([0, 0, 0, 0, 1, 0, 2, 0])
    assert refused_in_list(select(make_bench(), descriptor, header=header), 8 + 4)


def test_the_long_descriptor_is_read_as_such() -> None:
    bench = make_bench()
    header = HEADER_10.build(block_descriptor_length=16, longlba=1)
    descriptor = LONG_DESCRIPTOR.build(blocks=(1 << 64) - 1, block_bytes=4096)
    assert select(bench, descriptor, header=header).status is Status.GOOD
    assert bench.lu.mode.pending_block_bytes == 4096


def test_other_nexuses_are_told_of_changes_only() -> None:
    bench = make_bench()
    other = bench.other()
    assert select(bench, changed(bench, CONTROL)).status is Status.GOOD
    assert bench.lu.pending_attention(other) is None
    assert select(bench, changed(bench, CONTROL, d_sense=1)).status is Status.GOOD
    assert bench.lu.pending_attention(bench.nexus) is None
    assert bench.lu.take_attention(other) == Sense(MODE_PARAMETERS_CHANGED)


def test_the_data_plane_hears_of_software_write_protection() -> None:
    bench = make_bench()
    seen: list[bool] = []
    bench.lu.on_change = lambda: seen.append(bench.lu.aside(bench.nexus))
    bench.lu.mode.change(CONTROL, CONTROL.layout.build(swp=1))
    assert seen == [True]
    bench.lu.mode.change(CONTROL, CONTROL.layout.build(swp=0))
    assert seen == [True, False]


# Saved values


def test_saved_values_survive_reset_and_restart() -> None:
    bench = make_bench()
    assert select(bench, changed(bench, CONTROL, swp=1), save=1).status is Status.GOOD
    assert select(bench, changed(bench, CONTROL, swp=0, d_sense=1)).status is Status.GOOD
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    bench.lu.take_attention(bench.nexus)
    assert (bench.lu.mode.swp, bench.lu.mode.descriptor_sense) == (True, False)
    again = LogicalUnit(bench.lu.facts, bench.lu.store)
    assert (again.mode.swp, again.mode.descriptor_sense) == (True, False)
    assert page(bench, CONTROL, PageControl.SAVED).swp == 1
    assert PAGE_0.parse(page(bench, CONTROL).raw).ps == 1


def test_a_reset_without_saved_values_returns_to_the_defaults() -> None:
    bench = make_bench()
    header = HEADER_10.build(block_descriptor_length=8)
    descriptor = SHORT_DESCRIPTOR.build(block_bytes=4096)
    assert select(bench, descriptor, changed(bench, CONTROL, tas=0), header=header).status == 0
    assert not bench.lu.mode.task_aborted_status
    bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    assert bench.lu.mode.task_aborted_status
    assert bench.lu.mode.pending_block_bytes is None


@given(st.binary(min_size=CONTROL.layout.size, max_size=CONTROL.layout.size))
def test_a_saved_page_only_speaks_for_what_may_change(saved: bytes) -> None:
    bench = make_bench()
    bench.lu.store.save(f"mode/{bench.lu.identity}", {"pages": {"0a/00": saved.hex()}})
    lu = LogicalUnit(bench.lu.facts, bench.lu.store)
    now = lu.mode.values(CONTROL, PageControl.CURRENT)
    default = lu.mode.values(CONTROL, PageControl.DEFAULT)
    mask = lu.mode.values(CONTROL, PageControl.CHANGEABLE)
    for value, was, bits, stored in zip(now, default, mask, saved, strict=True):
        assert value & ~bits == was & ~bits
        assert value & bits == stored & bits


def test_a_saved_page_of_another_layout_counts_as_unsaved() -> None:
    lu = make_lu()
    lu.store.save(f"mode/{lu.identity}", {"pages": {"0a/00": "ff" * 10, "33/00": "ff"}})
    again = LogicalUnit(lu.facts, lu.store)
    assert not again.mode.swp
