"""POPULATE TOKEN, WRITE USING TOKEN and RECEIVE ROD TOKEN INFORMATION. Spec: SBC-3 4.28."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from scsi2nvme.commands import token_parameters
from scsi2nvme.commands.copy_operations import STATUS_LID4
from scsi2nvme.commands.copy_parameters import CSCD
from scsi2nvme.commands.copy_targets import designators
from scsi2nvme.commands.token_parameters import (
    POPULATE_HEADER,
    RANGE,
    ROD_TOKEN,
    WRITE_HEADER,
    RodType,
)
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.tokens import (
    DEFAULT_INACTIVITY_S,
    LIFETIME_S,
    MOST_OWN_TOKENS,
    MOST_RANGES,
    MOST_TOKENS,
    End,
)
from tests.commands.test_extended_copy import UNRECOVERED_READ, Outcome, pair, told
from tests.support import Bench, make_bench, row

Ranges = Sequence[tuple[int, int]]
ZERO = ROD_TOKEN.build(rod_type=RodType.ZERO, length=0x1F8)
WHOLE = 1024  # bytes that RECEIVE ROD TOKEN INFORMATION may return


def descriptors(ranges: Ranges) -> bytes:
    return b"".join(RANGE.build(lba=lba, number_of_blocks=blocks) for lba, blocks in ranges)


def populating(ranges: Ranges, **values: Any) -> bytes:
    """Return the parameter list of POPULATE TOKEN."""
    rest = descriptors(ranges)
    own = {"data_length": 14 + len(rest), "range_list_length": len(rest)}
    return POPULATE_HEADER.build(**{**own, **values}) + rest


def writing(token: bytes, ranges: Ranges, **values: Any) -> bytes:
    """Return the parameter list of WRITE USING TOKEN."""
    rest = descriptors(ranges)
    own = {"data_length": 534 + len(rest), "range_list_length": len(rest), "rod_token": token}
    return WRITE_HEADER.build(**{**own, **values}) + rest


def do(bench: Bench, name: str, data: bytes, identifier: int = 7, nexus: Any = None) -> Result:
    fields = {"list_identifier": identifier, "parameter_list_length": len(data)}
    return bench.do(name, data, nexus=nexus, **fields)


def information(bench: Bench, identifier: int = 7, nexus: Any = None) -> tuple[Any, bytes]:
    """Return what is told of an operation, and the token that it has made."""
    name, fields = "RECEIVE ROD TOKEN INFORMATION", {"allocation_length": WHOLE}
    data = bench.do(name, nexus=nexus, list_identifier=identifier, **fields).data_in
    status = STATUS_LID4.parse(data)
    assert status.available_data == len(data) - 4
    rest = data[STATUS_LID4.size + status.sense_data_field_length :]
    assert int.from_bytes(rest[:4], "big") == len(rest) - 4
    return status, rest[6:]


def populate(bench: Bench, ranges: Ranges, nexus: Any = None, **values: Any) -> bytes:
    """Return a new token."""
    result = do(bench, "POPULATE TOKEN", populating(ranges, **values), nexus=nexus)
    assert result.status is Status.GOOD, told(result)
    return information(bench, nexus=nexus)[1]


def write(bench: Bench, token: bytes, ranges: Ranges, nexus: Any = None, **values: Any) -> Result:
    return do(bench, "WRITE USING TOKEN", writing(token, ranges, **values), nexus=nexus)


@pytest.fixture
def bench() -> Bench:
    bench = make_bench()
    for lba in range(64):
        bench.model.fill(lba, bytes([lba]) * 512)
    return bench


def read(bench: Bench, lba: int, blocks: int) -> list[int]:
    """Return the first byte of each block."""
    data = bench.model.blocks(lba, blocks)
    return [data[512 * n] for n in range(blocks)]


# What is written


def test_a_token_stands_for_its_ranges_in_their_order(bench: Bench) -> None:
    token = populate(bench, [(20, 2), (10, 3)])
    assert write(bench, token, [(100, 1), (200, 4)]).status is Status.GOOD
    assert read(bench, 100, 1) + read(bench, 200, 4) == [20, 21, 10, 11, 12]
    status, made = information(bench)
    assert (status.response_to_service_action, status.copy_operation_status) == (0x11, 1)
    assert (status.transfer_count_units, status.transfer_count) == (0xF1, 5)
    assert (made, status.estimated_status_update_delay) == (b"", 0)


def test_a_part_of_it_may_be_written(bench: Bench) -> None:
    token = populate(bench, [(20, 2), (10, 3)])
    assert write(bench, token, [(100, 2)], offset_into_rod=1).status is Status.GOOD
    assert read(bench, 100, 3) == [21, 10, 0]
    assert write(bench, token, [(100, 1)], offset_into_rod=4).status is Status.GOOD
    assert read(bench, 100, 1) == [12]


def test_a_token_may_be_written_to_another_logical_unit() -> None:
    first, second = pair()
    token = populate(first, [(5, 1)])
    data = writing(token, [(9, 1)])
    cdb = row("WRITE USING TOKEN").build(list_identifier=1, parameter_list_length=len(data))
    result = second.run(cdb, data, lun=1)
    assert result.status is Status.GOOD
    assert second.model.blocks(9) == b"\x55" * 512


def test_zeroes_need_no_token(bench: Bench) -> None:
    assert write(bench, ZERO, [(3, 2), (9, 1)], offset_into_rod=77).status is Status.GOOD
    assert read(bench, 2, 8) == [2, 0, 0, 5, 6, 7, 8, 0]
    assert bench.model.opcodes() == [Opcode.WRITE_ZEROES] * 2


def test_a_token_tells_what_it_stands_for(bench: Bench) -> None:
    data = populate(bench, [(20, 2), (10, 3)])
    token = ROD_TOKEN.parse(data)
    assert (token.rod_type, token.length) == (RodType.CHANGE_VULNERABLE, 0x1F8)
    assert (token.bytes_represented, token.block_length, token.lbpme) == (5 * 512, 512, 1)
    creator = CSCD.parse(token.bytes("creator"))
    name = creator.bytes("designator")[: creator.designator_length]
    named = (creator.code_set, creator.designator_type, name)
    assert named in designators(bench.lu)
    other = populate(bench, [(20, 2), (10, 3)])
    assert data[8:16] != other[8:16]
    assert data[128:] != other[128:]


def test_nothing_is_no_error(bench: Bench) -> None:
    assert bench.do("POPULATE TOKEN", list_identifier=1).status is Status.GOOD
    assert bench.do("WRITE USING TOKEN", list_identifier=1).status is Status.GOOD
    token = populate(bench, [(1, 1)])
    assert write(bench, token, [(5, 0)]).status is Status.GOOD
    assert bench.model.executed == []


def test_immed(bench: Bench) -> None:
    result = do(bench, "POPULATE TOKEN", populating([(20, 2)], immed=1))
    assert result.status is Status.GOOD
    assert information(bench)[0].copy_operation_status == 0x12
    assert told(do(bench, "POPULATE TOKEN", populating([(2, 2)]))) == (5, 0x00, 0x16)
    assert bench.finish(result).status is Status.GOOD
    status, token = information(bench)
    assert status.copy_operation_status == 1
    result = write(bench, token, [(100, 2)], immed=1)
    assert read(bench, 100, 2) == [0, 0]
    bench.finish(result)
    assert read(bench, 100, 2) == [20, 21]


# What is refused


@pytest.mark.parametrize(
    ("ranges", "values", "code", "pointer"),
    [
        ([(0, 1)], {"data_length": 29}, (5, 0x26, 0), 0),
        ([(0, 1)], {"range_list_length": 0}, (5, 0x26, 0), 14),
        ([(0, 1)], {"range_list_length": 17}, (5, 0x26, 0), 14),
        ([(0, 1)], {"range_list_length": 32}, (5, 0x26, 0), 14),
        ([(0, 1)], {"inactivity_timeout": 601}, (5, 0x26, 0), 4),
        ([(0, 1)], {"rtv": 1}, (5, 0x26, 0), 8),
        ([(0, 1)], {"rtv": 1, "rod_type": RodType.ZERO}, (5, 0x26, 0), 8),
        ([(0, 1)], {"rtv": 1, "rod_type": 0x00800002}, (5, 0x26, 0), 8),
        ([(0, 0)], {}, (5, 0x26, 0), 14),
        ([(0, 2), (9, 1), (1, 1)], {}, (5, 0x26, 0), 48),
        ([(n, 1) for n in range(MOST_RANGES + 1)], {}, (5, 0x26, 0x08), 14),
        ([(4095, 2)], {}, (5, 0x21, 0), None),
        ([((1 << 64) - 1, 2)], {}, (5, 0x21, 0), None),
    ],
)
def test_lists_that_are_wrong(
    bench: Bench, ranges: Ranges, values: dict[str, int], code: Outcome, pointer: int | None
) -> None:
    result = do(bench, "POPULATE TOKEN", populating(ranges, **values))
    assert told(result) == code
    assert result.sense is not None
    assert (result.sense.pointer and result.sense.pointer.byte) == pointer
    assert told(bench.do("RECEIVE ROD TOKEN INFORMATION", list_identifier=7)) == (5, 0x24, 0)


@pytest.mark.parametrize(("name", "size"), [("POPULATE TOKEN", 16), ("WRITE USING TOKEN", 536)])
def test_a_list_that_is_cut_short(bench: Bench, name: str, size: int) -> None:
    assert told(do(bench, name, bytes(size - 1))) == (5, 0x1A, 0)
    assert told(do(bench, name, bytes(size))) == (5, 0x26, 0)


def test_more_than_one_token_may_stand_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_parameters, "TRANSFER_BYTES", 100 * 512)
    assert populate(bench, [(0, 60), (60, 40)])
    assert told(do(bench, "POPULATE TOKEN", populating([(0, 100), (200, 1)]))) == (5, 0x26, 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rod_type": 0x00800002}, (5, 0x23, 0x01)),
        ({"length": 0x1F7}, (5, 0x23, 0x0A)),
        ({"identifier": 9}, (5, 0x23, 0x04)),
        ({"extended_data": bytes(384)}, (5, 0x23, 0x04)),
        ({"bytes_represented": 99}, (5, 0x23, 0x04)),
    ],
)
def test_tokens_that_are_none(bench: Bench, change: dict[str, Any], code: Outcome) -> None:
    token = bytearray(populate(bench, [(1, 1)]))
    ROD_TOKEN.write(token, **change)
    assert told(write(bench, bytes(token), [(9, 1)])) == code
    assert bench.model.executed == []


def test_more_than_there_is(bench: Bench) -> None:
    token = populate(bench, [(1, 3)])
    assert told(write(bench, token, [(9, 1)], offset_into_rod=3)) == (5, 0x26, 0)
    assert told(write(bench, token, [(9, 1), (19, 3)])) == (5, 0x0D, 0x04)
    assert told(write(bench, token, [(9, 2), (10, 1)])) == (5, 0x26, 0)
    assert told(write(bench, token, [(4095, 2)])) == (5, 0x21, 0)
    assert told(write(bench, ZERO[:7] + b"\0" + ZERO[8:], [(9, 1)])) == (5, 0x23, 0x0A)
    assert bench.model.executed == []


def test_what_the_initiator_does_not_see_is_not_written() -> None:
    first, second = pair()
    token = populate(first, [(5, 1)])
    second.nexus = first.other("b")
    second.nexus.luns.clear()
    second.nexus.luns[0] = second.lu
    second.lu.attach(second.nexus)
    second.lu.unit_attentions[second.nexus.key].clear()
    assert told(write(second, token, [(9, 1)])) == (5, 0x23, 0x00)
    assert second.model.executed == []


def test_a_source_that_cannot_be_read(bench: Bench) -> None:
    first, second = pair()
    token = populate(first, [(5, 1)])
    first.model.bad_blocks[5] = UNRECOVERED_READ
    data = writing(token, [(9, 1)])
    cdb = row("WRITE USING TOKEN").build(list_identifier=1, parameter_list_length=len(data))
    result = second.run(cdb, data, lun=1)
    assert told(result) == (0xA, 0x0D, 0x01)
    assert result.sense is not None
    assert result.sense.forwarded is not None
    assert result.sense.forwarded.data[:4] == bytes([0x72, 3, 0x11, 0])
    name = row("RECEIVE ROD TOKEN INFORMATION")
    told_of = second.run(name.build(list_identifier=1, allocation_length=WHOLE), lun=1).data_in
    status = STATUS_LID4.parse(told_of)
    assert (status.copy_operation_status, status.completion_status) == (2, 2)
    assert status.transfer_count == 0
    assert told_of[32 + 12 : 32 + 14] == bytes([0x0D, 0x01])


# What ends a token


def changes(bench: Bench, lba: int) -> Result:
    cdb = row("WRITE (10)").build(lba=lba, transfer_length=1)
    return bench.run(cdb, b"\xee" * 512)


def test_a_write_to_its_blocks_revokes_it(bench: Bench) -> None:
    token, other = populate(bench, [(20, 2), (10, 3)]), populate(bench, [(1, 1)])
    for lba in (9, 13, 19, 22):
        changes(bench, lba)
    assert write(bench, token, [(100, 5)]).status is Status.GOOD
    changes(bench, 12)
    assert told(write(bench, token, [(100, 1)])) == (5, 0x23, 0x06)
    assert write(bench, other, [(100, 1)]).status is Status.GOOD


@pytest.mark.parametrize(
    ("name", "values", "data"),
    [
        (
            "UNMAP",
            {"parameter_list_length": 24},
            b"\0\x16\0\x10" + bytes(11) + b"\x14" + b"\0\0\0\1",
        ),
        ("WRITE SAME (16)", {"lba": 15, "number_of_blocks": 6, "ndob": 1}, b""),
        ("COMPARE AND WRITE", {"lba": 20, "number_of_blocks": 1}, bytes(1024)),
        ("WRITE (6)", {"lba": 21, "transfer_length": 1}, bytes(512)),
        ("FORMAT UNIT", {}, b""),
        ("SANITIZE, BLOCK ERASE", {"immed": 1}, b""),
    ],
)
def test_whatever_changes_them_revokes_it(
    bench: Bench, name: str, values: dict[str, int], data: bytes
) -> None:
    token = populate(bench, [(20, 2)])
    bench.do(name, data.ljust(values.get("parameter_list_length", 0), b"\0"), **values)
    number = ROD_TOKEN.parse(token).identifier
    assert bench.lu.rods.tokens.find(number, token) is End.REVOKED


def test_a_token_by_reference_stands_for_what_is_read(bench: Bench) -> None:
    values = {"rtv": 1, "rod_type": RodType.ACCESS_UPON_REFERENCE}
    token = populate(bench, [(20, 2)], **values)
    assert ROD_TOKEN.parse(token).rod_type == RodType.ACCESS_UPON_REFERENCE
    changes(bench, 20)
    assert write(bench, token, [(100, 2)]).status is Status.GOOD
    assert read(bench, 100, 2) == [0xEE, 21]


def test_what_others_may_change_unseen_is_of_no_point_in_time() -> None:
    bench = make_bench(namespace={"nmic": 1})
    assert ROD_TOKEN.parse(populate(bench, [(20, 2)])).rod_type == RodType.ACCESS_UPON_REFERENCE
    for kind in (0x00800000, 0x00800001, 0x0080FFFF):
        wanted = populating([(20, 2)], rtv=1, rod_type=kind)
        assert told(do(bench, "POPULATE TOKEN", wanted)) == (5, 0x26, 0)


def test_it_does_not_write_over_what_it_stands_for(bench: Bench) -> None:
    token = populate(bench, [(20, 2), (10, 3)])
    assert told(write(bench, token, [(9, 2)])) == (5, 0x26, 0x0C)
    assert write(bench, token, [(8, 2)]).status is Status.GOOD
    values = {"rtv": 1, "rod_type": RodType.ACCESS_UPON_REFERENCE}
    assert write(bench, populate(bench, [(20, 2)], **values), [(21, 1)]).status is Status.GOOD


def test_a_token_that_nobody_uses_expires(bench: Bench) -> None:
    now = [1000.0]
    bench.lu.rods.tokens.now = lambda: now[0]
    usual, longer = populate(bench, [(1, 1)]), populate(bench, [(2, 1)], inactivity_timeout=300)
    now[0] += DEFAULT_INACTIVITY_S
    assert told(write(bench, usual, [(100, 1)])) == (5, 0x23, 0x07)
    for _ in range(LIFETIME_S // 299):
        assert write(bench, longer, [(100, 1)]).status is Status.GOOD
        now[0] += 299
    assert told(write(bench, longer, [(100, 1)])) == (5, 0x23, 0x07)
    assert bench.lu.rods.vulnerable == []


def test_a_token_that_is_wanted_no_more(bench: Bench) -> None:
    token = populate(bench, [(1, 1)])
    assert write(bench, token, [(100, 1)], del_tkn=1).status is Status.GOOD
    assert told(write(bench, token, [(100, 1)])) == (5, 0x23, 0x09)


def test_a_reset_forgets_tokens(bench: Bench) -> None:
    token = populate(bench, [(1, 1)])
    bench.lu.reset(None)
    assert told(write(bench, token, [(100, 1)])) == (5, 0x23, 0x04)


def test_tokens_outlive_the_nexus_that_has_made_them(bench: Bench) -> None:
    token = populate(bench, [(1, 1)])
    bench.lu.release(bench.nexus)
    assert write(bench, token, [(100, 1)], nexus=bench.other()).status is Status.GOOD


def test_there_is_room_for_so_many(bench: Bench) -> None:
    tokens = [populate(bench, [(n, 1)]) for n in range(MOST_OWN_TOKENS)]
    assert write(bench, tokens[0], [(100, 1)]).status is Status.GOOD
    populate(bench, [(0, 9)])
    assert told(write(bench, tokens[1], [(100, 1)])) == (5, 0x23, 0x08)
    assert write(bench, tokens[0], [(100, 1)]).status is Status.GOOD
    for number in range(1, MOST_TOKENS // MOST_OWN_TOKENS):
        for lba in range(MOST_OWN_TOKENS):
            populate(bench, [(lba, 1)], nexus=bench.other(f"n{number}"))
    assert len(bench.lu.rods.tokens.all()) == MOST_TOKENS


def test_who_has_most_tokens_makes_room_for_who_has_fewer(bench: Bench) -> None:
    names = [f"n{number}" for number in range(MOST_TOKENS // MOST_OWN_TOKENS)]
    for name in names:
        for lba in range(MOST_OWN_TOKENS):
            populate(bench, [(lba, 1)], nexus=bench.other(name))
    for _ in range(MOST_OWN_TOKENS):
        populate(bench, [(0, 1)], nexus=bench.other("more"))
    every = bench.lu.rods.tokens.all()
    shares = Counter(token.owner for token in every)
    assert len(every) == MOST_TOKENS
    assert sorted(shares.values()) == [56, *[57] * 8]
    for token in every:  # none of those that are in use goes
        bench.lu.rods.tokens.use(token)
    wanted = populating([(0, 1)])
    assert told(do(bench, "POPULATE TOKEN", wanted, nexus=bench.other("last"))) == (5, 0x55, 0x0D)


def test_results_are_the_nexuss(bench: Bench) -> None:
    populate(bench, [(1, 1)])
    fields = {"list_identifier": 7, "allocation_length": WHOLE}
    name = "RECEIVE ROD TOKEN INFORMATION"
    assert told(bench.do(name, nexus=bench.other(), **fields)) == (5, 0x24, 0)
    assert bench.do(name, **fields) == bench.do(name, **fields)  # who has got no answer asks again


def test_a_reservation_of_another(bench: Bench) -> None:
    token = populate(bench, [(1, 1)])
    bench.lu.reservations.reserved_by = bench.other().key
    for name, data in (
        ("POPULATE TOKEN", populating([(1, 1)])),
        ("WRITE USING TOKEN", writing(token, [(9, 1)])),
    ):
        assert do(bench, name, data).status is Status.RESERVATION_CONFLICT


def test_all_tokens_that_an_initiator_may_use() -> None:
    first, second = pair()
    tokens = [populate(first, [(n, 1)]) for n in range(3)]
    name, fields = "REPORT ALL ROD TOKENS", {"allocation_length": WHOLE}
    data = second.run(row(name).build(**fields), lun=1).data_in
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[8:] == b"".join(token[:96] for token in tokens)
    changes(first, 1)
    assert first.do(name, **fields).data_in[8:] == tokens[0][:96] + tokens[2][:96]
    stranger = first.other("b")
    second.nexus = stranger
    stranger.luns.clear()
    stranger.luns[0] = second.lu
    second.lu.attach(stranger)
    second.lu.unit_attentions[stranger.key].clear()
    assert second.do(name, **fields).data_in == bytes([0, 0, 0, 4, 0, 0, 0, 0])
