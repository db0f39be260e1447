"""The change from one controller to another, as the hot path and the engine see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.nvme.command import AdminOpcode, Completed, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.status import Status
from scsi2nvme.service import PlaneDataPath, registry
from scsi2nvme.service.router import Router
from scsi2nvme.service.routing import ServedRoute
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import TUR, Bench, Controller, FakeNexus, played, settle, told, write
from tests.service.test_namespaces import Changed
from tests.support import SEVEN_STREAMS, row

SET = NvmeCommand(AdminOpcode.SET_FEATURES, cdw10=6, cdw11=1, admin=True)
UNSET = replace(SET, cdw11=0)


class Pair:
    """A bench's logical unit, by two controllers: the first is in use."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.alive = [True, True]
        self.settings: list[NvmeCommand] = []
        _, native = bench.service.add_controller(bench._overdue, bench._overdue)
        self.natives: list[Any] = [bench.plane_controller, native]
        self.executors = [bench.controller, Controller(bench.lu.facts)]
        self.routes = [self._route(index) for index in range(2)]

    def _route(self, index: int) -> ServedRoute:
        return ServedRoute(
            index + 1,
            self.bench.lu.facts,
            alive=lambda: self.alive[index],
            executor=self.executors[index],
            controller=self.natives[index],
            label=str(index),
            settings=lambda: self.settings,
        )

    def join(self) -> Router:
        self.bench.service.add_route(self.bench.lu, self.routes[1], self.routes[0])
        self.bench.ready()
        return self.bench.service._routers[self.bench.lu]

    def lose(self, index: int) -> None:
        self.alive[index] = False
        PlaneDataPath(self.bench.service, self.natives[index]).fail(StatusCode.HOST_PATHING_ERROR)

    def tell(self, index: int, state: AnaState) -> None:
        """A controller tells how it leads there."""
        router = self.bench.service._routers[self.bench.lu]
        router.heard(self.natives[index], self.facts(state))

    def facts(self, state: AnaState) -> NamespaceFacts:
        return replace(self.bench.lu.facts, ana_state=state)


@told
async def test_nothing_hot_begins_by_one_that_leads_elsewhere(bench: Bench) -> None:
    """From the call on: it may be resumed before anything else happens."""
    pair = Pair(bench)
    pair.join()
    assert not bench.unit.aside
    units = {bench.lu.nsid: bench.lu}
    bench.service.displaced(units, units, {}, pair.natives[0])
    assert bench.unit.aside
    await settle()
    await bench.drained()
    assert not bench.unit.aside
    assert not bench.unit.left
    assert bench.unit.moves == [pair.natives[1]]


@pytest.mark.parametrize("first", [0, 1])
def test_a_number_that_is_anothers_is_so_at_all_controllers(first: int) -> None:
    """Else what is meant for the former comes to that by the one that has not told of it yet."""

    async def story(bench: Bench) -> None:
        pair = Pair(bench)
        router = pair.join()
        others = {bench.lu.nsid: replace(bench.lu.facts, nguid=bytes(range(16)))}
        units = {bench.lu.nsid: bench.lu}
        bench.service.displaced(units, units, others, pair.natives[first])
        assert bench.lu.readiness is Readiness.FAILED
        assert bench.unit.recalls == [True, False][: 1 + first]
        await settle()
        assert bench.lu.readiness is Readiness.FAILED
        assert router.chosen is pair.routes[0]
        assert (await bench.run(*write())).sense == (5, 0x25, 0)
        assert bench.service.remove_route(bench.lu, pair.natives[first])
        assert not bench.service.remove_route(bench.lu, pair.natives[1 - first])

    told(story)()


@pytest.mark.parametrize("first", [0, 1])
def test_one_that_tells_of_the_namespace_again_is_taken(first: int) -> None:
    async def story(bench: Bench) -> None:
        pair = Pair(bench)
        pair.join()
        others = {bench.lu.nsid: replace(bench.lu.facts, nguid=bytes(range(16)))}
        units = {bench.lu.nsid: bench.lu}
        bench.service.displaced(units, units, others, pair.natives[first])
        assert bench.service.remove_route(bench.lu, pair.natives[first])
        event = Changed(frozenset(units), returned=False)
        bench.service.controller_event(
            units, event, {bench.lu.nsid: bench.lu.facts}, pair.natives[1 - first]
        )
        await settle()
        while bench.unit.drains:
            await bench.drained()
        bench.ready()
        bench.ready()
        assert (await bench.run(*write())).status == Status.GOOD

    told(story)()


