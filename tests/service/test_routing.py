"""NVMe commands that go by whichever controller leads to the namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from scsi2nvme.nvme.command import AdminOpcode, Completed, Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.service.routing import LOST, UNCERTAIN, RouteExecutor, ServedRoute
from tests.support import make_facts

READ = NvmeCommand(Opcode.READ, nsid=1)
WRITE = NvmeCommand(Opcode.WRITE, nsid=1)
COMPARE = NvmeCommand(Opcode.COMPARE, nsid=1, fuse=Fuse.FIRST)
SECOND = NvmeCommand(Opcode.WRITE, nsid=1, fuse=Fuse.SECOND)
FORMAT = NvmeCommand(AdminOpcode.FORMAT_NVM, nsid=1, admin=True)
SET = NvmeCommand(AdminOpcode.SET_FEATURES, cdw10=6, cdw11=1, admin=True)
INACCESSIBLE, GOOD = StatusCode.ANA_INACCESSIBLE, StatusCode.SUCCESS


@dataclass
class Device:
    """Executes by the statuses that are planned for it, or good; None: when `answer` says so."""

    plan: list[int | None] = field(default_factory=list)
    seen: list[tuple[NvmeCommand, ...]] = field(default_factory=list)
    stopped: int = 0
    alive: bool = True
    waiting: list[tuple[int, Completed]] = field(default_factory=list)

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Any = None
    ) -> Callable[[], None]:
        self.seen.append(commands)
        statuses = [self.plan.pop(0) if self.plan else 0 for _ in commands]
        if None in statuses:
            self.waiting.append((len(commands), completed))
        else:
            completed(tuple(Completion(status or 0) for status in statuses))
        return self.stop

    def stop(self) -> None:
        self.stopped += 1

    def answer(self, status: int) -> None:
        count, completed = self.waiting.pop()
        completed((Completion(status),) * count)


class Pair:
    """Two controllers, of which the first is chosen until it does not lead there."""

    def __init__(self, first: Sequence[int | None], second: Sequence[int | None] = ()) -> None:
        self.devices = Device(list(first)), Device(list(second))
        self.every = [
            ServedRoute(
                number,
                make_facts(),
                alive=lambda device=device: device.alive,  # type: ignore[misc]
                executor=device,  # type: ignore[arg-type]
                controller=None,  # type: ignore[arg-type]
                label=str(number),
            )
            for number, device in enumerate(self.devices)
        ]
        self.chosen = self.every[0]

    def choose(self) -> None:
        self.chosen = min(self.every, key=lambda route: route.rank)

    def run(self, *commands: NvmeCommand) -> list[tuple[int, ...]]:
        """Run commands together; what they have ended with is appended to what is returned."""
        ends: list[tuple[int, ...]] = []

        def completed(outcome: tuple[Completion, ...] | BaseException) -> None:
            assert isinstance(outcome, tuple)
            ends.append(tuple(each.status for each in outcome))

        self.stop = RouteExecutor(self).start(commands, completed)
        return ends


def lose(pair: Pair) -> None:
    pair.devices[0].alive = False


def test_all_goes_by_the_one_that_is_chosen() -> None:
    pair = Pair([0, StatusCode.WRITE_FAULT])
    assert pair.run(READ, WRITE) == [(0, StatusCode.WRITE_FAULT)]
    assert [device.seen for device in pair.devices] == [[(READ, WRITE)], []]


def test_what_a_lost_one_had_goes_by_the_other() -> None:
    pair = Pair([0, LOST, LOST])
    lose(pair)
    pair.chosen = pair.every[0]
    assert pair.run(READ, WRITE, READ) == [(0, 0, 0)]
    assert pair.devices[1].seen == [(WRITE, READ)]


@pytest.mark.parametrize("commands", [(FORMAT,), (COMPARE, SECOND)])
def test_what_must_not_be_repeated_is_uncertain(commands: tuple[NvmeCommand, ...]) -> None:
    pair = Pair([LOST] * len(commands))
    lose(pair)
    assert pair.run(*commands) == [(UNCERTAIN,) * len(commands)]
    assert pair.devices[1].seen == []


def test_what_was_refused_was_not_executed() -> None:
    pair = Pair([INACCESSIBLE])
    assert pair.run(FORMAT) == [(0,)]
    assert pair.every[0].refused
    assert pair.chosen is pair.every[1]


def test_a_namespace_that_one_has_lost_may_be_another_one_by_the_other() -> None:
    """It may have been deleted, and its number given to another namespace."""
    pair = Pair([StatusCode.INVALID_NAMESPACE])
    assert pair.run(WRITE) == [(StatusCode.INVALID_NAMESPACE,)]
    assert not pair.devices[1].seen


def test_where_none_leads_there_it_fails_once() -> None:
    pair = Pair([INACCESSIBLE], [INACCESSIBLE])
    assert pair.run(READ) == [(INACCESSIBLE,)]
    assert [len(device.seen) for device in pair.devices] == [1, 1]


def test_memory_of_one_controller_is_not_given_to_another() -> None:
    class Memory:
        def slice(self, offset: int, length: int) -> Memory:
            return self

        def view(self) -> memoryview:
            return memoryview(bytearray(512))

    pair = Pair([LOST])
    lose(pair)
    lent = NvmeCommand(Opcode.READ, nsid=1, data_in=512, memory=Memory())
    assert pair.run(lent) == [(UNCERTAIN,)]


def test_who_is_stopped_is_not_sent_again() -> None:
    pair = Pair([None])
    ends = pair.run(WRITE)
    pair.stop()
    assert pair.devices[0].stopped == 1
    lose(pair)
    pair.devices[0].answer(LOST)
    assert ends == [(UNCERTAIN,)]
    assert pair.devices[1].seen == []


def test_what_is_set_is_set_by_both() -> None:
    pair = Pair([0], [None])
    ends = pair.run(SET)
    assert pair.devices[1].seen == [(SET,)]
    assert ends == []  # not before both have it
    pair.devices[1].answer(GOOD)
    assert ends == [(0,)]


def test_what_cannot_be_set_is_set_nowhere_else() -> None:
    pair = Pair([StatusCode.INVALID_FIELD])
    assert pair.run(SET) == [(StatusCode.INVALID_FIELD,)]
    assert pair.devices[1].seen == []


def test_one_that_is_closed_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    def closed(*_: object) -> Callable[[], None]:
        raise RuntimeError("closed")

    pair = Pair([0])
    pair.devices[1].start = closed  # type: ignore[method-assign,assignment]
    assert pair.run(SET) == [(0,)]
    assert "cannot be set" in caplog.text


def test_a_lost_one_is_set_nothing() -> None:
    pair = Pair([0])
    pair.devices[1].alive = False
    assert pair.run(SET) == [(0,)]
    assert pair.devices[1].seen == []
