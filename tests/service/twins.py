"""Two benches to which the same happens, one of which keeps no answers; and what may happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from scsi2nvme.fields import Values
from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.task_management import TaskManagement
from scsi2nvme.service import PlaneDataPath
from scsi2nvme.service.answers import KeptAnswers
from scsi2nvme.service.names import Verdict
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.mode_pages.caching import CACHING
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.mode_pages.page import ModePage, PageControl
from scsi2nvme.unit.ports import PortName
from tests.service.bench import (
    Bench,
    reserve_out,
    settle,
)
from tests.support import row

ALL = 0xFF

# What is asked after everything that happens.
PROBES = (
    row("INQUIRY").build(allocation_length=ALL),
    *(
        row("INQUIRY").build(evpd=1, page_code=code, allocation_length=ALL)
        for code in (0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8A, 0x92, 0xB0, 0xB1, 0xB2, 0xDE)
    ),
    *(row("MODE SENSE (6)").build(pc=pc, page_code=0x3F, allocation_length=ALL) for pc in range(4)),
    row("MODE SENSE (10)").build(page_code=0x08, allocation_length=ALL, llbaa=1),
    row("READ CAPACITY (10)").build(),
    row("READ CAPACITY (16)").build(allocation_length=ALL),
    row("REPORT LUNS").build(allocation_length=ALL),
    row("REPORT TARGET PORT GROUPS").build(allocation_length=ALL),
    row("REPORT IDENTIFYING INFORMATION").build(information_type=2, allocation_length=ALL),
    row("REPORT SUPPORTED OPERATION CODES").build(allocation_length=0xFFFF),
    row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS").build(allocation_length=ALL),
    *(
        row(f"PERSISTENT RESERVE IN, {name}").build(allocation_length=ALL)
        for name in ("READ KEYS", "READ RESERVATION", "REPORT CAPABILITIES", "READ FULL STATUS")
    ),
)
ELSEWHERE = bytes([0, 1, *bytes(6)])  # a LUN that leads to no logical unit at first


class Forgetful(KeptAnswers):
    """Keeps nothing."""

    def find(self, nexus: object, kind: object) -> bytes | None:
        return None


class Pair(Bench):
    """A bench with a second nexus."""

    def __init__(self, kind: type[KeptAnswers]) -> None:
        super().__init__()
        self.other, self.plane_other = self.open("b")
        self.third: Any = None
        self.visible = {0: self.lu}
        registry = self.service._registry
        registry.answers = kind(registry.epoch)
        for opened in registry.nexuses.values():
            opened.nexus.visible = lambda: self.visible
        self.path = PlaneDataPath(self.service, self.plane_controller)
        self.service.start()
        self.ready(self.nexus, self.other)

    async def ended(self, work: asyncio.Task[Any] | None = None) -> list[Any]:
        """Wait for what was handed over, and `work`; return how the tasks ended."""
        for _ in range(200):
            await settle()
            pauses = self.plane_controller.pauses
            if self.unit.drains:
                await self.drained()
            elif self.plane.aborts:
                await self.aborted()
            elif pauses:
                self.plane.emit(EventType.DRAINED, cookie=pauses.pop())
            elif (work is None or work.done()) and all(task.ended for task in self.tasks):
                results = [task.ended for task in self.tasks]
                self.tasks.clear()
                return results
        raise AssertionError("it does not end")

    async def ask(self) -> list[Any]:
        """Return how all that is kept is answered, at both nexuses."""
        for plane_nexus in (self.plane_nexus, self.plane_other):
            for cdb in PROBES:
                self.submit(cdb, plane_nexus=plane_nexus)
            self.submit(PROBES[0], lun=ELSEWHERE, plane_nexus=plane_nexus)
        return await self.ended()


Act = Callable[[Pair], Awaitable[object]]


class Twins:
    """Two benches to which the same happens, one of which keeps no answers."""

    def __init__(self) -> None:
        self.both = (Pair(KeptAnswers), Pair(Forgetful))
        self.answers: list[Any] = []

    async def ask(self) -> None:
        """Compare how both answer; once more, as asking may have taken unit attentions."""
        for _ in range(2):
            self.answers, expected = [await each.ask() for each in self.both]
            assert self.answers == expected

    async def do(self, act: Act) -> None:
        """Let something happen to both, to the same effect, and ask."""
        told = []
        for each in self.both:
            work = asyncio.get_running_loop().create_task(_coroutine(act(each)))
            told.append(await each.ended(work))
            work.result()
        assert told[0] == told[1]
        await self.ask()

    async def stop(self) -> None:
        for each in self.both:
            await each.stop()


async def _coroutine(awaitable: Awaitable[object]) -> None:
    await awaitable


def twins(story: Callable[[Twins], Awaitable[None]]) -> None:
    async def work() -> None:
        both = Twins()
        await both.ask()
        await story(both)
        await both.stop()

    asyncio.run(work())


# What happens


def command(name: str, data: bytes = b"", *, by_other: bool = False, **fields: int) -> Act:
    async def act(bench: Pair) -> None:
        plane_nexus = bench.plane_other if by_other else bench.plane_nexus
        bench.submit(row(name).build(**fields), data, plane_nexus=plane_nexus)

    return act


def reservation(action: str, key: int, new: int = 0, **fields: int) -> Act:
    async def act(bench: Pair) -> None:
        bench.submit(*reserve_out(action, key, new, **fields))

    return act


def select(page: ModePage, *, save: int = 0, **fields: int) -> Act:
    """Have fields of a mode page set."""

    async def act(bench: Pair) -> None:
        values = bytearray(bench.lu.mode.values(page, PageControl.CURRENT))
        if page.feature is not None:
            feature = bench.controller.model.features[page.feature.identifier]
            page.layout.write(values, **{page.feature.field: feature})
        page.layout.write(values, **fields)
        data = bytes(8) + page.with_header(bytes(values), saveable=False)
        cdb = row("MODE SELECT (10)").build(pf=1, sp=save, parameter_list_length=len(data))
        bench.submit(cdb, data)

    return act


def block_length(length: int) -> Act:
    data = bytes([0, 0, 0, 8]) + bytes(5) + length.to_bytes(3, "big")
    return command("MODE SELECT (6)", data, pf=1, parameter_list_length=len(data))


def namespace(**values: int | bytes) -> Act:
    """Have the namespace change."""

    async def act(bench: Pair) -> None:
        bench.controller.model.change_namespace(**values)
        await told_of(bench, bench.controller.model.facts)

    return act


@dataclass(frozen=True)
class Changed:
    namespaces: frozenset[int] = frozenset({1})
    returned: bool = False
    health: Values | None = None
    log_id: int = 0


async def told_of(bench: Pair, facts: NamespaceFacts | None, *, returned: bool = False) -> None:
    found = {} if facts is None else {1: facts}
    event = Changed(returned=returned)
    await asyncio.gather(*bench.service.controller_event({1: bench.lu}, event, found))


async def gone(bench: Pair) -> None:
    await told_of(bench, None)


async def there(bench: Pair) -> None:
    await told_of(bench, bench.controller.model.facts)


async def limited(bench: Pair) -> None:
    await bench.service.limit(bench.lu, 1 << 20)


async def nameless(bench: Pair) -> None:
    bench.service.judged(bench.lu, Verdict.MODEL)


async def read_only(bench: Pair) -> None:
    bench.lu.read_only = True


async def physical_blocks(bench: Pair) -> None:
    bench.lu.maximum_physical_block_bytes = 512


async def ports(bench: Pair) -> None:
    bench.lu.target_ports = (PortName("iqn.2004-01.test:second", portal_group_tag=7),)


async def another_port(bench: Pair) -> None:
    initiator = PortName("iqn.2004-01.test:c", b"c".rjust(6, b"\0"))
    nexus = Nexus(initiator, PortName("iqn.2004-01.test:target", portal_group_tag=9), {0: bench.lu})
    bench.third = nexus, bench.service.open_nexus(nexus)


async def unit_reset(bench: Pair) -> None:
    function = TaskManagement.LOGICAL_UNIT_RESET
    await bench.service.task_management(function, bench.nexus, bench.plane_nexus, 0, 5)


async def reset_from_beyond(bench: Pair) -> None:
    bench.service.unit_was_reset(bench.lu)


async def controller_reset(bench: Pair) -> None:
    """Its features return to their defaults."""
    await bench.path.pause()
    bench.controller.model.features = dict(bench.controller.model.default_features)
    bench.path.resume()


async def settings_lost(bench: Pair) -> None:
    bench.controller.model.features[0x06] = 0
    bench.service.settings_lost([bench.lu])


async def lost(bench: Pair) -> None:
    bench.path.fail(0x370)


async def back(bench: Pair) -> None:
    await told_of(bench, bench.controller.model.facts, returned=True)


async def seen_elsewhere(bench: Pair) -> None:
    bench.visible = {0: bench.lu, 1: bench.lu}
    bench.service.inventory_changed()


async def not_seen(bench: Pair) -> None:
    bench.visible = {}
    bench.service.inventory_changed()


async def removed(bench: Pair) -> None:
    bench.visible = {}
    bench.service.inventory_changed()
    if bench.lu in bench.service._registry.units:
        bench.service.remove_unit(bench.lu)


NO_CACHE = select(CACHING, wce=0)
DESCRIPTORS = select(CONTROL, d_sense=1)

# Each changes what somebody is answered.
CHANGES: dict[str, tuple[Act, ...]] = {
    "a mode page": (DESCRIPTORS,),
    "a saved mode page": (DESCRIPTORS, select(CONTROL, save=1, tas=0)),
    "write protection": (select(CONTROL, swp=1),),
    "a feature": (NO_CACHE,),
    "a saved feature": (select(CACHING, save=1, wce=0),),
    "what is saved of a mode page": (DESCRIPTORS, select(CONTROL, save=1)),
    "what is saved of a feature": (NO_CACHE, select(CACHING, save=1)),
    "a block length to be": (block_length(4096),),
    "a format": (block_length(4096), command("FORMAT UNIT")),
    "an immediate format": (
        block_length(4096),
        command("FORMAT UNIT", bytes([0, 0x82, 0, 0]), fmtdata=1),
    ),
    "a namespace that grew": (namespace(nsze=8192, ncap=8192),),
    "a namespace of other limits": (namespace(noiob=64, nsfeat=0x10, npwg=7),),
    "a namespace that is gone": (gone,),
    "a namespace that came back": (gone, there),
    "a limit": (limited,),
    "a name that is another's": (nameless,),
    "a unit that is to be read only": (read_only,),
    "a physical block": (namespace(nsfeat=0x10, npwg=7), physical_blocks),
    "a port": (ports,),
    "a nexus at another port": (another_port,),
    "a reset": (DESCRIPTORS, unit_reset),
    "a reset of what the controller has": (NO_CACHE, unit_reset),
    "a reset from beyond": (NO_CACHE, reset_from_beyond),
    "a reset of the controller": (NO_CACHE, controller_reset),
    "settings that a reset undid": (settings_lost,),
    "a controller that is lost": (lost,),
    "a controller that is back": (lost, back),
    "another LUN": (seen_elsewhere,),
    "a LUN that is gone": (not_seen,),
    "a unit that is gone": (removed,),
    "a unit that is reserved": (command("RESERVE (6)"),),
    "a unit that is released": (command("RESERVE (6)"), command("RELEASE (6)")),
    "a registration": (reservation("REGISTER", 0, 7),),
    "a reservation": (
        reservation("REGISTER", 0, 7),
        reservation("RESERVE", 7, scope=0, type=3),
    ),
    "a reservation that is released": (
        reservation("REGISTER", 0, 7),
        reservation("RESERVE", 7, scope=0, type=3),
        reservation("RELEASE", 7, scope=0, type=3),
    ),
    "a reservation that is cleared": (
        reservation("REGISTER", 0, 7),
        reservation("RESERVE", 7, scope=0, type=3),
        reservation("CLEAR", 7),
    ),
    "a stop": (command("START STOP UNIT"),),
    "a start": (command("START STOP UNIT"), command("START STOP UNIT", start=1)),
}
