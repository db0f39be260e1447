"""Application tags that are the initiators' own: ATO, ATMPE and page 0Ah/02h, 32-byte CDBs.

Spec: SBC-4 5.16 table 79, 5.36 table 128, 5.40 table 133, 6.5.3; SPC-4 7.5.8.
"""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
    MODE_PARAMETERS_CHANGED,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.mode_pages.application_tag import APPLICATION_TAG
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.mode_pages.page import ModePage, PageControl
from tests.commands.test_mode import check_every_bit
from tests.support import Bench, code, make_bench, protected_bench

BLOCK, TUPLE = 512, 8
LBA, EDGE, BLOCKS = 5, 7, 4096
FIRST, SECOND = 0xAAAA, 0xBBBB
PRACT, GUARD, APPLICATION, REFERENCE = 0x20, 0x10, 0x08, 0x04  # of the highest byte of CDW12


def chosen(bench: Bench, page: ModePage, **fields: int) -> Result:
    """Set fields of a page, and leave the others as they are."""
    values = bytearray(bench.lu.mode.values(page, PageControl.CURRENT))
    page.layout.write(values, **fields)
    data = bytes(8) + page.with_header(bytes(values), saveable=False)
    return bench.do("MODE SELECT (10)", data, pf=1, parameter_list_length=len(data))


def owned(bench: Bench, *, enabled: bool = True) -> Bench:
    """Have application tags be FIRST before block EDGE, and SECOND from there on."""
    ranges = {"count_0": EDGE, "lba_1": EDGE, "count_1": bench.lu.capacity_blocks - EDGE}
    tags = {"last_0": 0, "last_1": 1, "tag_0": FIRST, "tag_1": SECOND}
    assert chosen(bench, APPLICATION_TAG, **ranges, **tags).status is Status.GOOD
    assert chosen(bench, CONTROL, ato=1, atmpe=enabled).status is Status.GOOD
    bench.model.executed.clear()
    return bench


def io_of(bench: Bench) -> list[tuple[int, int, int, int]]:
    """Return the block, number of blocks, PRINFO and CDW15 of each command."""
    commands = [command for command in bench.model.executed if not command.admin]
    bench.model.executed.clear()
    return [(c.slba, c.blocks, c.cdw12 >> 24 & 0x3C, c.cdw15) for c in commands]


def expected(tag: int, mask: int = 0xFFFF) -> int:
    return tag | mask << 16


@pytest.mark.parametrize(
    ("protect", "prinfo", "known"),
    [
        (0, PRACT | GUARD | REFERENCE, True),
        (1, GUARD | REFERENCE, True),
        (2, REFERENCE, True),
        (3, 0, False),
        (4, GUARD, False),
        (5, GUARD | REFERENCE, True),
    ],
)
def test_what_is_read_has_the_tags_of_its_blocks(protect: int, prinfo: int, known: bool) -> None:
    bench = owned(protected_bench(1))
    read = {"lba": LBA, "transfer_length": 4, "rdprotect": protect}
    assert bench.do("READ (16)", **read).status is Status.GOOD
    both = prinfo | APPLICATION
    in_two = [(LBA, 2, both, expected(FIRST)), (EDGE, 2, both, expected(SECOND))]
    assert io_of(bench) == (in_two if known else [(LBA, 4, prinfo, 0)])
    verify = {"lba": LBA, "verification_length": 4, "vrprotect": protect}
    assert bench.do("VERIFY (16)", **verify).status is Status.GOOD
    both, prinfo = both & ~PRACT, prinfo & ~PRACT
    in_two = [(LBA, 2, both, expected(FIRST)), (EDGE, 2, both, expected(SECOND))]
    assert io_of(bench) == (in_two if known else [(LBA, 4, prinfo, 0)])


@pytest.mark.parametrize("enabled", [True, False])
def test_what_is_written_without_tags_has_such_as_are_not_checked(enabled: bool) -> None:
    bench = owned(protected_bench(1), enabled=enabled)
    write = {"lba": EDGE, "transfer_length": 2}
    assert bench.do("WRITE (16)", bytes(2 * BLOCK), **write).status is Status.GOOD
    same = {"lba": EDGE, "number_of_blocks": 2, "ndob": 1}
    assert bench.do("WRITE SAME (16)", **same).status is Status.GOOD
    assert io_of(bench) == [(EDGE, 2, PRACT, 0xFFFF)] * 2


