"""Commands that people send: what others meet of them, and what is kept from one to the next."""

from __future__ import annotations

import asyncio

from scsi2nvme.commands.copy_operations import STATUS_LID4
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import State
from tests.commands.test_extended_copy import cscd, parameters, segment
from tests.service.bench import Bench, settle, told, write
from tests.support import row


async def by_hand(bench: Bench, name: str, data: bytes = b"", **fields: int) -> Result:
    cdb = row(name).build(**fields)
    return await bench.service.run_by_hand(bench.lu, cdb, data, len(data))


async def standard_data(bench: Bench) -> bytes:
    task = await bench.run(row("INQUIRY").build(allocation_length=36))
    assert task.ended is not None
    return task.ended[2]


@told
async def test_no_port_is_told_of_that_nobody_can_use(bench: Bench) -> None:
    before = await standard_data(bench)
    alone = asyncio.ensure_future(by_hand(bench, "START STOP UNIT", start=1))
    await settle()
    assert not alone.done()
    assert bench.lu.target_ports_of(bench.nexus) == (bench.nexus.target,)
    assert await standard_data(bench) == before  # MULTIP, not least
    await bench.drained()
    assert (await alone).status is Status.GOOD


@told
async def test_side_by_side_none_ends_what_another_does(bench: Bench) -> None:
    bench.controller.held = True
    reads = [asyncio.ensure_future(by_hand(bench, "READ (10)", transfer_length=1)) for _ in "ab"]
    await settle()
    await bench.controller.release()
    await bench.controller.release()
    assert [each.status for each in await asyncio.gather(*reads)] == [Status.GOOD] * 2


@told
async def test_what_is_written_to_be_asked_for_is_there(bench: Bench) -> None:
    echoed = await by_hand(bench, "WRITE BUFFER, echo", b"echo", parameter_list_length=4)
    assert echoed.status is Status.GOOD
    back = await by_hand(bench, "READ BUFFER (10), echo", allocation_length=4)
    assert back.data_in == b"echo"


@told
async def test_copies_go_on_that_nobody_waits_for(bench: Bench) -> None:
    await bench.run(*write(3))
    values = {"immed": 1, "list_identifier": 5}
    data = parameters([cscd(bench.lu)], [segment(3, 9, 1)], long=True, **values)
    started = await by_hand(bench, "EXTENDED COPY (LID4)", data, parameter_list_length=len(data))
    assert started.status is Status.GOOD
    await settle()
    status = await by_hand(
        bench, "RECEIVE COPY STATUS (LID4)", list_identifier=5, allocation_length=64
    )
    assert STATUS_LID4.parse(status.data_in).copy_operation_status == State.DONE
    assert bench.controller.model.blocks(9) == b"\xa5" * 512


@told
async def test_nobody_is_kept_out_when_it_has_ended(bench: Bench) -> None:
    bench.lu.removable = True
    assert (await by_hand(bench, "RESERVE (6)")).status is Status.GOOD
    prevented = await by_hand(bench, "PREVENT ALLOW MEDIUM REMOVAL", prevent=1)
    assert prevented.status is Status.GOOD
    assert not bench.lu.prevented_by
    assert (await bench.run(*write())).status == Status.GOOD
