"""LOG SENSE, against the controller's logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands import log
from scsi2nvme.commands.log_pages import PAGES
from scsi2nvme.commands.log_pages.medium import BACKGROUND_SCAN
from scsi2nvme.commands.log_pages.page import (
    PARAMETER_HEADER,
    Linking,
    LogPage,
    celsius,
)
from scsi2nvme.commands.log_pages.self_test_results import SELF_TEST
from scsi2nvme.commands.log_pages.statistics import IDLE_TIME, STATISTICS
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY, SELF_TEST_RESULT, SMART_LOG
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from scsi2nvme.unit.statistics import KindStatistics, Statistics
from tests.commands.log_pages import (
    CURRENT,
    SELF_TESTS,
    SMART,
    numbers,
    parameters,
    refused_in_cdb,
    sense,
    with_smart,
)
from tests.support import Bench, make_bench, make_lu

# Lists and selection


def test_the_lists_ascend_and_every_page_answers() -> None:
    bench = make_bench(controller={"oacs": 0x21F}, namespace={"nsfeat": 1})
    codes = list(sense(bench, 0x00).data_in[4:])
    assert codes == sorted(codes)
    assert codes == [page.code for page in PAGES if not page.subpage]
    result = sense(bench, 0x00, 0xFF).data_in
    assert result[:4] == bytes([0x40, 0xFF, 0, len(result) - 4])
    pairs = list(zip(result[4::2], result[5::2], strict=True))
    assert pairs == sorted(pairs) == [(page.code, page.subpage) for page in PAGES]
    for page in PAGES:
        if page.parameters is not None:
            subpage = {"subpage": page.subpage} if page.subpage else {}
            assert parameters(bench, page.code, **subpage)


def test_subpages_of_one_page_are_listed() -> None:
    bench = make_bench()
    assert sense(bench, 0x0D, 0xFF).data_in == bytes.fromhex("4DFF0008 0D00 0D01 0D02 0DFF")
    assert refused_in_cdb(sense(bench, 0x02, 0xFF), 3, 7)  # which has none


def test_a_counter_at_its_end_stays_there() -> None:
    bench = with_smart(data_units_read=(1 << 128) - 1)
    data = sense(bench, 0x03).data_in
    controls = (PARAMETER_HEADER.parse(data[at:]) for at in (4, 16))
    assert [each.du for each in controls] == [1, 0]


def test_saving_is_asked_for_with_any_page() -> None:
    bench = make_bench()
    bench.lu.log.counters.record(Opcode.WRITE, 0x280)
    assert sense(bench, 0x0D, sp=1).status is Status.GOOD
    again = LogicalUnit(bench.lu.facts, bench.lu.store)
    assert again.log.counters.saved() == bench.lu.log.counters.saved() != {}


def test_a_page_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = LogPage(0x30, "Empty", "vendor specific", lambda lu, logs: ())
    monkeypatch.setattr(log, "PAGES", (*PAGES, empty))
    bench = make_bench()
    assert parameters(bench, 0x30) == {}
    assert refused_in_cdb(sense(bench, 0x30, parameter_pointer=1), 5, 7)


def test_a_controller_without_self_test_has_no_results_page() -> None:
    bench = make_bench(controller={"oacs": 0})
    assert 0x10 not in sense(bench, 0x00).data_in[4:]
    assert refused_in_cdb(sense(bench, 0x10), 2, 5)


@pytest.mark.parametrize(
    ("code", "fields", "byte", "bit"),
    [
        (0x04, {}, 2, 5),
        (0x0D, {"subpage": 0x33}, 3, 7),
        (0x0D, {"subpage": 0xFE}, 3, 7),
        (0x0D, {"parameter_pointer": 2}, 5, 7),
        (0x00, {"parameter_pointer": 1}, 5, 7),
        *((code, {"pc": pc}, 2, 7) for code in (0x02, 0x19) for pc in (0, 2)),
    ],
)
def test_wrong_requests_are_pointed_at(
    code: int, fields: dict[str, int], byte: int, bit: int
) -> None:
    bench = make_bench()
    assert refused_in_cdb(sense(bench, code, **fields), byte, bit)
    assert not [c for c in bench.model.executed if c.opcode == AdminOpcode.SET_FEATURES]


def test_the_obsolete_ppc_is_refused() -> None:
    cdb = bytes([0x4D, 0x02, 0x40, 0, 0, 0, 0, 0, 255, 0])
    assert refused_in_cdb(make_bench().run(cdb), 1, 1)


@pytest.mark.parametrize("pc", [0, 1, 2, 3])
def test_lists_ignore_the_page_control(pc: int) -> None:
    bench = make_bench()
    for code in (0x00, 0x0D, 0x11, 0x2F):
        assert sense(bench, code, pc=pc).data_in == sense(bench, code).data_in


@given(st.integers(0, 24))
def test_the_pointer_says_where_to_begin(pointer: int) -> None:
    bench = make_bench()
    whole = parameters(bench, 0x10)
    result = sense(bench, 0x10, parameter_pointer=pointer)
    if pointer > 20:
        assert refused_in_cdb(result, 5, 7)
    else:
        expected = {code: value for code, value in whole.items() if code >= pointer}
        assert parameters(bench, 0x10, parameter_pointer=pointer) == expected


def test_the_allocation_length_only_truncates() -> None:
    bench = make_bench()
    whole = sense(bench, 0x10).data_in
    for length in (0, 3, 4, 50):
        assert sense(bench, 0x10, allocation_length=length).data_in == whole[:length]


def test_asynchronous_events_are_left_to_the_driver() -> None:
    bench = make_bench()
    parameters(bench, 0x0D)
    (command,) = bench.model.executed
    assert command.cdw10 == 0x02 | 1 << 15 | (512 // 4 - 1) << 16
    assert command.nsid == 0xFFFFFFFF


# Pages


def test_error_counters() -> None:
    bench = with_smart(
        data_units_read=3, data_units_written=5, media_errors=7, num_err_log_entries=10
    )
    assert numbers(parameters(bench, 0x02)) == {5: 5 * 512000, 6: 0}
    assert numbers(parameters(bench, 0x03)) == {5: 3 * 512000, 6: 7}
    assert numbers(parameters(bench, 0x05)) == {6: 0}
    assert numbers(parameters(bench, 0x06)) == {0: 0}  # entries of refused commands are no errors


def test_what_a_controller_counts_for_several_is_told_of_none() -> None:
    bench = with_smart(data_units_read=3, data_units_written=5, media_errors=7)
    bench.lu.controller_units = (bench.lu, make_lu(nsid=2))
    bench.lu.log.counters.record(Opcode.READ, 0x281)
    reads, writes = KindStatistics(4096, 0, 0, (1,)), KindStatistics(512, 0, 0, (1,))
    bench.lu.statistics = lambda: Statistics(2, 0, (reads, writes, reads, reads))
    assert numbers(parameters(bench, 0x02)) == {5: 512, 6: 0}
    assert numbers(parameters(bench, 0x03)) == {5: 4096, 6: 1}
    assert bench.do("LOG SELECT", pcr=1, page_code=0x03, pc=CURRENT).status is Status.GOOD
    assert numbers(parameters(bench, 0x03)) == {5: 0, 6: 0}
    assert numbers(parameters(bench, 0x02)) == {5: 512, 6: 0}


@pytest.mark.parametrize("page_code", [0x00, 0x02, 0x03])
def test_what_the_controller_counts_is_reset_as_well(page_code: int) -> None:
    """It goes on to count: what it had then is left out."""
    bench = with_smart(media_errors=7, data_units_read=3, data_units_written=5)
    result = bench.do("LOG SELECT", pcr=1, page_code=page_code, pc=CURRENT)
    assert result.status is Status.GOOD
    bench.model.logs[SMART] = SMART_LOG.build(
        media_errors=9, data_units_read=4, data_units_written=7
    )
    written, read = ({5: 5 * 512_000, 6: 0}, {5: 3 * 512_000, 6: 7})
    if page_code != 0x03:
        written = {5: 0, 6: 0}
    if page_code != 0x02:
        read = {5: 0, 6: 0}
    assert numbers(parameters(bench, 0x02)) == {5: written[5] + 2 * 512_000, 6: written[6]}
    assert numbers(parameters(bench, 0x03)) == {5: read[5] + 512_000, 6: read[6] + 2}
    assert bench.do("LOG SELECT", pcr=1, sp=1, page_code=0x03, pc=CURRENT).status is Status.GOOD
    again = LogicalUnit(bench.lu.facts, bench.lu.store)
    assert again.log.counters.saved() == bench.lu.log.counters.saved()


def test_what_is_counted_beyond_64_bits_is_reset_and_saved() -> None:
    bench = with_smart(data_units_read=(1 << 128) - 1)
    result = bench.do("LOG SELECT", pcr=1, sp=1, page_code=0x03, pc=CURRENT)
    assert result.status is Status.GOOD
    assert numbers(parameters(bench, 0x03))[5] == 0
    assert LogicalUnit(bench.lu.facts, bench.lu.store).log.counters.saved()


def test_the_controllers_counters_cannot_be_reset_unread() -> None:
    bench = with_smart(media_errors=7)
    bench.lu.log.counters.record(Opcode.WRITE, 0x280)
    bench.model.faults[AdminOpcode.GET_LOG_PAGE] = [0x006]
    result = bench.do("LOG SELECT", pcr=1, pc=CURRENT)
    assert result.status is Status.CHECK_CONDITION
    assert numbers(parameters(bench, 0x02))[6] == 1


def test_counters_beyond_64_bits_saturate() -> None:
    bench = with_smart(data_units_read=(1 << 128) - 1, power_cycles=1 << 40)
    assert numbers(parameters(bench, 0x03))[5] == (1 << 64) - 1
    assert numbers(parameters(bench, 0x0E)) == {4: 0xFFFFFFFF}


@pytest.mark.parametrize(
    ("kelvin", "expected"), [(0, 0xFF), (250, 0), (273, 0), (300, 27), (527, 254), (900, 254)]
)
def test_temperatures(kelvin: int, expected: int) -> None:
    assert celsius(kelvin) == expected
    found = parameters(with_smart(temperature=kelvin), 0x0D)
    assert found == {0: bytes([0, expected]), 1: bytes([0, 343 - 273])}


def test_wear_cycles_and_hours() -> None:
    bench = with_smart(percent_used=200, power_cycles=12, power_on_hours=34)
    assert parameters(bench, 0x11) == {1: bytes([0, 0, 0, 200])}
    assert numbers(parameters(bench, 0x0E)) == {4: 12}
    (scan,) = parameters(bench, 0x15).values()
    assert BACKGROUND_SCAN.parse(scan).power_on_minutes == 34 * 60


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_statistics_count_logical_blocks(block_bytes: int) -> None:
    bench = make_bench(block_bytes=block_bytes)
    bench.model.logs[SMART] = SMART_LOG.build(power_on_hours=3, controller_busy_time=50)
    reads = KindStatistics(8 * 4096, 0, 2999, (0, 1))
    writes = KindStatistics(16 * 4096, 0, 5000, (0, 1, 1))
    bench.lu.statistics = lambda: Statistics(3, 0, (reads, writes, reads, reads))
    found = parameters(bench, 0x19)
    statistics = STATISTICS.parse(found[1])
    assert (statistics.read_commands, statistics.write_commands) == (1, 2)
    assert statistics.blocks_transmitted == 8 * 4096 // block_bytes
    assert statistics.blocks_received == 16 * 4096 // block_bytes
    assert (statistics.read_intervals, statistics.write_intervals) == (2, 5)
    assert (statistics.weighted_commands, statistics.weighted_intervals) == (3, 7)
    assert IDLE_TIME.parse(found[2]).intervals == 130 * 60_000
    assert found[3] == bytes([0, 0, 0, 3, 0, 0, 0, 1])  # intervals of a millisecond


@pytest.mark.parametrize(("busy", "idle"), [(119, 1), (120, 0), (121, 0)])
def test_who_is_always_busy_is_never_idle(busy: int, idle: int) -> None:
    found = parameters(with_smart(power_on_hours=2, controller_busy_time=busy), 0x19)
    assert IDLE_TIME.parse(found[2]).intervals == idle * 60_000


def test_idle_time_never_goes_back() -> None:
    bench = with_smart(power_on_hours=2, controller_busy_time=30)
    assert IDLE_TIME.parse(parameters(bench, 0x19)[2]).intervals == 90 * 60_000
    bench.model.logs[SMART] = SMART_LOG.build(power_on_hours=2, controller_busy_time=60)
    assert IDLE_TIME.parse(parameters(bench, 0x19)[2]).intervals == 90 * 60_000


def test_cache_statistics_tell_since_when_and_nothing_of_hits() -> None:
    found = parameters(make_bench(), 0x19, subpage=0x20)
    assert sorted(found) == [5, 6]
    assert found[6] == bytes([0, 0, 0, 3, 0, 0, 0, 1])


def test_every_sensor_is_reported() -> None:
    degrees = {f"temperature_sensor_{n}": kelvin for n, kelvin in ((1, 300), (4, 263), (8, 301))}
    bench = with_smart(temperature=310, **degrees)
    untold = b"\x80" * 6
    assert parameters(bench, 0x0D, subpage=0x01) == {
        0: bytes([0, 37]) + untold,
        1: bytes([0, 27]) + untold,
        4: bytes([0, 0xF6]) + untold,
        8: bytes([0, 28]) + untold,
    }


def test_limits_are_those_at_which_the_controller_warns() -> None:
    bench = make_bench()
    bench.model.features[0x04] = 350
    found = parameters(bench, 0x0D, subpage=0x02)
    assert found == {0: bytes([80, 80, 0x80, 0x80, 77, 77, 77, 77])}
    assert [c.cdw11 for c in bench.model.executed] == [0, 1 << 20]


def test_error_events_are_the_logical_units_the_oldest_first() -> None:
    bench = make_bench()
    entries = (
        {"error_count": 9, "sqid": 1, "cmdid": 3, "status_field": 0x4281, "nsid": 1, "lba": 77},
        {"error_count": 8, "nsid": 2},
        {"error_count": 7, "status_field": 0x7FF},
    )
    log = b"".join(ERROR_LOG_ENTRY.build(**entry) for entry in entries)
    bench.model.logs[0x01] = log.ljust(64 * ERROR_LOG_ENTRY.size, b"\0")
    assert list(parameters(bench, 0x07).values()) == [
        b"7: 7FFh, queue 0, command 0, LBA 0",
        b"9: 281h Unrecovered Read Error, queue 1, command 3, LBA 77",
    ]


def test_parameters_say_how_they_are_linked() -> None:
    bench = make_bench()
    linking = {
        code: PARAMETER_HEADER.parse(sense(bench, code).data_in[4:]).format_and_linking
        for code in (0x02, 0x06, 0x0D, 0x10, 0x19, 0x2F)
    }
    assert linking == {
        0x02: Linking.BOUNDED_COUNTER,
        0x06: Linking.BOUNDED_COUNTER,
        0x0D: Linking.BINARY_LIST,
        0x10: Linking.BINARY_LIST,
        0x19: Linking.UNBOUNDED_COUNTER,
        0x2F: Linking.BINARY_LIST,
    }


# Self-tests


def with_self_tests(*results: dict[str, int], running: int = 0) -> Bench:
    bench = make_bench()
    entries = [SELF_TEST_RESULT.build(**each) for each in results]
    entries += [SELF_TEST_RESULT.build(result=0xF)] * (20 - len(entries))
    bench.model.logs[SELF_TESTS] = bytes([running, 50, 0, 0]) + b"".join(entries)
    return bench


def test_an_unused_log_has_twenty_empty_results() -> None:
    bench = with_self_tests()
    assert parameters(bench, 0x10) == {code: bytes(16) for code in range(1, 21)}
    assert len(sense(bench, 0x10).data_in) == 4 + 0x190


@pytest.mark.parametrize(
    ("nvme", "segment", "scsi", "number"),
    [
        (0x0, 0, 0x0, 0),
        (0x1, 0, 0x1, 0),
        *((aborted, 0, 0x2, 0) for aborted in (0x2, 0x3, 0x4, 0x8, 0x9)),
        (0x5, 0, 0x3, 0),
        (0x6, 0, 0x4, 0),
        (0x7, 1, 0x5, 1),
        (0x7, 2, 0x6, 2),
        (0x7, 9, 0x7, 9),
        (0xA, 0, 0x3, 0),
    ],
)
def test_self_test_results(nvme: int, segment: int, scsi: int, number: int) -> None:
    entry = {"result": nvme, "code": 2, "segment": segment, "poh": 70000, "flba": 99, "valid": 2}
    value = SELF_TEST.parse(parameters(with_self_tests(entry), 0x10)[1])
    assert (value.code, value.results, value.number) == (2, scsi, number)
    assert value.power_on_hours == 0xFFFF
    failed = scsi >= 3
    assert value.address == (99 if failed else (1 << 64) - 1)
    assert (value.sense_key, value.asc, value.ascq) == ((4, 0x3E, 3) if failed else (0, 0, 0))


def test_a_failure_without_an_address_says_so() -> None:
    bench = with_self_tests({"result": 5, "code": 1, "flba": 99})
    assert SELF_TEST.parse(parameters(bench, 0x10)[1]).address == (1 << 64) - 1


def test_a_running_self_test_comes_first() -> None:
    results = [{"result": 0, "code": 1, "poh": hours} for hours in range(20)]
    found = parameters(with_self_tests(*results, running=2), 0x10)
    entries = [SELF_TEST.parse(value) for value in found.values()]
    assert [(e.results, e.code) for e in entries[:2]] == [(0xF, 2), (0, 1)]
    assert [e.power_on_hours for e in entries] == [0, *range(19)]


# Informational exceptions


def exception(bench: Bench) -> tuple[int, ...]:
    (value,) = parameters(bench, 0x2F).values()
    return tuple(value)


@pytest.mark.parametrize(
    ("warning", "code"),
    [
        (0x00, (0x00, 0x00)),
        (0x01, (0x5D, 0x03)),
        (0x02, (0x0B, 0x01)),
        (0x04, (0x5D, 0x10)),
        (0x08, (0x5D, 0x02)),
        (0x10, (0x0B, 0x06)),
        (0x20, (0x00, 0x00)),
        (0x1F, (0x5D, 0x02)),
        (0x13, (0x5D, 0x03)),
        (0x12, (0x0B, 0x06)),
    ],
)
def test_the_gravest_warning_is_told(warning: int, code: tuple[int, int]) -> None:
    bench = with_smart(critical_warning=warning, temperature=300)
    assert exception(bench) == (*code, 27, 70)


def select_exceptions(bench: Bench, **fields: int) -> None:
    page = INFORMATIONAL_EXCEPTIONS_CONTROL
    values: dict[str, int] = {**page.defaults(bench.lu.facts), **fields}
    bench.lu.mode.change(page, page.layout.build(**values))


def test_exceptions_can_be_disabled() -> None:
    bench = with_smart(critical_warning=0x02, temperature=300)
    select_exceptions(bench, ewasc=0)
    assert exception(bench)[:2] == (0, 0)
    bench.model.logs[SMART] = SMART_LOG.build(critical_warning=0x06)
    assert exception(bench)[:2] == (0x5D, 0x10)
    select_exceptions(bench, dexcpt=1)
    assert exception(bench)[:2] == (0x0B, 0x01)  # warnings are none that are predicted
    select_exceptions(bench, dexcpt=1, ewasc=0)
    assert exception(bench)[:2] == (0, 0)


def test_a_failing_log_is_reported() -> None:
    bench = make_bench()
    bench.model.faults[AdminOpcode.GET_LOG_PAGE] = [0x006]
    result = sense(bench, 0x0D)
    assert result.status is Status.CHECK_CONDITION


# Blocks that cannot be read


def test_pending_defects_are_the_blocks_that_the_controller_knows_of() -> None:
    bench = make_bench(controller={"oacs": 0x21F})
    assert parameters(bench, 0x15, subpage=1) == {0: bytes(4)}
    bench.model.unreadable = [range(5, 8), range(4095, 4096)]
    found = parameters(bench, 0x15, subpage=1)
    assert found.pop(0) == (4).to_bytes(4, "big")
    hours = (100).to_bytes(4, "big")
    lbas = [5, 6, 7, 4095]
    assert found == {code: hours + lba.to_bytes(8, "big") for code, lba in enumerate(lbas, 1)}


def test_of_very_many_pending_defects_the_first_are_listed() -> None:
    bench = make_bench(controller={"oacs": 0x21F})
    bench.model.unreadable = [range(4096)]
    found = parameters(bench, 0x15, subpage=1)
    assert found[0] == (1024).to_bytes(4, "big")
    assert sorted(found) == list(range(1025))


def test_a_controller_that_knows_of_none_has_no_such_page() -> None:
    assert refused_in_cdb(sense(make_bench(), 0x15, 0x01), 3, 7)