@told
async def test_what_is_drained_stays_so_when_another_is_taken(bench: Bench) -> None:
    pair = Pair(bench)
    pair.join()
    stop = await bench.run(row("START STOP UNIT").build())
    token = bench.take_drain()
    pair.lose(0)
    assert bench.unit.aside
    assert bench.unit.drained
    await settle()
    assert stop.ended is None
    bench.plane.emit(EventType.DRAINED, cookie=token)
    await bench.drained()
    assert stop.status == Status.GOOD
    assert bench.unit.moves == [pair.natives[1]]


def test_a_group_is_written_by_one_that_has_no_streams() -> None:
    """Before the logical unit is what that says of it, and afterwards."""
    cdb = row("WRITE (10)").build(transfer_length=1, group=3)

    async def story(bench: Bench) -> None:
        bench.ready()
        pair = Pair(bench)
        pair.routes[1].facts = replace(bench.lu.facts, streams=None)
        pair.join()
        model = pair.executors[1].model
        model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD]
        pair.lose(0)
        assert (await bench.run(cdb, bytes(512))).status == Status.GOOD
        assert [command.cdw13 >> 16 for command in model.executed] == [3, 0]
        await settle()
        while bench.unit.drains:  # of the route that is taken, and for what it has refused
            await bench.drained()
            await settle()
        assert bench.unit.parameters.grouped_streams == 0
        bench.lu.unit_attentions[bench.nexus.key].clear()
        assert (await bench.run(cdb, bytes(512))).status == Status.GOOD
        assert [command.cdw13 >> 16 for command in model.executed] == [3, 0, 0]

    played(story, streams=SEVEN_STREAMS)


@told
async def test_none_is_left_while_it_is_reset(bench: Bench) -> None:
    """What it still has of commands that were aborted, and answered, ends with the reset."""
    pair = Pair(bench)
    router = pair.join()
    path = PlaneDataPath(bench.service, pair.natives[0])
    pair.natives[0].paused = True
    pair.tell(0, AnaState.NON_OPTIMIZED)
    assert router.chosen is pair.routes[0]
    path.resume()
    assert router.chosen is pair.routes[1]
    pair.natives[1].paused = True
    pair.tell(0, AnaState.OPTIMIZED)
    pair.tell(1, AnaState.NON_OPTIMIZED)
    assert router.chosen is pair.routes[1]
    pair.lose(1)  # it was not brought back: nobody waits for that
    assert router.chosen is pair.routes[0]


@told
async def test_a_reset_of_one_that_is_left_keeps_nothing_waiting(bench: Bench) -> None:
    """So what is aborted is not answered in the midst of it, but after it."""
    pair = Pair(bench)
    pair.join()
    unit = bench.service._registry.units[bench.lu]
    pair.natives[0].paused = True
    assert unit.paused
    pair.natives[0].paused = False
    pair.tell(0, AnaState.NON_OPTIMIZED)
    pair.natives[0].paused = True
    assert bench.unit.left
    assert not unit.paused
    await settle()
    await bench.drained()
    assert not bench.unit.left


@told
async def test_memory_is_used_no_more_by_one_that_is_left(bench: Bench) -> None:
    pair = Pair(bench)
    pair.join()
    unit = bench.service._registry.units[bench.lu]
    by = unit.by_lender("a", unit.lender)
    ends: list[int] = []

    def completed(outcome: tuple[Completion, ...] | BaseException) -> None:
        assert isinstance(outcome, tuple)
        ends.extend(each.status for each in outcome)

    flush = NvmeCommand(Opcode.FLUSH, nsid=bench.lu.nsid)
    by.start((flush,), completed)
    await settle()
    pair.tell(0, AnaState.INACCESSIBLE)
    by.start((flush,), completed)
    await settle()
    assert ends == [0, StatusCode.HOST_PATHING_ERROR]
    assert len(bench.controller.model.executed) == 1
    await bench.drained()