def test_tags_that_are_sent_are_checked() -> None:
    bench = owned(protected_bench(1))
    data, write = bytes(4 * (BLOCK + TUPLE)), {"lba": LBA, "transfer_length": 4, "wrprotect": 1}
    assert bench.do("WRITE (16)", data, **write).status is Status.GOOD
    checks = GUARD | APPLICATION | REFERENCE
    two = [(LBA, 2, checks, expected(FIRST)), (EDGE, 2, checks, expected(SECOND))]
    assert io_of(bench) == two
    same = {"lba": LBA, "number_of_blocks": 4, "wrprotect": 1}
    assert bench.do("WRITE SAME (16)", data[: BLOCK + TUPLE], **same).status is Status.GOOD
    assert io_of(bench) == two


def test_what_is_written_as_a_whole_is_not_cut() -> None:
    """Tags that are sent need not be checked. Spec: SBC-4 5.40.2 (RWWP is zero)."""
    bench = owned(protected_bench(1, controller={"awupf": 7}))
    data, write = bytes(4 * (BLOCK + TUPLE)), {"lba": LBA, "transfer_length": 4, "wrprotect": 1}
    assert bench.do("WRITE ATOMIC (16)", data, **write).status is Status.GOOD
    assert io_of(bench) == [(LBA, 4, GUARD | REFERENCE, 0)]
    write |= {"lba": EDGE}
    assert bench.do("WRITE ATOMIC (16)", data, **write).status is Status.GOOD
    assert io_of(bench) == [(EDGE, 4, GUARD | APPLICATION | REFERENCE, expected(SECOND))]


@pytest.mark.parametrize(("ato", "mask"), [(0, 0xFFFF), (1, 0xFFFF), (1, 0x0FF0), (1, 0)])
def test_a_long_cdb_says_what_it_expects(ato: int, mask: int) -> None:
    bench = protected_bench(2)
    assert chosen(bench, CONTROL, ato=ato).status is Status.GOOD
    bench.model.executed.clear()
    tags = {"expected_application_tag": 0x1234, "application_tag_mask": mask}
    read = {"lba": LBA, "transfer_length": 4, "rdprotect": 1, **tags}
    assert bench.do("READ (32)", additional_cdb_length=0x18, **read).status is Status.GOOD
    known = ato and mask
    checks = GUARD | REFERENCE | (APPLICATION if known else 0)
    assert io_of(bench) == [(LBA, 4, checks, expected(0x1234, mask) if known else 0)]
    read |= {"rdprotect": 4}
    assert bench.do("READ (32)", additional_cdb_length=0x18, **read).status is Status.GOOD
    assert io_of(bench) == [(LBA, 4, GUARD, 0)]


@pytest.mark.parametrize(("enabled", "number"), [(True, 1), (False, 1), (True, 3)])
def test_what_is_compared(enabled: bool, number: int) -> None:
    bench = owned(protected_bench(number), enabled=enabled)
    whole = bytes(BLOCK) + b"\0\0\x12\x34" + LBA.to_bytes(4, "big")
    write = {"lba": LBA, "transfer_length": 1, "wrprotect": 3}
    assert bench.do("WRITE (16)", whole, **write).status is Status.GOOD
    verify = {"lba": LBA, "verification_length": 1, "vrprotect": 3, "bytchk": 1}
    other = bytearray(whole)
    other[515] ^= 1
    wanted = LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED if enabled else None
    result = bench.do("VERIFY (16)", bytes(other), **verify)
    told = None if result.sense is None else (result.sense.key, result.sense.code.ascq)
    assert told == (None if wanted is None else (0xE, wanted.ascq))
    other = bytearray(whole)
    other[519] ^= 1
    result = bench.do("VERIFY (16)", bytes(other), **verify)  # tags of type 3 are owned as well
    assert result.sense is not None
    assert (result.sense.key, result.sense.code.ascq) == (0xE, 0x03)
    unlooked_at = bytes(BLOCK) + b"\1\1\xff\xff" + b"\xff" * 4
    assert bench.do("WRITE (16)", unlooked_at, **write).status is Status.GOOD
    assert bench.do("VERIFY (16)", whole, **verify).status is Status.GOOD


def test_the_hot_path_steps_aside() -> None:
    bench = protected_bench(1)
    other = bench.other()
    assert not bench.lu.aside(bench.nexus)
    assert chosen(bench, CONTROL, ato=1).status is Status.GOOD
    assert bench.lu.take_attention(other) == Sense(MODE_PARAMETERS_CHANGED)
    assert bench.lu.aside(bench.nexus)
    assert bench.lu.aside(other)
    assert chosen(bench, CONTROL, ato=0).status is Status.GOOD
    assert not bench.lu.aside(bench.nexus)


