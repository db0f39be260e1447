"""GET LBA STATUS of controllers that tell which blocks are allocated, or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scsi2nvme.commands.lba_status import DESCRIPTOR, HEADER, Extent
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.lba_status import DESCRIPTOR as ENTRY
from scsi2nvme.nvme.lba_status import HEADER as LIST
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE, INVALID_FIELD_IN_CDB
from tests.support import Bench, code, make_bench, make_facts

MAPPED, DEALLOCATED = 0, 1
BLOCKS = 4096


def bench_that_tells(aocs: int = 1, **controller: int) -> Bench:
    bench = make_bench(
        controller={"oacs": 0x21F, **controller}, nvm_controller={"aocs": aocs}, blocks=BLOCKS
    )
    bench.model.allocated = [range(8, 16), range(100, 101)]
    bench.model.unreadable = [range(10, 12), range(4000, BLOCKS)]
    return bench


def report(bench: Bench, kind: int = 0, lba: int = 0, length: int = 4096) -> bytes:
    return bench.do(
        "GET LBA STATUS (16)", lba=lba, report_type=kind, allocation_length=length
    ).data_in


def told(bench: Bench, kind: int = 0, lba: int = 0) -> list[tuple[int, ...]]:
    """Return LBA, number, provisioning and additional status of each descriptor."""
    data = report(bench, kind, lba)
    header = HEADER.parse(data[:8])
    assert (header.parameter_data_length, header.rtp) == (len(data) - 4, 1)
    each = (DESCRIPTOR.parse(data[at : at + 16]) for at in range(8, len(data), 16))
    return [(d.lba, d.blocks, d.provisioning_status, d.additional_status) for d in each]


EVERY = [
    (0, 8, DEALLOCATED, 0),
    (8, 8, MAPPED, 0),
    (16, 84, DEALLOCATED, 0),
    (100, 1, MAPPED, 0),
    (101, BLOCKS - 101, DEALLOCATED, 0),
]


def test_what_lies_between_allocated_blocks_is_deallocated() -> None:
    bench = bench_that_tells()
    assert told(bench) == EVERY
    assert told(bench, lba=10) == [(10, 6, MAPPED, 0), *EVERY[2:]]
    assert told(bench, lba=200) == [(200, BLOCKS - 200, DEALLOCATED, 0)]


@pytest.mark.parametrize("kind", [0, 2, 3, 0x10])
@pytest.mark.parametrize("length", [0, 3, 8, 24, 40])
def test_the_allocation_length_changes_nothing_that_is_told(kind: int, length: int) -> None:
    """Spec: SBC-3 5.4.2 (PARAMETER DATA LENGTH); SPC-4 4.2.5.6."""
    bench = bench_that_tells()
    assert report(bench, kind, length=length) == report(bench, kind)[:length]


@pytest.mark.parametrize(("kind", "wanted"), [(1, EVERY[::2]), (2, EVERY[1::2]), (3, EVERY[::2])])
def test_a_report_type_leaves_others_out(kind: int, wanted: list[tuple[int, ...]]) -> None:
    assert told(bench_that_tells(), kind) == wanted


def test_nothing_is_anchored() -> None:
    assert told(bench_that_tells(), 4) == []


def test_blocks_that_cannot_be_read() -> None:
    bench = bench_that_tells(aocs=0)
    assert told(bench, 0x10) == [(10, 2, MAPPED, 1), (4000, BLOCKS - 4000, MAPPED, 1)]
    assert told(bench, 0x10, lba=11)[0] == (11, 1, MAPPED, 1)


@pytest.mark.parametrize(
    "bench",
    [
        bench_that_tells(aocs=0),
        bench_that_tells(oacs=0x1F),
        bench_that_tells(oncs=0xFB),  # no UNMAP: all is mapped
    ],
)
def test_a_controller_that_does_not_tell_is_not_asked(bench: Bench) -> None:
    assert told(bench) == [(0, BLOCKS, MAPPED, 0)]
    assert AdminOpcode.GET_LBA_STATUS not in bench.model.opcodes()


def listed(*entries: tuple[int, int], count: int | None = None, cmpc: int = 2) -> bytes:
    head = LIST.build(nlsd=len(entries) if count is None else count, cmpc=cmpc)
    return head + b"".join(ENTRY.build(dslba=lba, nlb=blocks - 1) for lba, blocks in entries)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"\xff" * 4088, [(0, BLOCKS, MAPPED, 0)]),
        (listed(cmpc=0), [(0, BLOCKS, MAPPED, 0)]),
        (listed(), [(0, BLOCKS, DEALLOCATED, 0)]),
        (listed((8, 8), (4, 1)), EVERY[:2]),  # not in order
        (listed((8, 8), (4000, 97)), EVERY[:2]),  # beyond the namespace's end
        (listed((0, BLOCKS + 1)), [(0, BLOCKS, MAPPED, 0)]),
        (listed((8, 8), count=1000, cmpc=2), EVERY[:2]),
        (listed((0, BLOCKS)), [(0, BLOCKS, MAPPED, 0)]),
    ],
)
def test_a_list_is_believed_as_far_as_it_makes_sense(
    answer: bytes, wanted: list[tuple[int, ...]]
) -> None:
    bench = bench_that_tells()

    def answered(command: NvmeCommand) -> Completion:
        return Completion(data=answer.ljust(command.data_in, b"\xff")[: command.data_in])

    bench.model.admin[AdminOpcode.GET_LBA_STATUS] = answered
    assert told(bench) == wanted


@pytest.mark.parametrize(
    ("allocated", "wanted"),
    [
        (
            [range(8, 16), range(90, 110)],
            [(0, 8, 1, 0), (8, 8, 0, 0), (16, 74, 1, 0), (90, 10, 0, 0)],
        ),
        ([range(90, 100), range(100, 110)], [(0, 90, 1, 0), (90, 10, 0, 0)]),
        ([range(200, 210)], [(0, 100, 1, 0)]),
    ],
)
def test_what_goes_on_behind_a_limit_is_cut_there(
    allocated: list[range], wanted: list[tuple[int, ...]]
) -> None:
    bench = bench_that_tells()
    bench.lu.limit = 100 * bench.lu.block_bytes
    bench.model.allocated = bench.model.unreadable = allocated
    assert told(bench) == wanted
    assert told(bench, 0x10) == [(*each[:3], 1) for each in wanted if each[2] == MAPPED]


@pytest.mark.parametrize("kind", [1, 3])
def test_a_full_list_of_which_nothing_is_wanted_is_not_the_end(kind: int) -> None:
    bench = bench_that_tells()
    bench.model.allocated = [range(lba, lba + 1) for lba in range(600)]
    assert told(bench, kind) == [(600, BLOCKS - 600, DEALLOCATED, 0)]
    bench.model.allocated.append(range(601, BLOCKS))
    assert told(bench, kind, lba=300) == [(600, 1, DEALLOCATED, 0)]
    bench.model.allocated = [range(lba, lba + 1) for lba in range(BLOCKS)]
    assert told(bench, kind) == []


def test_a_controller_is_not_asked_without_an_end() -> None:
    bench = bench_that_tells()

    def answered(command: NvmeCommand) -> Completion:
        lba = command.cdw10 | command.cdw11 << 32
        return Completion(data=listed((lba, 1), cmpc=1).ljust(command.data_in, b"\0"))

    bench.model.admin[AdminOpcode.GET_LBA_STATUS] = answered
    result = bench.do("GET LBA STATUS (16)", report_type=3, allocation_length=24)
    assert code(result) == INTERNAL_TARGET_FAILURE  # and not as if there were none
    assert bench.model.opcodes().count(AdminOpcode.GET_LBA_STATUS) == 1024
    bench.model.executed.clear()
    assert told(bench, 4) == []
    assert AdminOpcode.GET_LBA_STATUS not in bench.model.opcodes()


def test_an_unknown_report_type_is_refused() -> None:
    result = bench_that_tells().do("GET LBA STATUS (16)", report_type=0x11, allocation_length=24)
    assert code(result) == INVALID_FIELD_IN_CDB


def test_no_more_is_made_than_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that claims to be enormous does not take the memory for that."""
    made, descriptors = list[bytes](), Extent.descriptors

    def counted(extent: Extent) -> Iterator[bytes]:
        for one in descriptors(extent):
            made.append(one)
            yield one

    monkeypatch.setattr(Extent, "descriptors", counted)
    bench = make_bench()
    bench.lu.facts = make_facts(blocks=1 << 42)
    assert len(told(bench)) == len(made) == 255
