"""Whose commands hang in the controller leaves queue pairs and memory to others."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial

import pytest

from scsi2nvme.background import until_ended
from scsi2nvme.drivers.emulated.model import MDTS
from scsi2nvme.drivers.nvme import execution
from scsi2nvme.drivers.nvme.admin import LogPage, get_features
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.command import Completion, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.log_page import get_log_page
from tests.drivers.nvme.test_giving_up import SECONDS, controller

FLUSH = NvmeCommand(Opcode.FLUSH, nsid=1)
READ = NvmeCommand(Opcode.READ, nsid=1, data_in=512)
OTHER_READ = NvmeCommand(Opcode.READ, nsid=1, cdw10=99, data_in=512)
LARGE_READ = NvmeCommand(Opcode.READ, nsid=1, cdw12=1023, data_in=1 << 19)
SMART = get_log_page(LogPage.SMART, 0xFFFFFFFF, 512)
FEATURE = get_features(6)
LOGS_HANG = "get-log-page:hang:after=1"
READS_HANG = "read:hang:lba=0-9"
HOSTILE = 4


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing that hangs at the end."""
    monkeypatch.setattr("scsi2nvme.drivers.nvme.controller._DRAIN_S", 0.01)


def flood(opened: Controller, command: NvmeCommand, party: Hashable, count: int) -> None:
    for _ in range(count):
        opened.start((command,), lambda _: None, party)


async def executed(opened: Controller, party: Hashable, *commands: NvmeCommand) -> list[int]:
    work = until_ended(partial(opened.start, commands, party=party))
    completions: tuple[Completion, ...] = await asyncio.wait_for(work, SECONDS)
    return [completion.status for completion in completions]


@pytest.mark.parametrize(
    ("fault", "command", "other"),
    [(READS_HANG, READ, FLUSH), (READS_HANG, LARGE_READ, OTHER_READ), (LOGS_HANG, SMART, FEATURE)],
    ids=["entries", "memory", "admin"],
)
@pytest.mark.parametrize("party", ["other", None])
def test_hanging_commands_leave_room_to_others(
    fault: str, command: NvmeCommand, other: NvmeCommand, party: Hashable
) -> None:
    async def story() -> None:
        async with controller(fault) as opened:
            for number in range(HOSTILE):
                flood(opened, command, number, 130)
            await asyncio.sleep(0)
            assert await executed(opened, party, other) == [0]
            assert await executed(opened, party, *[other] * 5) == [0] * 5

    asyncio.run(story())


@pytest.mark.parametrize("depth", [3, 4, 9, 33])
def test_a_fused_pair_finds_room(depth: int) -> None:
    pair = (
        NvmeCommand(Opcode.COMPARE, nsid=1, data_out=bytes(512), fuse=Fuse.FIRST),
        NvmeCommand(Opcode.WRITE, nsid=1, data_out=bytes(512), fuse=Fuse.SECOND),
    )

    async def story() -> None:
        async with controller(depth=depth) as opened:
            flood(opened, OTHER_READ, "one", 50)
            pairs = [executed(opened, party, *pair) for party in ("one", "other") for _ in range(5)]
            assert await asyncio.gather(*pairs) == [[0, 0]] * len(pairs)

    asyncio.run(story())


def test_more_than_there_is_room_for_goes_on_step_by_step() -> None:
    async def story() -> None:
        async with controller(depth=4) as opened:
            assert await executed(opened, "one", *[OTHER_READ] * 20) == [0] * 20

    asyncio.run(story())


def test_an_abort_goes_by_what_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(execution, "_URGE_S", 0.01)
    monkeypatch.setattr(execution, "_INSIST_S", SECONDS)

    async def story() -> None:
        async with controller(LOGS_HANG, READS_HANG) as opened:
            for number in range(50):
                flood(opened, SMART, number, 4)
            ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            stop = opened.start((READ,), ended.set_result, "one")
            await asyncio.sleep(0)
            stop()
            await asyncio.wait_for(ended, SECONDS)

    asyncio.run(story())
    assert "is not wanted any more: aborted" in caplog.text
    assert "controller reset" not in caplog.text


MOST = 1 << MDTS << 3  # blocks of one command
# 8 MiB from LBA 1, cut where commands of that length begin.
PIECES = (MOST - 1, *[MOST] * ((8 << 20) // 512 // MOST - 1), 1)


def test_what_is_cut_within_pages_has_room() -> None:
    reads = [NvmeCommand(Opcode.READ, 1, cdw12=n - 1, data_in=512 * n) for n in PIECES]

    async def story() -> None:
        async with controller(size_bytes=16 << 20) as opened:
            assert await executed(opened, "one", *reads) == [0] * len(reads)

    asyncio.run(story())


def test_nothing_is_left_of_what_is_too_much() -> None:
    async def story() -> None:
        async with controller() as opened:
            with pytest.raises(ValueError, match="together"):
                await opened.execute(*[NvmeCommand(Opcode.READ, 1, data_in=2 << 20)] * 5)

    asyncio.run(asyncio.wait_for(story(), SECONDS))