class Slow(Controller):
    """Calls somebody when it is first set something."""

    def __init__(self, facts: NamespaceFacts, meanwhile: Callable[[], None]) -> None:
        super().__init__(facts)
        self.meanwhile: Callable[[], None] | None = meanwhile
        self.seen: list[NvmeCommand] = []

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Any = None
    ) -> Callable[[], None]:
        self.seen += commands
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().start(commands, completed, party)


def slow(pair: Pair, meanwhile: Callable[[], None]) -> Slow:
    one = Slow(pair.bench.lu.facts, meanwhile)
    pair.executors[1] = one
    pair.routes[1].executor = one
    return one


def sent(one: Slow) -> Sequence[int]:
    return [each.cdw11 for each in one.seen]


@told
async def test_what_is_set_while_all_is_set_is_set_last(bench: Bench) -> None:
    pair = Pair(bench)
    pair.settings = [SET]
    one = slow(pair, lambda: pair.settings.__setitem__(0, UNSET))
    pair.join()
    await settle()
    assert sent(one) == [1, 0]
    assert pair.routes[1].leads


@told
async def test_all_is_set_of_one_that_is_lost_before_it_is(bench: Bench) -> None:
    """The other has to be taken then, and does not know what was set while it was away."""
    pair = Pair(bench)
    pair.settings = [SET]
    pair.routes[1].settings = tuple
    one = slow(pair, lambda: None)
    pair.join()
    pair.lose(0)
    await settle()
    assert sent(one) == [1]
    await bench.drained()


@told
async def test_one_that_is_lost_while_all_is_set_is_not_in_line(bench: Bench) -> None:
    pair = Pair(bench)
    pair.settings = [SET]

    def lost() -> None:
        pair.lose(1)
        pair.alive[1] = True  # again, and nothing was heard of it

    slow(pair, lost)
    pair.join()
    await settle()
    assert not pair.routes[1].leads


def held(pair: Pair) -> Controller:
    """Have the second controller keep what it is set until it is let, and be the better one."""
    pair.settings = [SET]
    pair.executors[1].held = True
    pair.join()
    pair.tell(0, AnaState.NON_OPTIMIZED)
    return pair.executors[1]


@told
async def test_one_that_is_heard_of_while_all_is_set_is_not_taken_before(bench: Bench) -> None:
    pair = Pair(bench)
    one = held(pair)
    await settle()
    pair.tell(1, AnaState.OPTIMIZED)
    assert not pair.routes[1].leads
    assert not bench.unit.aside
    await one.release()
    assert pair.routes[1].leads
    await bench.drained()
    assert bench.unit.moves == [pair.natives[1]]


@told
async def test_one_that_is_lost_again_is_in_line_when_all_was_set_anew(bench: Bench) -> None:
    pair = Pair(bench)
    one = held(pair)
    await settle()
    for _ in range(2):
        pair.lose(1)
        pair.alive[1] = True
        pair.tell(1, AnaState.OPTIMIZED)
        await settle()
    *before, (_, last) = one.waiting
    for _, turn in before:
        if not turn.done():
            turn.set_result(None)
    await settle()
    assert not pair.routes[1].leads
    last.set_result(None)
    await settle()
    assert pair.routes[1].leads
    await bench.drained()


@told
async def test_nothing_more_is_set_by_one_that_leads_there_no_more(bench: Bench) -> None:
    pair = Pair(bench)
    one = held(pair)
    await settle()
    assert bench.service.remove_route(bench.lu, pair.natives[1])
    await settle()
    ((_, turn),) = one.waiting
    assert turn.cancelled()


@told
async def test_one_that_is_being_closed_is_not_waited_for(bench: Bench) -> None:
    pair = Pair(bench)
    pair.settings = [SET]
    pair.executors[1].broken = RuntimeError("it is closed")
    pair.join()
    await settle()
    assert pair.routes[1].leads


