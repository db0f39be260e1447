"""What groups of commands say of how their blocks are used, as controllers are told."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.access_hints import NO_HINTS
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import INVALID_FIELD_IN_PARAMETER_LIST, FieldPointer, Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.hints_grouping import HINTS_GROUPING, access_hints
from scsi2nvme.unit.mode_pages.page import PageControl
from tests.commands.vectors import block
from tests.support import SEVEN_STREAMS, Bench, make_bench

# Of SBC-4 annex G: what is used so, and its logical block markup descriptor.
RANDOM, SEQUENTIAL = "00 05 40 00", "00 0A 50 00"
SWAP, CIRCULAR_LOG, REGISTRY = "90 A5 52 00", "30 AA 1A 00", "00 55 06 00"
SEEN_OFTEN = "00 90 00 00"  # and rather read


def saying(markups: dict[int, str]) -> bytes:
    """Return the page with what is said of some groups."""
    page = bytearray(make_bench(streams=SEVEN_STREAMS).lu.mode.values(HINTS_GROUPING, DEFAULT))
    for group, markup in markups.items():
        at = 16 * (group + 1) + 4
        page[at : at + 4] = bytes.fromhex(markup)
    return bytes(page)


DEFAULT = PageControl.DEFAULT


def select(bench: Bench, markups: dict[int, str], *, sp: bool = False) -> Result:
    data = bytes(8) + HINTS_GROUPING.with_header(saying(markups), False)
    return bench.do("MODE SELECT (10)", data, pf=1, sp=int(sp), parameter_list_length=len(data))


def said(bench: Bench) -> list[tuple[int, int]]:
    """Return Opcode and CDW13 of what the controller was sent, which is forgotten."""
    sent = [(each.opcode, each.cdw13) for each in bench.model.executed]
    bench.model.executed.clear()
    return sent


@pytest.mark.parametrize(
    ("markup", "reads", "writes"),
    [
        ("00 00 00 00", 0, 0),
        (RANDOM, 0, 0),
        (SEQUENTIAL, 0x40, 0x40),
        (SWAP, 0x04, 0x04),  # rather written
        (CIRCULAR_LOG, 0x74, 0x74),  # waited for, too
        (REGISTRY, 0x02, 0x02),
        (SEEN_OFTEN, 0x03, 0x03),
        ("00 80 00 00", 0x05, 0x05),
        ("00 08 00 00", 0, 0x40),
        ("00 02 00 00", 0x40, 0),
        ("00 20 04 00", 0, 0),  # it is not known how often, nor that nobody waits
    ],
)
def test_what_is_said_in_nvme_s_terms(markup: str, reads: int, writes: int) -> None:
    hints = access_hints(saying({9: markup}))
    assert (hints.of_read(9), hints.of_write(9)) == (reads, writes)
    assert (hints.of_read(8), hints.of_write(8)) == (0, 0)
    assert (hints.of_read(None), hints.of_write(None)) == (0, 0)
    assert bool(hints) is bool(reads or writes)


def test_controllers_are_told_what_initiators_say() -> None:
    bench = make_bench(streams=SEVEN_STREAMS)
    bench.do("WRITE (16)", block(1), lba=1, transfer_length=1, group=9)
    assert said(bench) == [(Opcode.WRITE, 0)]
    assert select(bench, {2: CIRCULAR_LOG, 9: SWAP, 0: SEQUENTIAL}).status is Status.GOOD
    bench.model.executed.clear()
    for length in (10, 12, 16):
        bench.do(f"WRITE ({length})", block(1), lba=1, transfer_length=1, group=9)
        bench.do(f"READ ({length})", lba=1, transfer_length=1, group=9)
        bench.do(f"WRITE ({length})", block(1), lba=1, transfer_length=1, group=2)  # a stream, too
        bench.do(f"READ ({length})", lba=1, transfer_length=1)
        assert said(bench) == [
            (Opcode.WRITE, 0x04),
            (Opcode.READ, 0x04),
            (Opcode.WRITE, 2 << 16 | 0x74),
            (Opcode.READ, 0x40),
        ]
    bench.do("READ (6)", lba=1, transfer_length=1)  # it has no group
    assert said(bench) == [(Opcode.READ, 0)]


def test_what_is_said_is_saved() -> None:
    bench = make_bench(streams=SEVEN_STREAMS)
    assert select(bench, {9: SWAP}, sp=True).status is Status.GOOD
    assert select(bench, {}).status is Status.GOOD
    assert bench.lu.access_hints is NO_HINTS
    bench.lu.mode.reset()
    assert bench.lu.access_hints.of_write(9) == 0x04
    usage = bench.do(
        "REPORT SUPPORTED OPERATION CODES",
        reporting_options=1,
        requested_opcode=0x88,
        allocation_length=99,
    ).data_in
    assert usage[4 + 14] == 0x3F


def test_without_the_page_nothing_is_said() -> None:
    bench = make_bench()
    assert bench.lu.access_hints is NO_HINTS


@pytest.mark.parametrize(
    ("markup", "byte"),
    [
        ("20 00 00 00", 4),  # RLBSR
        ("00 C0 00 00", 5),
        ("00 30 00 00", 5),
        ("00 0C 00 00", 5),
        ("00 03 00 00", 5),
        ("00 00 20 00", 6),  # a class
        ("00 00 0C 00", 6),
        ("00 00 03 00", 6),
        ("01 00 00 00", 4),  # a type
        ("40 00 00 00", 4),
        ("00 00 00 80", 7),
    ],
)
def test_what_is_reserved_is_refused(markup: str, byte: int) -> None:
    bench = make_bench(streams=SEVEN_STREAMS)
    result = select(bench, {3: markup})
    assert isinstance(result.sense, Sense)
    assert result.sense.code == INVALID_FIELD_IN_PARAMETER_LIST
    pointer = result.sense.pointer
    assert isinstance(pointer, FieldPointer)
    assert (pointer.byte, pointer.in_cdb) == (8 + 16 * 4 + byte, False)
    assert bench.lu.access_hints is NO_HINTS


@pytest.mark.parametrize("name", ["READ (10)", "READ (16)", "WRITE (10)", "WRITE (16)"])
def test_a_controller_that_refuses_to_be_told_is_told_no_more(name: str) -> None:
    """It may ignore all of it, and so nothing depends on it."""
    bench = make_bench(streams=SEVEN_STREAMS)
    assert select(bench, {9: SWAP}).status is Status.GOOD
    told: list[bool] = []
    bench.lu.on_hints_refused = lambda: told.append(bool(bench.lu.access_hints))
    facts, opcode = bench.lu.facts, Opcode.WRITE if "WRITE" in name else Opcode.READ
    data = (block(1),) if opcode is Opcode.WRITE else ()
    bench.model.executed.clear()

    def go() -> Result:
        return bench.do(name, *data, lba=1, transfer_length=1, group=9)

    bench.model.faults[opcode] = [StatusCode.INVALID_FIELD] * 2
    assert go().status is Status.CHECK_CONDITION  # not for what it was told
    assert (said(bench), told) == ([(opcode, 4), (opcode, 0)], [])
    bench.model.faults[opcode] = [StatusCode.INVALID_FIELD]
    assert go().status is Status.GOOD
    assert (said(bench), told) == ([(opcode, 4), (opcode, 0)], [False])
    assert go().status is Status.GOOD
    assert said(bench) == [(opcode, 0)]
    bench.lu.become(facts)  # it tells of the namespace anew
    assert go().status is Status.GOOD
    assert said(bench) == [(opcode, 4)]


def test_of_a_stream_and_what_is_said_it_is_found_out_which_is_refused() -> None:
    for refused, streams in (1, True), (2, False):
        bench = make_bench(streams=SEVEN_STREAMS)
        assert select(bench, {2: SWAP}).status is Status.GOOD
        bench.model.executed.clear()
        bench.model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD] * refused
        assert bench.do("WRITE (16)", block(1), lba=1, transfer_length=1, group=2) == Result()
        sent = [(2 << 16) | 4, 2 << 16, 0][: refused + 1]
        assert said(bench) == [(Opcode.WRITE, cdw13) for cdw13 in sent]
        assert (bench.lu.facts.streams is not None) is streams
