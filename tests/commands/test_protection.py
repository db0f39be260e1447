"""Protection information: what is announced, and what every CDB makes of it, by the standard's
tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.commands.protection import check_equal
from scsi2nvme.commands.vpd_pages.block_limits import BLOCK_LIMITS
from scsi2nvme.commands.vpd_pages.extended_inquiry import EXTENDED_INQUIRY
from scsi2nvme.commands.vpd_pages.supported_block_lengths import BLOCK_LENGTH
from scsi2nvme.fields import Structure, Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.protection import CHECK_GUARD, CHECK_REFERENCE, moved
from scsi2nvme.scsi.result import CheckCondition, Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
    LOGICAL_BLOCK_GUARD_CHECK_FAILED,
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
    MISCOMPARE_DURING_VERIFY_OPERATION,
    FieldPointer,
    SenseKey,
)
from scsi2nvme.unit.delivery import ServiceDelivery
from tests.support import Bench, make_bench, protected_bench, row

BLOCK, TUPLE = 512, 8
LBA, TAG = 5, 0x77
PRACT, GUARD, REFERENCE = 0x20, 0x10, 0x04  # of the highest byte of CDW12
TYPES = (1, 2, 3)
# SBC-3, tables of RDPROTECT, WRPROTECT and VRPROTECT: the code, and what is checked when tuples
# are moved, of the reference tag only where the type has one; None: INVALID FIELD IN CDB.
TABLE = {
    0b001: GUARD | REFERENCE,
    0b010: REFERENCE,
    0b011: 0,
    0b100: GUARD,
    0b101: GUARD | REFERENCE,
    0b110: None,
    0b111: None,
}
KINDS = {
    "READ": ("rdprotect", "transfer_length", Opcode.READ),
    "WRITE": ("wrprotect", "transfer_length", Opcode.WRITE),
    "VERIFY": ("vrprotect", "verification_length", Opcode.VERIFY),
    "WRITE AND VERIFY": ("wrprotect", "transfer_length", Opcode.WRITE),
    "WRITE SAME": ("wrprotect", "number_of_blocks", Opcode.WRITE),
}
LENGTHS = (10, 12, 16, 32)


GUARD_DIFFERS, APPLICATION_DIFFERS, REFERENCE_DIFFERS = (
    replace(each, key=SenseKey.MISCOMPARE)
    for each in (
        LOGICAL_BLOCK_GUARD_CHECK_FAILED,
        LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
        LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
    )
)


def code(result: Result) -> object:
    return result.sense.code if result.sense is not None else None


def build(name: str, protect: int = 0, blocks: int = 3, **fields: int) -> bytes:
    kind, long = name.split(" (")
    protect_field, count, _ = KINDS[kind]
    if long == "32)":
        fields |= {"expected_initial_reference_tag": TAG}
    fields |= {protect_field: protect, count: blocks}
    return row(name).build(**{"lba": LBA, **fields})


def sent(name: str, size: int, blocks: int = 3) -> bytes:
    """Return data-out of a command, where it has such."""
    if name.startswith(("READ", "VERIFY")):
        return b""
    return b"\x11" * size * (1 if name.startswith("WRITE SAME") else blocks)


def io_of(bench: Bench) -> list[NvmeCommand]:
    return [command for command in bench.model.executed if not command.admin]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", TYPES)
def test_every_code_is_what_the_table_says(number: int, kind: str, length: int) -> None:
    name = f"{kind} ({length})"
    if kind == "WRITE SAME" and length == 12:
        return  # there is none
    long = length == 32
    for protect, checks in TABLE.items():
        bench = protected_bench(number)
        result = bench.run(build(name, protect), sent(name, BLOCK + TUPLE))
        if long and number != 2:
            assert code(result) == INVALID_COMMAND_OPERATION_CODE
        elif checks is None:
            assert code(result) == INVALID_FIELD_IN_CDB
        elif number == 2 and not long:
            assert code(result) == INVALID_COMMAND_OPERATION_CODE
            assert result.sense is not None
            assert result.sense.pointer == FieldPointer(0)
        else:
            assert code(result) is None
            command = io_of(bench)[0]
            wanted = checks if number != 3 else checks & ~REFERENCE
            assert command.opcode == KINDS[kind][2]
            assert command.cdw12 >> 24 & 0x3C == wanted
            moved = 0 if kind == "VERIFY" else 3 * (BLOCK + TUPLE)
            assert len(command.data_out) + command.data_in == moved
            assert command.cdw14 == {1: LBA, 2: TAG, 3: 0xFFFFFFFF}[number]
            assert len(result.data_in) == (moved if kind == "READ" else 0)
            continue
        assert not io_of(bench)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", TYPES)
def test_without_a_code_the_controller_keeps_it(number: int, kind: str, length: int) -> None:
    name = f"{kind} ({length})"
    if (kind == "WRITE SAME" and length == 12) or (length == 32 and number != 2):
        return
    bench = protected_bench(number)
    assert code(bench.run(build(name), sent(name, BLOCK))) is None
    command = io_of(bench)[0]
    checks = GUARD | (REFERENCE if number == 1 or length == 32 else 0)
    by_kind = {"READ": PRACT | checks, "VERIFY": checks}
    assert command.cdw12 >> 24 & 0x3C == by_kind.get(kind, PRACT)
    assert command.cdw14 == (TAG if length == 32 else LBA if number != 3 else 0xFFFFFFFF)


@pytest.mark.parametrize("name", ["READ (10)", "WRITE (16)", "VERIFY (12)", "WRITE SAME (16)"])
def test_nobody_is_sent_what_his_transport_does_not_carry(name: str) -> None:
    bench = protected_bench(1)
    bench.nexus.delivery = ServiceDelivery()
    assert code(bench.run(build(name, 1), sent(name, BLOCK))) == INVALID_FIELD_IN_CDB
    bench = make_bench()
    bench.nexus.delivery = ServiceDelivery(protection=True)
    assert code(bench.run(build(name, 1), sent(name, BLOCK))) == INVALID_FIELD_IN_CDB


def test_pieces_are_whole_blocks_with_their_tags() -> None:
    """MDTS counts tuples that are moved."""
    bench = protected_bench(2)
    blocks = 40
    bench.run(build("READ (32)", 1, blocks))
    assert [(c.slba, c.blocks, c.data_in, c.cdw14) for c in io_of(bench)] == [
        (5, 31, 31 * 520, 0x77),
        (36, 9, 9 * 520, 0x77 + 31),
    ]
    data = bytes(range(251)) * 520
    bench.model.executed.clear()
    bench.run(build("WRITE (32)", 1, blocks), data[: blocks * 520])
    assert b"".join(c.data_out for c in io_of(bench)) == data[: blocks * 520]
    assert bench.run(build("READ (32)", 1, blocks)).data_in == data[: blocks * 520]


def test_data_that_lack_the_tuples() -> None:
    bench = protected_bench(1)
    result = bench.run(build("WRITE (10)", 1), bytes(3 * BLOCK), expected=3 * BLOCK)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert not io_of(bench)


@pytest.mark.parametrize(("number", "step"), [(1, 1), (3, 0)])
def test_a_block_is_repeated_with_tags_that_count_on(number: int, step: int) -> None:
    bench = protected_bench(number)
    tuple_ = bytes.fromhex("1234 5678 00000005")
    assert not code(bench.run(build("WRITE SAME (16)", 1, 40), bytes(BLOCK) + tuple_))
    tags = [int.from_bytes(bench.model.tuples[LBA + n][4:], "big") for n in range(40)]
    assert tags == [5 + step * n for n in range(40)]
    assert {bench.model.tuples[LBA + n][:4] for n in range(40)} == {tuple_[:4]}


@pytest.mark.parametrize(
    ("protect", "at", "expected"),
    [
        (1, 0, MISCOMPARE_DURING_VERIFY_OPERATION),
        (1, 513, GUARD_DIFFERS),
        (1, 519, REFERENCE_DIFFERS),
        (1, 515, None),  # nobody has said what application tags are to be
        (2, 513, None),
        (2, 519, REFERENCE_DIFFERS),
        (3, 513, GUARD_DIFFERS),
        (3, 519, REFERENCE_DIFFERS),
        (3, 520, MISCOMPARE_DURING_VERIFY_OPERATION),
        (4, 513, GUARD_DIFFERS),
        (4, 519, REFERENCE_DIFFERS),
        (5, 513, GUARD_DIFFERS),
        (5, 519, None),
    ],
)
def test_what_is_compared(protect: int, at: int, expected: object) -> None:
    """Spec: SBC-4 5.36 table 128."""
    bench = protected_bench(1)
    data = bytearray(bytes(range(260)[:256]) * 4 + bytes(16))
    assert not code(bench.run(build("WRITE (16)", 3, 2), bytes(data)))
    assert not code(bench.run(build("VERIFY (16)", protect, 2, bytchk=1), bytes(data)))
    data[at] ^= 0x40
    assert code(bench.run(build("VERIFY (16)", protect, 2, bytchk=1), bytes(data))) == expected


def test_a_long_cdb_that_says_it_is_short() -> None:
    bench = protected_bench(2)
    cdb = bytearray(build("READ (32)"))
    cdb[7] = 0x10
    assert code(bench.run(bytes(cdb))) == INVALID_FIELD_IN_CDB


# What is announced


@pytest.mark.parametrize("number", [0, *TYPES])
@pytest.mark.parametrize("carried", [True, False])
def test_what_is_announced(number: int, carried: bool) -> None:
    bench = protected_bench(number)
    if not carried:
        bench.nexus.delivery = ServiceDelivery()
    assert bench.do("INQUIRY", allocation_length=96).data_in[5] & 1 == carried
    capacity = bench.do("READ CAPACITY (16)", allocation_length=32).data_in
    assert capacity[8:12] == BLOCK.to_bytes(4, "big")
    enabled = carried and number > 0
    assert capacity[12] == ((number - 1) << 1 | 1 if enabled else 0)
    assert capacity[13] >> 4 == 0  # P_I_EXPONENT
    page = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=64).data_in
    told = EXTENDED_INQUIRY.parse(page)
    assert (told.spt, told.grd_chk, told.app_chk, told.ref_chk) == (
        (7, 1, 1, 1) if carried else (0, 0, 0, 0)
    )
    page = bench.do("INQUIRY", evpd=1, page_code=0xB4, allocation_length=64).data_in
    lengths = [BLOCK_LENGTH.parse(page[at:]) for at in range(4, len(page), 8)]
    types = 0b1111 if carried else 0b0001
    assert [(each.block_length, each.raw[5] & 0xF) for each in lengths] == [
        (512, types),
        (4096, types),
    ]


@pytest.mark.parametrize(("dpc", "spt"), [(1, 0), (2, 2), (3, 1), (4, 4), (5, 3), (6, 5), (7, 7)])
def test_the_types_that_are_supported(dpc: int, spt: int) -> None:
    bench = protected_bench(0, offered=dpc)
    page = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=64).data_in
    assert EXTENDED_INQUIRY.parse(page).spt == spt


def test_a_disk_without_any_has_no_such_page() -> None:
    bench = make_bench()
    bench.nexus.delivery = ServiceDelivery(protection=True)
    result = bench.do("INQUIRY", evpd=1, page_code=0xB4, allocation_length=64)
    assert code(result) == INVALID_FIELD_IN_CDB
    assert bench.do("INQUIRY", allocation_length=96).data_in[5] & 1 == 0


# FORMAT UNIT


@pytest.mark.parametrize(
    ("fmtpinfo", "usage", "number"), [(0, 0, 0), (2, 0, 1), (3, 0, 2), (3, 1, 3)]
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_format_with_protection_information(
    before: int, fmtpinfo: int, usage: int, number: int
) -> None:
    bench = protected_bench(before)
    header = bytes([usage, 0, 0, 0])
    result = bench.do("FORMAT UNIT", header, fmtdata=1, fmtpinfo=fmtpinfo)
    assert code(result) is None
    facts = bench.lu.facts
    assert (facts.protection_type, facts.moves_protection) == (number, number > 0)
    assert facts.block_bytes == BLOCK
    formats = [c for c in bench.model.executed if c.opcode == AdminOpcode.FORMAT_NVM and c.admin]
    assert [c.cdw10 for c in formats] == [0x10 | number << 5 if number else 2]


@pytest.mark.parametrize(
    ("fmtpinfo", "usage", "offered", "expected"),
    [
        (1, 0, 7, INVALID_FIELD_IN_CDB),
        (2, 1, 7, INVALID_FIELD_IN_PARAMETER_LIST),
        (0, 1, 7, INVALID_FIELD_IN_PARAMETER_LIST),
        (3, 2, 7, INVALID_FIELD_IN_PARAMETER_LIST),
        (3, 0, 1, INVALID_FIELD_IN_CDB),
    ],
)
def test_a_format_that_is_refused(
    fmtpinfo: int, usage: int, offered: int, expected: object
) -> None:
    bench = protected_bench(0, offered=offered)
    header = bytes([usage, 0, 0, 0])
    assert code(bench.do("FORMAT UNIT", header, fmtdata=1, fmtpinfo=fmtpinfo)) == expected


def test_what_is_not_transferred_is_kept() -> None:
    bench = protected_bench(1)
    bench.nexus.delivery = ServiceDelivery()
    assert code(bench.do("FORMAT UNIT")) is None
    assert bench.lu.facts.protection_type == 1
    assert code(bench.do("FORMAT UNIT", fmtpinfo=2)) == INVALID_FIELD_IN_CDB


def test_block_limits_tell_what_may_be_moved_with_tuples() -> None:
    bench = protected_bench(1, blocks=1 << 15, maximum_transfer_bytes=1 << 20)
    inquiry = {"evpd": 1, "page_code": 0xB0, "allocation_length": 64}
    limits = BLOCK_LIMITS.parse(bench.do("INQUIRY", **inquiry).data_in)
    read = {"rdprotect": 1, "transfer_length": limits.maximum_transfer}
    assert code(bench.do("READ (16)", **read)) is None
    read["transfer_length"] += 1
    assert code(bench.do("READ (16)", **read)) is INVALID_FIELD_IN_CDB
    bench.nexus.delivery = ServiceDelivery()
    limits = BLOCK_LIMITS.parse(bench.do("INQUIRY", **inquiry).data_in)
    assert limits.maximum_transfer == 16384


def test_thousands_of_blocks_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop serves nobody else meanwhile; application tags that differ are no matter."""
    parsed = 0
    parse = Structure.parse

    def counting(structure: Structure, data: bytes) -> Values:
        nonlocal parsed
        parsed += 1
        return parse(structure, data)

    monkeypatch.setattr(Structure, "parse", counting)
    ours, theirs = (bytes(BLOCK) + bytes(2) + tag + bytes(4) for tag in (b"ab", b"cd"))
    checks = moved(0, tagged=True, compared=CHECK_GUARD | CHECK_REFERENCE)
    check_equal(ours * 1000, theirs * 1000, checks, BLOCK + TUPLE)
    wrong = bytes(BLOCK) + b"\1" + theirs[BLOCK + 1 :]
    with pytest.raises(CheckCondition) as caught:
        check_equal(ours * 1000, theirs * 999 + wrong, checks, BLOCK + TUPLE)
    assert caught.value.sense.code == GUARD_DIFFERS
    assert parsed <= 3