@pytest.mark.parametrize(("fid", "times"), [(0x0E, 1), (0x0C, 2)])
def test_data_that_are_set_meanwhile_are_set_unless_they_are_a_time(fid: int, times: int) -> None:
    async def story(bench: Bench) -> None:
        pair = Pair(bench)
        pair.settings = [replace(SET, cdw10=fid, data_out=b"a" * 8)]
        later = replace(pair.settings[0], data_out=b"b" * 8)
        one = slow(pair, lambda: pair.settings.__setitem__(0, later))
        pair.join()
        await settle()
        assert len(one.seen) == times
        assert pair.routes[1].leads

    told(story)()


@told
async def test_a_unit_is_served_again_whose_last_controller_led_elsewhere(bench: Bench) -> None:
    pair = Pair(bench)
    pair.join()
    units = {bench.lu.nsid: bench.lu}
    pair.lose(1)
    bench.service.displaced(units, units, {}, pair.natives[0])
    assert bench.service.remove_route(bench.lu, pair.natives[0])
    pair.alive[1] = True
    pair.tell(1, AnaState.OPTIMIZED)
    await settle()
    await bench.drained()
    await settle()
    bench.ready()
    assert (await bench.run(TUR)).status == Status.GOOD
    assert (await bench.run(*write())).status == Status.GOOD


@told
async def test_pieces_of_firmware_are_not_the_others(bench: Bench) -> None:
    pair = Pair(bench)
    pair.join()
    bench.lu.firmware.begin("a", 1, 7)
    pair.lose(0)
    assert bench.lu.firmware.sender == ""
    await settle()
    await bench.drained()


@told
async def test_a_controller_stays_while_tasks_may_have_its_memory(bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FIRST_PAUSE_S", 0.0)
        bench.service.remove_unit(bench.lu)
        await settle()
        removing = bench.service._background.spawn(
            bench.service.remove_controller(bench.plane_controller.cookie, bench.plane_controller)
        )
        assert (await bench.aborted(1))["query"]
        assert not bench.plane_controller.pauses
        while not bench.plane_controller.pauses:
            await bench.aborted(0)
        removing.cancel()


def test_what_is_joined_is_known(fakes: None) -> None:
    async def story(bench: Bench) -> None:
        pair = Pair(bench)
        assert not bench.service.is_joined(pair.natives[0])
        pair.join()
        assert all(map(bench.service.is_joined, pair.natives))
        bench.service.remove_route(bench.lu, pair.natives[0])
        await settle()
        await bench.drained()
        assert all(map(bench.service.is_joined, pair.natives))  # tasks may have its memory
        bench.service.remove_unit(bench.lu)
        assert not any(map(bench.service.is_joined, pair.natives))

    told(story)()


@told
async def test_what_cannot_be_joined_leaves_nothing_behind(bench: Bench) -> None:
    def refuse(controller: Any) -> None:
        raise OSError("no memory")

    pair = Pair(bench)
    executor = bench.service._registry.units[bench.lu].executor
    bench.plane_nexus.prepare = refuse
    with pytest.raises(OSError, match="no memory"):
        bench.service.add_route(bench.lu, pair.routes[1], pair.routes[0])
    assert not any(map(bench.service.is_joined, pair.natives))
    assert not bench.lu.routes.every
    assert bench.service._registry.units[bench.lu].executor is executor
    assert not bench.service.remove_route(bench.lu, pair.natives[1])
    del bench.plane_nexus.prepare
    pair.join()
    assert bench.lu.routes.several


@told
async def test_a_nexus_that_cannot_be_opened_leaves_nothing_behind(bench: Bench) -> None:
    """Not even where its first LUNs could be mapped: whatever changes, all of it is told."""

    def refuse(nexus: FakeNexus, lun: int, unit: Any) -> None:
        if lun:
            raise OSError("no memory")

    served = bench.service._registry
    nexuses, paths = dict(served.nexuses), served.units[bench.lu].all_paths()
    nexus = Nexus(PortName("another"), PortName("target"), {0: bench.lu, 1: bench.lu})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeNexus, "map", refuse)
        with pytest.raises(OSError, match="no memory"):
            bench.service.open_nexus(nexus)
    assert (served.nexuses, served.units[bench.lu].all_paths()) == (nexuses, paths)
    assert nexus not in bench.lu.nexuses