# What may be set


@pytest.mark.parametrize("sum_is", [-1, 0])
def test_ranges_follow_each_other_to_the_end(sum_is: int) -> None:
    """The last one ends at RETURNED LOGICAL BLOCK ADDRESS, or behind it."""
    bench = protected_bench(1)
    end = bench.lu.capacity_blocks + sum_is
    ranges = {"last_0": 0, "count_0": 9, "lba_2": 9, "count_2": end - 9, "last_2": 1}
    assert (
        chosen(bench, APPLICATION_TAG, tag_2=7, lba_3=5, count_3=1, **ranges).status is Status.GOOD
    )
    assert chosen(bench, CONTROL, ato=1, atmpe=1).status is Status.GOOD
    tags = bench.lu.protection.expected
    assert [(each.blocks, each.tag) for each in tags] == [(range(9), 0), (range(9, end), 7)]


@pytest.mark.parametrize(
    ("fields", "byte"),
    [
        ({"lba_0": 1, "count_0": BLOCKS - 1}, 24),
        ({"count_0": 9}, 32),  # that is not the end
        ({"count_0": BLOCKS + 1}, 32),
        ({"last_0": 0, "count_0": 9, "lba_1": 8, "count_1": BLOCKS - 8, "last_1": 1}, 48),
        ({"last_0": 0, "count_0": 9, "lba_1": 10, "count_1": BLOCKS - 10, "last_1": 1}, 48),
        ({"last_0": 0}, 88),
    ],
)
def test_other_ranges_are_refused(fields: dict[str, int], byte: int) -> None:
    bench = protected_bench(1, blocks=BLOCKS)
    assert bench.lu.capacity_blocks == BLOCKS
    pointer = FieldPointer(8 + byte, 7, in_cdb=False)
    assert chosen(bench, APPLICATION_TAG, **fields).sense == Sense(
        INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer
    )


def test_changeable_values_are_what_select_accepts() -> None:
    check_every_bit(protected_bench(1), [CONTROL, APPLICATION_TAG])


def test_the_page_alone_says_nothing() -> None:
    bench = protected_bench(1)
    assert bench.do(
        "MODE SENSE (10)", page_code=0x0A, subpage_code=2, allocation_length=255
    ).data_in[16:] == APPLICATION_TAG.with_header(
        APPLICATION_TAG.layout.build(last_0=1), saveable=True
    )
    refused = chosen(bench, CONTROL, atmpe=1)
    assert refused.sense is not None
    assert refused.sense.pointer == FieldPointer(8 + 5, 5, in_cdb=False)
    assert bench.lu.protection is bench.lu.facts.protection


def test_only_where_there_are_tags_that_can_be_sent() -> None:
    bench = make_bench()
    assert code(chosen(bench, CONTROL, ato=1)) == INVALID_FIELD_IN_PARAMETER_LIST
    assert not bench.lu.mode.values(CONTROL, PageControl.CHANGEABLE)[5] & 0xA0
    assert code(chosen(bench, APPLICATION_TAG)) == INVALID_FIELD_IN_PARAMETER_LIST
    bench = owned(protected_bench(1))
    assert bench.do("FORMAT UNIT").status is Status.GOOD  # without protection information
    assert not bench.lu.facts.protection_type
    assert bench.lu.mode.page(CONTROL).ato == 0
    bench.lu.take_attention(bench.nexus)
    assert not bench.lu.owns_application_tags


def test_more_than_eight_bits_can_tell_is_cut() -> None:
    bench = protected_bench(1)
    every = {"page_code": 0x3F, "subpage_code": 0xFF, "allocation_length": 255}
    short = bench.do("MODE SENSE (6)", **every)
    whole = bench.do("MODE SENSE (10)", **(every | {"allocation_length": 1024}))
    assert short.data_in[0] == 255
    assert int.from_bytes(whole.data_in[:2], "big") > 255
    assert short.data_in[4:] == whole.data_in[8 : 4 + len(short.data_in)]


def test_the_controllers_answer_is_told() -> None:
    bench = owned(protected_bench(1))
    bench.model.faults[Opcode.READ] = [0x283]
    result = bench.do("READ (16)", lba=LBA, transfer_length=1)
    assert code(result) == LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED
    assert isinstance(bench.model.executed[-1], NvmeCommand)
