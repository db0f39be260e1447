"""Commands that change one zone run one after the other, in the order in which they came."""

from __future__ import annotations

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.scsi.status import Status
from tests.model_zones import ModelZones
from tests.service.bench import Bench, Story, played, settle, write
from tests.support import row

ZONE, PIECE = 1024, 32  # in blocks; the controller moves so many at once


def on_zones(story: Story) -> None:
    """Play a story on four zones; the controller holds its commands."""

    async def begin(bench: Bench) -> None:
        ModelZones(bench.controller.model)
        bench.ready()
        bench.controller.held = True
        await story(bench)

    played(begin, zones=Zones(ZONE, ZONE))


async def let_all_end(bench: Bench) -> None:
    while bench.controller.waiting:
        assert len(bench.controller.waiting) == len({at // ZONE for at in bench.controller.slbas})
        await bench.controller.release()


def reset(**fields: int) -> bytes:
    return row("RESET WRITE POINTER").build(**fields)


def test_queued_writes_keep_their_order() -> None:
    async def story(bench: Bench) -> None:
        tasks = [bench.submit(*write(at, PIECE + 8)) for at in range(0, 400, PIECE + 8)]
        await settle()
        assert bench.controller.slbas == [0]  # the first piece of the first
        await let_all_end(bench)
        assert [task.status for task in tasks] == [Status.GOOD] * 10

    on_zones(story)


def test_other_zones_and_the_rest_do_not_wait() -> None:
    async def story(bench: Bench) -> None:
        for at in (0, ZONE, 1, 2 * ZONE):
            bench.submit(*write(at))
        bench.submit(row("READ (10)").build(lba=3 * ZONE, transfer_length=1))
        await settle()
        assert sorted(bench.controller.slbas) == [0, ZONE, 2 * ZONE, 3 * ZONE]
        await let_all_end(bench)
        assert [task.status for task in bench.tasks] == [Status.GOOD] * 5

    on_zones(story)


def test_a_reset_waits_for_what_came_before_and_what_comes_later_for_it() -> None:
    async def story(bench: Bench) -> None:
        bench.submit(*write(0))
        bench.submit(reset(zone_id=0))
        bench.submit(*write(0))
        bench.submit(*write(ZONE))
        bench.submit(reset(all=1))
        bench.submit(*write(ZONE))
        await settle()
        assert bench.controller.opcodes == [Opcode.WRITE, Opcode.WRITE]
        await let_all_end(bench)
        assert [task.status for task in bench.tasks] == [Status.GOOD] * 6

    on_zones(story)


def test_what_is_aborted_while_it_waits_is_not_written() -> None:
    async def story(bench: Bench) -> None:
        first, second = (bench.submit(*write(at)) for at in (0, 1))
        await settle()
        await bench.abort(second)
        await let_all_end(bench)
        assert first.status == Status.GOOD
        assert [each.slba for each in bench.controller.model.executed] == [0]

    on_zones(story)


def test_the_hot_path_reads_zones() -> None:
    async def story(bench: Bench) -> None:
        assert bench.plane_nexus.aside == {0: False}

    on_zones(story)
