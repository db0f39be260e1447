"""The hot path as a pure function."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace

import pytest

from scsi2nvme.command import Command, Data, Hot
from scsi2nvme.commands import COMMANDS, find
from scsi2nvme.native.hot import NvmeOp, hot_data_bytes, hot_translate
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.protection import kept
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES, UnmapLimits
from tests.support import row

PARAMETERS = UnitParameters(
    nsid=3,
    block_bytes=512,
    blocks=1 << 33,
    maximum_blocks=256,
    boundary_blocks=0,
    volatile_cache=True,
    compares=True,
    fused_blocks=8,
    verify_blocks=1024,
    write_zeroes_blocks=2048,
    write_zeroes_deallocates=True,
    unmap=UnmapLimits(ranges=4, blocks_of_range=100, blocks=250),
    atomic_blocks=200,
)
WRITE, READ, COMPARE, WRITE_ZEROES, DSM, VERIFY = 1, 2, 5, 8, 9, 12
FUA, DEAC = 1 << 30, 1 << 25
BLOCK = bytes(range(256)) * 2


def test_a_read_becomes_reads() -> None:
    lba = (1 << 32) + 5
    cdb = row("READ (16)").build(lba=lba, transfer_length=300, fua=1)
    ops = hot_translate(PARAMETERS, cdb)
    assert ops is not None
    assert [(op.opcode, op.slba, op.blocks, op.nsid) for op in ops] == [
        (2, lba, 256, 3),
        (2, lba + 256, 44, 3),
    ]
    sqe = ops[0].sqe
    assert sqe[:8] == bytes.fromhex("02000000 03000000")
    assert sqe[8:40] == bytes(32)
    assert sqe[40:52] == bytes.fromhex("05000000 01000000 ff000040")
    assert sqe[52:] == bytes(12)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("READ (16)", {"transfer_length": 300, "fua": 1}, [(READ, 0x74, 255), (READ, 0x74, 43)]),
        ("WRITE (16)", {"transfer_length": 300}, [(WRITE, 0x20, 255), (WRITE, 0x20, 43)]),
        ("VERIFY (16)", {"verification_length": 300}, [(VERIFY, 0x14, 299)]),
        ("WRITE SAME (16)", {"number_of_blocks": 9, "ndob": 1}, [(WRITE_ZEROES, 0x20, 8)]),
    ],
)
def test_the_controller_keeps_protection_information(
    name: str, fields: dict[str, int], expected: list[tuple[int, int, int]]
) -> None:
    """PRACT, the checks of the type, and reference tags that count on."""
    lba = (1 << 32) + 5
    for number, tagged in ((1, True), (3, False)):
        protection = kept(number)
        parameters = replace(
            PARAMETERS,
            compares=False,
            fused_blocks=0,
            protection_read=protection.read,
            protection_write=protection.write,
            protection_verify=protection.verify,
            protection_tagged=protection.tagged,
        )
        ops = hot_translate(parameters, row(name).build(lba=lba, **fields))
        assert ops is not None
        words = [struct.unpack("<48x4I", op.sqe) for op in ops]
        without = 0 if tagged else 0x04 if ops[0].opcode in (READ, VERIFY) else 0
        assert [
            (op.opcode, word[0] >> 24, word[0] & 0xFFFF)
            for op, word in zip(ops, words, strict=True)
        ] == [(opcode, flags & ~without, blocks) for opcode, flags, blocks in expected]
        tags = [op.slba & 0xFFFFFFFF if tagged else 0xFFFFFFFF for op in ops]
        assert [word[1:] for word in words] == [(0, tag, 0) for tag in tags]


def test_a_boundary_cuts() -> None:
    parameters = UnitParameters(3, 512, 1 << 20, 256, 8, False)
    ops = hot_translate(parameters, row("WRITE (10)").build(lba=6, transfer_length=12))
    assert ops is not None
    assert [(op.opcode, op.slba, op.blocks) for op in ops] == [(1, 6, 2), (1, 8, 8), (1, 16, 2)]


def test_an_atomic_write_is_never_cut() -> None:
    parameters = replace(PARAMETERS, boundary_blocks=8, atomic_alignment=3)
    cdb = row("WRITE ATOMIC (16)").build(lba=6, transfer_length=200)
    ops = hot_translate(parameters, cdb)
    assert ops is not None
    assert [(op.opcode, op.slba, op.blocks) for op in ops] == [(1, 6, 200)]
    for wrong in ({"transfer_length": 201}, {"lba": 7}, {"atomic_boundary": 1}, {"wrprotect": 1}):
        fields = {"lba": 6, "transfer_length": 200, **wrong}
        assert hot_translate(parameters, row("WRITE ATOMIC (16)").build(**fields)) is None
    assert hot_translate(replace(parameters, atomic_blocks=0), cdb) is None


def test_a_flush_is_sent_only_to_a_cache() -> None:
    cdb = row("SYNCHRONIZE CACHE (10)").build()
    sent = hot_translate(PARAMETERS, cdb)
    assert sent == [NvmeOp(0, 0, 1, 0, 3, bytes.fromhex("00000000 03000000") + bytes(56))]
    without = UnitParameters(3, 512, 8, 8, 0, False)
    assert hot_translate(without, cdb) == []
    assert hot_translate(without, row("SYNCHRONIZE CACHE (10)").build(immed=1)) == []


@pytest.mark.parametrize(
    "cdb",
    [
        row("TEST UNIT READY").build(),
        row("TEST UNIT READY").build(lun=3),
        row("PRE-FETCH (10)").build(lba=9, prefetch_length=0),
        row("PRE-FETCH (16)").build(lba=(1 << 33) - 4, prefetch_length=4, immed=1),
        row("PRE-FETCH (16)").build(lba=1 << 33),
    ],
    ids=lambda cdb: cdb.hex(),
)
def test_what_needs_no_nvme_command(cdb: bytes) -> None:
    assert hot_translate(PARAMETERS, cdb) == []


@pytest.mark.parametrize(
    "cdb",
    [
        b"",
        b"\x28",
        row("READ (10)").build(lba=0, transfer_length=1)[:9],
        row("READ (16)").build(lba=1 << 33, transfer_length=1),
        row("READ (16)").build(lba=(1 << 64) - 1, transfer_length=0xFFFFFFFF),
        row("READ (16)").build(lba=0, transfer_length=MAXIMUM_TRANSFER_BYTES // 512 + 1),
        row("READ (10)").build(lba=0, transfer_length=1, rdprotect=1),
        row("READ (10)").build(lba=0, transfer_length=1, naca=1),
        bytes([0x28, 0x01, *bytes(8)]),  # a reserved bit
        row("INQUIRY").build(allocation_length=96),
        row("SYNCHRONIZE CACHE (10)").build(immed=1),
        row("TEST UNIT READY").build(naca=1),
        bytes([0, 1, *bytes(4)]),  # a reserved bit
        bytes([0xFF] * 16),
    ],
    ids=lambda cdb: cdb.hex() or "empty",
)
def test_where_the_hot_path_steps_aside(cdb: bytes) -> None:
    assert hot_translate(PARAMETERS, cdb) is None


NAMING_BLOCKS = [
    each
    for each in COMMANDS
    if each.hot is not Hot.NO and "lba" in each.structure.by_name and each.length_field
]


@pytest.mark.parametrize("each", NAMING_BLOCKS, ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("lba", "count", "taken"),
    [(996, 4, True), (996, 5, False), (999, 2, False), (1000, 1, False), (1001, 1, False)],
)
def test_no_row_goes_beyond_the_last_block(
    each: Command, lba: int, count: int, taken: bool
) -> None:
    parameters = replace(PARAMETERS, blocks=1000, hint_blocks=1000)
    cdb = each.build(**{"lba": lba, each.length_field: count})
    data = bytes(512 * count) if each.data is Data.OUT else b""
    assert (hot_translate(parameters, cdb, data) is not None) is taken


# What changes or checks blocks


def unmap(*ranges: tuple[int, int], stated: int = 0, cut: int = 0) -> tuple[bytes, bytes]:
    """Return an UNMAP and its list: `stated` bytes more than there are, `cut` bytes not sent."""
    descriptors = b"".join(struct.pack(">QI4x", *each) for each in ranges)
    data = struct.pack(">HH4x", len(descriptors) + 6, len(descriptors) + stated) + descriptors
    data = data[: len(data) - cut]
    return row("UNMAP").build(parameter_list_length=len(data)), data


def unmapped(
    cdb: bytes, data: bytes, parameters: UnitParameters = PARAMETERS
) -> list[tuple[int, int]] | None:
    """Return the (LBA, blocks) of the Dataset Management that an UNMAP becomes, if any."""
    ops = hot_translate(parameters, cdb, data)
    if not ops:
        return None if ops is None else []
    (op,) = ops
    ranges = list(struct.iter_unpack("<IIQ", op.data_out))
    assert op.sqe[:8] == struct.pack("<II", DSM, 3)
    assert op.sqe[40:] == struct.pack("<II16x", len(ranges) - 1, 4)
    assert all(attributes == 0 for attributes, _, _ in ranges)
    return [(lba, blocks) for _, blocks, lba in ranges]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (unmap((7, 9)), [(7, 9)]),
        (unmap((1 << 32, 0), (9, 1)), [(9, 1)]),
        (unmap((7, 9), (3, 9), (7, 9)), [(7, 9), (3, 9), (7, 9)]),
        (unmap((0, 250)), [(0, 100), (100, 100), (200, 50)]),
        (unmap((1, 1), (2, 2), stated=-16), [(1, 1)]),
        (unmap((1, 1), (2, 2), stated=-1), [(1, 1)]),
        (unmap((1, 1), (2, 2), cut=1), [(1, 1)]),
        (unmap((1, 1), stated=16), [(1, 1)]),
        (unmap(), []),
        # Several Dataset Managements.
        (unmap((0, 251)), None),
        (unmap((0, 1), (2, 1), (4, 1), (6, 1), (8, 1)), None),
        (unmap((0, 100), (100, 100), (200, 51)), None),
        (unmap((5, 0)), []),
        ((row("UNMAP").build(), b""), []),
        (unmap(cut=1), None),
        (unmap(((1 << 33) - 1, 2)), None),
        (unmap((1, 1), ((1 << 33) + 1, 0)), None),
        (unmap(((1 << 64) - 1, 0xFFFFFFFF)), None),
        (unmap(*[(n, 1) for n in range(257)]), None),
        ((row("UNMAP").build(anchor=1, parameter_list_length=24), unmap((1, 1))[1]), None),
    ],
)
def test_unmap_becomes_a_dataset_management(
    request_: tuple[bytes, bytes], expected: list[tuple[int, int]] | None
) -> None:
    assert unmapped(*request_) == expected


def test_unmap_without_dataset_management_is_the_engines() -> None:
    parameters = replace(PARAMETERS, unmap=None)
    assert unmapped(*unmap((1, 1)), parameters) is None
    assert unmapped(*unmap(), parameters) is None


@pytest.mark.parametrize("count", [1, 120, 256])
def test_unmap_takes_as_many_ranges_as_block_limits_tell(count: int) -> None:
    ranges = [(5 * n, 3) for n in range(count)]
    parameters = replace(PARAMETERS, unmap=UnmapLimits(256, 1 << 20, 1 << 30))
    assert unmapped(*unmap(*ranges), parameters) == ranges


def shape(ops: list[NvmeOp] | None) -> list[tuple[int, int, int, int, int]] | None:
    """Return what matters of NVMe commands on blocks, without their data."""
    if ops is None:
        return None
    return [(op.phase, op.opcode, op.slba, op.blocks, op.cdw12) for op in ops]


@pytest.mark.parametrize(
    ("fields", "data", "expected"),
    [
        ({"number_of_blocks": 9}, bytes(512), [(0, WRITE_ZEROES, 5, 9, 0)]),
        ({"number_of_blocks": 9, "unmap": 1}, bytes(512), [(0, WRITE_ZEROES, 5, 9, DEAC)]),
        ({"number_of_blocks": 9, "unmap": 1, "ndob": 1}, b"", [(0, WRITE_ZEROES, 5, 9, DEAC)]),
        (
            {"number_of_blocks": 2049},
            bytes(512),
            [(0, WRITE_ZEROES, 5, 2048, 0), (0, WRITE_ZEROES, 2053, 1, 0)],
        ),
        (
            {"number_of_blocks": 300, "unmap": 1},
            BLOCK,
            [(0, WRITE, 5, 256, 0), (0, WRITE, 261, 44, 0)],
        ),
        ({"number_of_blocks": 64 * 256 + 1}, BLOCK, None),  # too many NVMe commands
        ({"number_of_blocks": 0}, bytes(512), None),
        ({"number_of_blocks": 65536}, bytes(512), None),
        ({"number_of_blocks": 1, "anchor": 1}, bytes(512), None),
        ({"number_of_blocks": 1, "lba": 1 << 33}, bytes(512), None),
    ],
)
def test_write_same(
    fields: dict[str, int], data: bytes, expected: list[tuple[int, int, int, int, int]] | None
) -> None:
    ops = hot_translate(PARAMETERS, row("WRITE SAME (16)").build(**{"lba": 5, **fields}), data)
    assert shape(ops) == expected
    for op in ops or ():
        assert op.data_out == (data * op.blocks if op.opcode == WRITE else b"")


def test_write_same_without_write_zeroes() -> None:
    parameters = replace(PARAMETERS, write_zeroes_blocks=0, unmap=None)
    cdb = row("WRITE SAME (16)").build(number_of_blocks=3)
    assert shape(hot_translate(parameters, cdb, bytes(512))) == [(0, WRITE, 0, 3, 0)]
    for fields in ({"ndob": 1}, {"unmap": 1}):
        cdb = row("WRITE SAME (16)").build(number_of_blocks=3, **fields)
        assert hot_translate(parameters, cdb, b"" if "ndob" in fields else bytes(512)) is None


@pytest.mark.parametrize("length", [10, 12, 16])
@pytest.mark.parametrize(
    ("fields", "size", "expected"),
    [
        ({"bytchk": 0}, 0, [(0, VERIFY, 5, 300, 0)]),
        ({"bytchk": 1, "dpo": 1}, 300, [(0, COMPARE, 5, 256, 0), (0, COMPARE, 261, 44, 0)]),
        ({"bytchk": 3}, 1, [(0, COMPARE, 5, 256, 0), (0, COMPARE, 261, 44, 0)]),
        ({"bytchk": 3, "verification_length": 1}, 1, [(0, COMPARE, 5, 1, 0)]),
        ({"bytchk": 3, "verification_length": 0}, 0, []),
        ({"bytchk": 1, "verification_length": 0}, 0, []),
        ({"bytchk": 0, "verification_length": 0}, 0, []),
        ({"bytchk": 2}, 0, None),
        ({"bytchk": 2, "verification_length": 1}, 0, None),
        ({"bytchk": 0, "vrprotect": 1}, 0, None),
    ],
)
def test_verify(
    length: int,
    fields: dict[str, int],
    size: int,
    expected: list[tuple[int, int, int, int, int]] | None,
) -> None:
    values = {"lba": 5, "verification_length": 300, **fields}
    data = BLOCK * size
    ops = hot_translate(PARAMETERS, row(f"VERIFY ({length})").build(**values), data)
    assert shape(ops) == expected
    compared = b"".join(op.data_out for op in ops or ())
    assert not compared or compared == BLOCK * values["verification_length"]


@pytest.mark.parametrize(
    ("fields", "maximum_blocks", "commands"),
    [
        ({"verification_length": 65536}, 256, 64),
        ({"bytchk": 3, "verification_length": MAXIMUM_TRANSFER_BYTES // 512}, 256, 64),
        ({"bytchk": 3, "verification_length": MAXIMUM_TRANSFER_BYTES // 512 + 1}, 4096, None),
        ({"lba": (1 << 33) - 4, "verification_length": 4}, 256, 1),
        ({"lba": (1 << 33) - 4, "verification_length": 5}, 256, None),
        ({"lba": (1 << 33) - 4, "bytchk": 3, "verification_length": 5}, 256, None),
    ],
)
def test_how_much_is_verified(
    fields: dict[str, int], maximum_blocks: int, commands: int | None
) -> None:
    parameters = replace(PARAMETERS, maximum_blocks=maximum_blocks)
    data = BLOCK if "bytchk" in fields else b""
    ops = hot_translate(parameters, row("VERIFY (16)").build(**fields), data)
    assert (None if ops is None else len(ops)) == commands
    if ops is not None:
        assert sum(op.blocks for op in ops) == fields["verification_length"]


@pytest.mark.parametrize(("lba", "taken"), [((1 << 33) - 4, True), ((1 << 33) - 3, False)])
@pytest.mark.parametrize("bytchk", [0, 1])
def test_nothing_is_written_that_would_not_fit(lba: int, taken: bool, bytchk: int) -> None:
    values = {"lba": lba, "transfer_length": 4, "bytchk": bytchk}
    ops = hot_translate(PARAMETERS, row("WRITE AND VERIFY (16)").build(**values), BLOCK * 4)
    assert (ops is not None) is taken


@pytest.mark.parametrize("length", [10, 12, 16])
@pytest.mark.parametrize(("bytchk", "second"), [(0, VERIFY), (1, COMPARE), (2, None), (3, None)])
def test_write_and_verify(length: int, bytchk: int, second: int | None) -> None:
    values = {"lba": 5, "transfer_length": 200, "bytchk": bytchk}
    cdb = row(f"WRITE AND VERIFY ({length})").build(**values)
    ops = hot_translate(PARAMETERS, cdb, BLOCK * 200)
    if second is None:
        assert ops is None
        return
    assert shape(ops) == [(0, WRITE, 5, 200, FUA), (1, second, 5, 200, 0)]
    assert ops is not None
    assert ops[0].data_out == BLOCK * 200
    assert ops[1].data_out == (BLOCK * 200 if bytchk else b"")


@pytest.mark.parametrize(
    ("changes", "bytchk"), [({"compares": False}, 1), ({"verify_blocks": 0}, 0)]
)
def test_what_the_controller_cannot_check_is_the_engines(
    changes: dict[str, bool], bytchk: int
) -> None:
    parameters = replace(PARAMETERS, **changes)  # type: ignore[arg-type]
    write = row("WRITE AND VERIFY (10)").build(transfer_length=1, bytchk=bytchk)
    assert hot_translate(parameters, write, BLOCK) is None
    verify = row("VERIFY (10)").build(verification_length=1, bytchk=bytchk)
    assert hot_translate(parameters, verify, BLOCK * bytchk) is None
    many = row("VERIFY (16)").build(verification_length=64 * 1024 + 1)
    assert hot_translate(PARAMETERS, many) is None  # too many NVMe commands


# The data that are announced


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.name)
@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_every_row_announces_what_the_translation_takes(each: Command, block_bytes: int) -> None:
    """With each count that needs all of its field, and each value of what it depends on."""
    fields = each.structure.by_name
    ranges: dict[str, set[int]] = {
        name: set(range(fields[name].maximum + 1))
        for name in ("bytchk", "ndob", "fmtdata", "longlist")
        if name in fields
    }
    if each.length_field:
        most = fields[each.length_field].maximum
        ranges[each.length_field] = {0, 1, 2, most >> 1, most - 1, most}
    for chosen in itertools.product(*ranges.values()):
        cdb = each.build(**dict(zip(ranges, chosen, strict=True)))
        expected = each.data_bytes(each.structure.parse(cdb), block_bytes)
        assert hot_data_bytes(cdb, block_bytes) == (expected, list(Data).index(each.data))
        for cut in range(each.length):
            assert hot_data_bytes(cdb[:cut], block_bytes) == (0, 0)


@pytest.mark.parametrize("opcode", range(256))
def test_what_has_no_row_announces_nothing(opcode: int) -> None:
    for action in range(64):
        cdb = bytes([opcode, action, *bytes(6), action >> 5, action, *bytes(22)])
        if find(cdb) is None:
            assert hot_data_bytes(cdb, 512) == (0, 0)


@pytest.mark.parametrize(
    ("cdb", "expected"),
    [
        (b"", (0, 0)),
        (row("INQUIRY").build(allocation_length=96), (96, 1)),
        (row("READ (6)").build(), (256 * 512, 1)),
        (row("READ CAPACITY (10)").build(), (8, 1)),
        (row("WRITE SAME (10)").build(number_of_blocks=9), (512, 2)),
        (row("WRITE SAME (16)").build(number_of_blocks=9, ndob=1), (0, 2)),
        (row("COMPARE AND WRITE").build(number_of_blocks=2), (2048, 2)),
        (row("VERIFY (10)").build(verification_length=9), (0, 2)),
        (row("VERIFY (10)").build(verification_length=9, bytchk=1), (9 * 512, 2)),
        (row("VERIFY (10)").build(verification_length=9, bytchk=3), (512, 2)),
        (row("FORMAT UNIT").build(fmtdata=1), (4, 2)),
        (row("FORMAT UNIT").build(fmtdata=1, longlist=1), (8, 2)),
        (row("READ (16)").build(transfer_length=0xFFFFFFFF), (0xFFFFFFFF * 512, 1)),
        (bytes([0x9E, 0x1F, *bytes(14)]), (0, 0)),  # no such service action
    ],
)
def test_how_much_data_a_cdb_announces(cdb: bytes, expected: tuple[int, int]) -> None:
    assert hot_data_bytes(cdb, 512) == expected


# COMPARE AND WRITE


def swap(count: int, parameters: UnitParameters = PARAMETERS, **fields: int) -> list[NvmeOp] | None:
    """Return the translation of a COMPARE AND WRITE that expects ones, and writes twos."""
    cdb = row("COMPARE AND WRITE").build(number_of_blocks=count, **{"lba": 5, **fields})
    size = count * parameters.block_bytes
    return hot_translate(parameters, cdb, b"\1" * size + b"\2" * size)


@pytest.mark.parametrize("count", [1, 8])
def test_a_fused_pair_is_of_the_same_blocks(count: int) -> None:
    ops = swap(count, fua=1)
    assert shape(ops) == [(0, COMPARE, 5, count, 0), (0, WRITE, 5, count, FUA)]
    assert ops is not None
    assert [op.sqe[1] for op in ops] == [1, 2]
    assert [op.data_out for op in ops] == [b"\1" * 512 * count, b"\2" * 512 * count]


def test_what_is_no_pair_reads_and_then_writes() -> None:
    parameters = replace(PARAMETERS, maximum_blocks=6)
    ops = swap(9, parameters, fua=1)
    assert shape(ops) == [
        *((0, READ, 5, 6, 0), (0, READ, 11, 3, 0)),
        *((1, WRITE, 5, 6, FUA), (1, WRITE, 11, 3, FUA)),
    ]
    assert ops is not None
    assert [op.sqe[1] for op in ops] == [0] * 4
    assert [op.data_out for op in ops] == [b"", b"", b"\2" * 512 * 6, b"\2" * 512 * 3]
    assert shape(swap(1, replace(PARAMETERS, fused_blocks=0))) == [
        (0, READ, 5, 1, 0),
        (1, WRITE, 5, 1, 0),
    ]


@pytest.mark.parametrize(
    ("count", "parameters", "fields"),
    [
        (1, PARAMETERS, {"wrprotect": 1}),
        (1, PARAMETERS, {"naca": 1}),
        (2, PARAMETERS, {"lba": (1 << 33) - 1}),
        (43, PARAMETERS, {}),  # no room to read behind the data
        (3, replace(PARAMETERS, fused_blocks=0), {}),  # of a small buffer
    ],
)
def test_a_compare_and_write_of_the_engine(
    count: int, parameters: UnitParameters, fields: dict[str, int]
) -> None:
    assert swap(count, parameters, **fields) is None


def test_a_compare_and_write_of_nothing() -> None:
    assert swap(0) == []
    assert swap(0, lba=1 << 33) == []
    assert swap(0, lba=(1 << 33) + 1) is None
