"""ROD tokens beside what others do: a token never stands for other data than when it was made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scsi2nvme.commands import rod_tokens
from scsi2nvme.commands.token_parameters import RodType
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.service import mover
from scsi2nvme.service.pieces import Time
from scsi2nvme.unit.copies import CONCURRENT_COPIES
from scsi2nvme.unit.tokens import RodToken
from tests.commands.test_rod_tokens import ZERO, populating, writing
from tests.service.bench import Bench, FakeTask, compare_and_write, settle, told, write
from tests.service.test_mover import ABORTED, GOOD, ended, filled, second
from tests.support import row

REVOKED = (5, 0x23, 0x06)
CHECK_CONDITION, BUSY = 0x02, 0x08
BY_REFERENCE = {"rtv": 1, "rod_type": int(RodType.ACCESS_UPON_REFERENCE)}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "PIECE_BYTES", 64 << 10)


def submit(bench: Bench, name: str, data: bytes, identifier: int = 7, **values: Any) -> FakeTask:
    cdb = row(name).build(list_identifier=identifier, parameter_list_length=len(data))
    return bench.submit(cdb, data, **values)


def populate(bench: Bench, *ranges: tuple[int, int], **values: Any) -> FakeTask:
    return submit(bench, "POPULATE TOKEN", populating(ranges, **values))


def tokens(bench: Bench) -> list[RodToken]:
    return bench.service._tokens.all()


async def token_of(bench: Bench, *ranges: tuple[int, int]) -> RodToken:
    """Return a new token; no hot task is under way."""
    task = populate(bench, *ranges)
    await settle()
    await bench.drained()
    await ended(task)
    assert task.status == GOOD
    return tokens(bench)[-1]


def use(bench: Bench, token: RodToken, *ranges: tuple[int, int], **values: Any) -> FakeTask:
    return submit(bench, "WRITE USING TOKEN", writing(token.data, ranges), 8, **values)


LUN_1 = (1).to_bytes(2, "big") + bytes(6)


@told
async def test_a_token_is_made_when_no_hot_write_is_under_way(bench: Bench) -> None:
    task = populate(bench, (10, 5), (15, 2), (100, 1))
    await settle()
    assert task.ended is None
    assert bench.unit.watched == [range(10, 17), range(100, 101)]  # before it is drained
    for blocks in bench.unit.watched:  # and what lies between stays on the hot path
        assert list(bench.unit.ranges.values()) == [blocks]
        assert task.ended is None
        await bench.drained()
    assert (await ended(task)).status == GOOD
    assert not bench.unit.ranges
    assert not bench.unit.drains
    bench.lu.rods.changed((range(16, 17),))
    assert bench.unit.watched == []


@told
async def test_a_token_is_made_after_the_engines_writes(bench: Bench) -> None:
    bench.controller.held = True
    writes = bench.submit(*write(11))
    elsewhere = bench.submit(*write(500))
    task = populate(bench, (10, 5))
    await settle()
    later = bench.submit(*write(12))
    await settle()
    assert not bench.unit.watched
    await bench.controller.release()
    assert writes.status == GOOD
    assert elsewhere.ended is None
    await bench.drained()
    assert (await ended(task)).status == GOOD
    while bench.controller.waiting:
        await bench.controller.release()
    assert later.status == GOOD  # it came later, and so revokes the token
    assert tokens(bench) == []


@told
async def test_what_is_alone_on_its_blocks_revokes_it(bench: Bench) -> None:
    await token_of(bench, (10, 5))
    task = bench.submit(*compare_and_write(12))
    await settle()
    await bench.drained()
    await ended(task)
    assert tokens(bench) == []


@told
async def test_a_copy_from_a_token_stops_when_its_blocks_change(bench: Bench) -> None:
    data = filled(bench.controller)
    lu, other = second(bench)
    token = await token_of(bench, (0, 2000))
    other.held = True
    task = use(bench, token, (0, 2000), lun=LUN_1)
    await settle()
    assert other.waiting
    bench.controller.held = True
    changes = bench.submit(*write(1500))
    await settle()
    assert bench.unit.watched == []
    other.held = False
    while other.waiting:
        await other.release()
    bench.controller.held = False
    while bench.controller.waiting:
        await bench.controller.release()
    await ended(task)
    assert changes.status == GOOD
    assert task.sense == REVOKED
    operation = lu.copies.find(bench.nexus, 8, long=True)
    assert operation is not None
    done = operation.transferred
    assert 0 < done < 1500 * 512
    assert other.model.blocks(0, done // 512) == data[:done]


@told
async def test_what_was_read_while_its_blocks_changed_is_not_written(bench: Bench) -> None:
    filled(bench.controller)
    _, other = second(bench)
    token = await token_of(bench, (0, 8))
    bench.controller.held = True
    task = use(bench, token, (0, 8), lun=LUN_1)
    await settle()
    assert bench.controller.opcodes == [Opcode.READ]
    bench.submit(*write(3))
    await settle()
    while bench.controller.waiting:
        await bench.controller.release()
    await ended(task)
    assert task.sense == REVOKED
    assert other.model.executed == []


@told
async def test_what_the_controller_copied_while_blocks_changed_is_not_done(bench: Bench) -> None:
    filled(bench.controller)
    token = await token_of(bench, (0, 8))
    bench.controller.held = True
    task = use(bench, token, (100, 8))
    await settle()
    assert bench.controller.opcodes == [Opcode.COPY]
    bench.submit(*write(3))
    await settle()
    while bench.controller.waiting:
        await bench.controller.release()
    await ended(task)
    assert task.sense == REVOKED


@told
async def test_what_a_copy_writes_revokes_others_tokens(bench: Bench) -> None:
    filled(bench.controller)
    source = await token_of(bench, (0, 8))
    target = await token_of(bench, (104, 8))
    elsewhere = await token_of(bench, (108, 8))
    assert (await ended(use(bench, source, (100, 8)))).status == GOOD
    assert tokens(bench) == [source, elsewhere]
    assert (await ended(use(bench, target, (300, 8)))).sense == REVOKED
    fills = submit(bench, "WRITE USING TOKEN", writing(ZERO, [(112, 1)]))
    assert (await ended(fills)).status == GOOD
    assert tokens(bench) == [source]


@told
async def test_blocks_that_nobody_told_of_may_change_as_well(bench: Bench) -> None:
    first = await token_of(bench, (0, 8))
    bench.service.blocks_may_change([bench.lu])
    assert tokens(bench) == []
    assert (await ended(use(bench, first, (100, 8)))).sense == REVOKED


@told
async def test_the_token_of_an_aborted_command_is_none(bench: Bench) -> None:
    task = populate(bench, (10, 5))
    await settle()
    assert bench.unit.watched
    await bench.abort(task)
    await settle()
    assert bench.unit.watched == []
    assert tokens(bench) == []
    assert not bench.service._registry.units[bench.lu].lock.in_use


@told
async def test_an_operation_that_is_aborted_makes_no_token(bench: Bench) -> None:
    task = populate(bench, (10, 5))
    await settle()
    operation = bench.lu.copies.find(bench.nexus, 7, long=True)
    assert operation is not None
    operation.abort()
    await ended(task)
    assert task.status == ABORTED
    assert tokens(bench) == []


@told
async def test_a_token_by_reference_waits_for_nobody(bench: Bench) -> None:
    task = populate(bench, (10, 5), **BY_REFERENCE)
    assert (await ended(task)).status == GOOD
    assert bench.unit.watched == []
    await ended(bench.submit(*write(12)))
    assert len(tokens(bench)) == 1


@told
async def test_as_much_is_written_as_there_is_time_for(bench: Bench) -> None:
    data = filled(bench.controller)
    lu, other = second(bench)
    token = await token_of(bench, (0, 4000))
    passed_s = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Time, "seconds", property(lambda _: passed_s))
        other.held = True
        task = use(bench, token, (0, 4000), lun=LUN_1)
        await settle()
        passed_s = rod_tokens.PATIENCE_S
        while other.waiting:
            await other.release()
        await ended(task)
    # Windows asks how much was done only where the status is not GOOD.
    assert (task.status, task.sense) == (CHECK_CONDITION, (0xA, 0x0D, 0x04))
    operation = lu.copies.find(bench.nexus, 8, long=True)
    assert operation is not None
    assert operation.state == 3
    done = operation.transferred
    assert 0 < done < 4000 * 512
    assert operation.sense is not None
    assert operation.sense.information == done // 512
    assert other.model.blocks(0, done // 512) == data[:done]
    assert len(other.model.executed) * 16384 == done


@told
async def test_zeroes_meet_what_a_write_would(bench: Bench) -> None:
    lu, other = second(bench)
    lu.read_only = True
    task = submit(bench, "WRITE USING TOKEN", writing(ZERO, [(3, 1)]), lun=LUN_1)
    assert (await ended(task)).sense == (7, 0x27, 0x00)
    lu.read_only = False
    lu.reservations.reserved_by = "another"
    task = submit(bench, "WRITE USING TOKEN", writing(ZERO, [(3, 1)]), lun=LUN_1)
    assert (await ended(task)).status == 0x18
    assert other.model.executed == []


@told
async def test_a_timer_ends_what_nobody_uses(bench: Bench) -> None:
    calls: list[tuple[float, Any]] = []
    now = [0.0]
    all_tokens = bench.service._tokens
    all_tokens.now = lambda: now[0]
    all_tokens.later = lambda seconds, call: calls.append((seconds, call))
    await token_of(bench, (10, 5))
    seconds, call = calls[-1]
    now[0] += seconds
    call()
    assert bench.unit.watched == []


@told
async def test_a_logical_unit_that_goes_takes_its_tokens_along(bench: Bench) -> None:
    token = await token_of(bench, (0, 8))
    lu, _ = second(bench)
    bench.service.remove_unit(bench.lu)
    task = use(bench, token, (100, 8), lun=LUN_1)
    assert (await ended(task)).sense == REVOKED
    assert not lu.rods.vulnerable


@told
async def test_nobody_is_kept_waiting_by_what_is_alone_on_blocks(bench: Bench) -> None:
    """That may be a format. What nothing was done of can be asked for again."""
    filled(bench.controller)
    lu, other = second(bench)
    token = await token_of(bench, (0, 8))
    lock = bench.service._registry.units[lu].lock
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rod_tokens, "PATIENCE_S", 0.02)
        patched.setattr(mover, "PATIENCE_S", 0.001)
        for data in (token.data, ZERO):
            listed = writing(data, [(0, 8)], del_tkn=1)
            async with lock.hold(exclusive=True), asyncio.timeout(5):
                task = submit(bench, "WRITE USING TOKEN", listed, 8, lun=LUN_1)
                while task.ended is None:
                    await asyncio.sleep(0.001)
            assert task.status == BUSY
    assert other.model.executed == []
    assert tokens(bench) == [token]
    assert (await ended(use(bench, token, (0, 8), lun=LUN_1))).status == GOOD


@told
async def test_zeroes_that_wait_for_a_format_keep_no_others_waiting(bench: Bench) -> None:
    lu, other = second(bench)
    listed = writing(ZERO, [(0, 8)], immed=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mover, "PATIENCE_S", 0.001)
        async with bench.service._registry.units[lu].lock.hold(exclusive=True):
            waiting = [
                submit(bench, "WRITE USING TOKEN", listed, each, lun=LUN_1)
                for each in range(2 * CONCURRENT_COPIES)
            ]
            for each in waiting:
                assert (await ended(each)).status == GOOD
            task = submit(bench, "WRITE USING TOKEN", writing(ZERO, [(0, 8)]), 99)
            assert (await ended(task)).status == GOOD
            assert other.model.executed == []
        async with asyncio.timeout(5):
            while len(other.model.executed) < len(waiting):
                await asyncio.sleep(0)


@told
async def test_other_blocks_under_a_number_revoke_before_anything_goes_on(bench: Bench) -> None:
    token = await token_of(bench, (0, 8))
    found = {1: bench.lu.facts}
    bench.service.displaced({1: bench.lu}, [1], found, bench.plane_controller, reset=False)
    assert token.end is not None
    assert bench.unit.watched == []
