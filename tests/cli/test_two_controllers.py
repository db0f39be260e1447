"""Two controllers of one disk: one logical unit in two target port groups, and its failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from scsi2nvme.api import methods
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.daemon.front_ends.front_end import Served
from scsi2nvme.cli.daemon.paths import paths
from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.spec import parse
from scsi2nvme.cli.verbs.list import namespaces
from scsi2nvme.commands.target_port_groups import TO_SET, TO_SET_HEADER
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.cli.serving import running, serving
from tests.cli.test_inventory import luns, read, sent, triple, written
from tests.commands.test_vpd_pages import designators as taken_apart
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row
from tests.waiting import eventually

OPTIMIZED, NON_OPTIMIZED, UNAVAILABLE = 0, 1, 3
ONE, OTHER = 2, 3  # their target port groups: those of controllers 1 and 2
STATE_CHANGED, POWER_ON = (6, 0x2A, 6), (6, 0x29, 0)
BLOCK = 512


def specs(directory: Path, *options: str) -> list[str]:
    """Return the SPECs of a disk's two controllers; options of the first and the second."""
    return [
        f"emulated:{directory / 'disk'},size=1M,controller={number}{more}"
        for number, more in zip((1, 2), options or ("", ""), strict=True)
    ]


class Twins:
    """A daemon with both controllers, an initiator at the target of each, and another one."""

    def __init__(self, daemon: Daemon, *initiators: Initiator) -> None:
        self.daemon = daemon
        self.one, self.other, self.third = initiators

    @property
    def lu(self) -> LogicalUnit:
        (lu,) = {lu for served in self.daemon.served for lu in served.units.values()}
        return lu

    def pull(self, index: int) -> None:
        """Have one of the controllers be gone."""
        controller = self.daemon.served[index].controller
        assert isinstance(controller.transport, EmulatedTransport)
        controller.transport.remove()
        controller.die("it was pulled out")

    def transport(self, index: int) -> EmulatedTransport:
        transport = self.daemon.served[index].controller.transport
        assert isinstance(transport, EmulatedTransport)
        return transport

    async def active(self, group: int) -> None:
        """Wait until commands go by the controller of a group."""

        def is_so() -> bool:
            active = self.lu.routes.active
            return active is not None and active.group == group

        await eventually(is_so, f"group {group} is in use")


@asynccontextmanager
async def twins(directory: Path, *options: str) -> AsyncIterator[Twins]:
    port = free_port()
    configured = serving(directory, *specs(directory, *options), port=port)
    async with running(configured) as daemon:
        with ExitStack() as stack:
            both = Twins(
                daemon,
                *(
                    stack.enter_context(Initiator(("127.0.0.1", port), f"iqn.2026-11.test:{name}"))
                    for name in ("host", "host", "third")
                ),
            )
            for each, number in ((both.one, 0), (both.other, 1), (both.third, 0)):
                await asyncio.to_thread(each.login, daemon.served[number].iqn)
                await asyncio.to_thread(each.hear)
            yield both


def ways(both: Twins) -> list[tuple[int, bool, str, str]]:
    """Return what `list` shows of each controller."""
    shown = list(paths(both.daemon.served))
    assert "yes" in namespaces.paths({"Paths": shown})
    return [(row["Group"], row["InUse"], row["Access"], row["Way"]) for row in shown]


async def groups(one: Initiator) -> dict[int, tuple[int, int, list[int]]]:
    """Return state, status code and ports of each target port group."""
    cdb = row("REPORT TARGET PORT GROUPS").build(allocation_length=255)
    data = (await sent(one, 0, cdb, data_in=255)).data[4:]
    found = {}
    while data:
        count = data[7]
        ports = [int.from_bytes(data[at + 2 : at + 4], "big") for at in range(8, 8 + 4 * count, 4)]
        found[int.from_bytes(data[2:4], "big")] = (data[0], data[5], ports)
        data = data[8 + 4 * count :]
    return found


async def designators(one: Initiator) -> dict[tuple[int, int], bytes]:
    cdb = row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=1024)
    data = (await sent(one, 0, cdb, data_in=1024)).data[4:]
    return {(association, kind): value for association, kind, value in taken_apart(data)}


async def set_groups(one: Initiator, *wanted: tuple[int, int]) -> ScsiResult:
    data = bytes(TO_SET_HEADER.size)
    for group, state in wanted:
        data += TO_SET.build(access_state=state, target_port_group=group)
    cdb = row("SET TARGET PORT GROUPS").build(parameter_list_length=len(data))
    return await sent(one, 0, cdb, data_out=data)


def test_one_without_a_port_group_costs_itself_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    why = "first_port_group: no target port group is left for controller 2 of its disk"

    async def work() -> None:
        configured = serving(tmp_path, *specs(tmp_path), port=free_port())
        async with running(replace(configured, first_port_group=0xFFFF)) as daemon:
            assert [one.portal_group for one in daemon.served] == [0xFFFF]
            states = [(row["State"], row["Reason"]) for row in daemon.controllers.states()]
            assert states[0] == ("live", "")
            assert states[1][0] == "not served"
            assert why in states[1][1]

    asyncio.run(work())
    assert why in caplog.text


def test_two_controllers_are_one_logical_unit(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path) as both:
            one, other = both.one, both.other
            assert await luns(one) == await luns(other) == [0]
            here, there = await designators(one), await designators(other)
            assert {key: value for key, value in here.items() if key[0] == 0} == {
                key: value for key, value in there.items() if key[0] == 0
            }
            for kind in (4, 5):  # relative target port, target port group
                assert (here[1, kind][3], there[1, kind][3]) == (ONE, OTHER)
            expected = {ONE: (OPTIMIZED, 0, [ONE]), OTHER: (NON_OPTIMIZED, 0, [OTHER])}
            assert await groups(one) == await groups(other) == expected
            inquiry = row("INQUIRY").build(allocation_length=96)
            assert (await sent(one, 0, inquiry, data_in=96)).data[5] >> 4 & 3 == 3
            await written(one, 0, 5)
            assert await read(other, 0) == bytes([5]) * BLOCK
            await written(other, 0, 6)
            assert await read(one, 0) == bytes([6]) * BLOCK

    asyncio.run(work())


def test_initiators_set_which_controller_is_used(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path) as both:
            one, other = both.one, both.other
            assert (await set_groups(other, (OTHER, OPTIMIZED))).status == 0
            assert await triple(one, 0) == STATE_CHANGED
            assert await triple(other, 0) is None
            await both.active(OTHER)
            assert await groups(one) == {
                ONE: (NON_OPTIMIZED, 1, [ONE]),
                OTHER: (OPTIMIZED, 1, [OTHER]),
            }
            await written(one, 0, 7)
            assert await read(other, 0) == bytes([7]) * BLOCK
            assert (await set_groups(other, (OTHER, NON_OPTIMIZED))).status == 0
            await both.active(ONE)
            assert await triple(one, 0) == STATE_CHANGED
            back = (ONE, OPTIMIZED), (OTHER, NON_OPTIMIZED)
            assert (await set_groups(one, *back)).status == 0
            assert await triple(other, 0) is None  # nothing has changed
            for wrong in (
                [(1, OPTIMIZED)],
                [(ONE, 2)],
                [(ONE, UNAVAILABLE)],
                [(ONE, OPTIMIZED), (OTHER, OPTIMIZED)],
                [(ONE, NON_OPTIMIZED), (OTHER, NON_OPTIMIZED)],
            ):
                assert (await set_groups(one, *wrong)).sense_triple == (5, 0x26, 0), wrong
            assert ways(both) == [
                (ONE, True, "active/optimized", "optimized"),
                (OTHER, False, "active/non-optimized", "optimized"),
            ]
            both.pull(1)
            assert (await set_groups(one, (OTHER, OPTIMIZED))).sense_triple == (4, 0x67, 0x0A)
            await written(one, 0, 8)
            assert ways(both)[1] == (OTHER, False, "active/non-optimized", "lost")

    asyncio.run(work())


WRITE_CACHE = 0x06  # a feature
MODE_SELECT = row("MODE SELECT (6)").build(pf=1, parameter_list_length=24)
WRITE_THROUGH = bytes([0, 0, 0, 0, 0x08, 18, 0]) + bytes(17)  # the Caching page, without WCE
ORWRITE, COMPARE_AND_WRITE = row("ORWRITE (16)"), row("COMPARE AND WRITE")


async def keep_writing(port: Initiator, lba: int, counts: list[int]) -> None:
    """Write a block, each time from what it was, and see that it is so; count the rounds."""
    before = bytes(BLOCK)
    await ok(port, row("WRITE (10)").build(lba=lba, transfer_length=1), data_out=before)
    for count in range(1, 60):
        data = bytes([count]) * BLOCK
        if count % 3 == 0:
            cdb = COMPARE_AND_WRITE.build(lba=lba, number_of_blocks=1)
            await ok(port, cdb, data_out=before + data)
        elif count % 3 == 1:
            cdb = row("WRITE (10)").build(lba=lba, transfer_length=1)
            await ok(port, cdb, data_out=data)
        else:
            await ok(port, ORWRITE.build(lba=lba, transfer_length=1), data_out=data)
            data = (int.from_bytes(before) | int.from_bytes(data)).to_bytes(BLOCK)
        read_cdb = row("READ (10)").build(lba=lba, transfer_length=1)
        assert (await ok(port, read_cdb, data_in=BLOCK)).data == data, count
        before = data
        counts[lba] = count


async def stuck(both: Twins, commands: int) -> bool:
    """Whether nothing has ended while others could do much, with so many commands under way."""
    turns = 30
    before = both.lu.statistics().begun
    for _ in range(turns):
        await triple(both.third, 0)
    now = both.lu.statistics()
    return now.begun == before + turns and now.under_way == commands


@pytest.mark.parametrize("what", ["read", "write", "compare"])
def test_no_command_fails_when_a_controller_is_lost(tmp_path: Path, what: str) -> None:
    """What is under way on it, hot or cold, and what comes, goes by the other one."""

    async def work() -> None:
        async with twins(tmp_path, f",fault={what}:hang:after=20", "") as both:
            counts = [0, 0]
            load = [
                asyncio.create_task(keep_writing(port, lba, counts))
                for lba, port in enumerate((both.one, both.other))
            ]
            while not await stuck(both, 2):
                for each in load:
                    assert not each.done(), each.result()
            both.pull(0)
            await asyncio.gather(*load)
            assert counts == [59, 59]
            await both.active(OTHER)
            assert (await groups(both.one))[OTHER][0] == OPTIMIZED
            assert both.lu.statistics().failures.keys() <= {0x02062A06, 0x02062900}

    asyncio.run(work())


def test_what_a_controller_that_is_given_up_still_has_is_not_done(tmp_path: Path) -> None:
    """It would be done after what has come since."""

    async def work() -> None:
        async with twins(tmp_path, ",fault=write:delay=1000:lba=0-0", "") as both:
            cdb = row("WRITE (10)").build(transfer_length=1)
            clock = asyncio.get_running_loop().time
            itt = await asyncio.to_thread(both.one.begin, 0, cdb, data_out=bytes([1]) * BLOCK)
            await eventually(lambda: both.lu.statistics().under_way, "it has begun")
            while not await stuck(both, 1):
                assert both.lu.statistics().under_way, "it was not late"
            over = clock() + 1.2  # when the controller would have done it
            both.daemon.served[0].controller.die("it does not answer, nor can it be reset")
            result = await asyncio.to_thread(both.one.finish, itt, 0)
            assert result.status == 0, result.sense_triple
            await ok(both.other, cdb, data_out=bytes([2]) * BLOCK)
            await asyncio.sleep(over - clock())
            assert await read(both.other, 0) == bytes([2]) * BLOCK

    asyncio.run(work())


async def ok(one: Initiator, cdb: bytes, **data: object) -> ScsiResult:
    """Send a command, again where all that is told is that access has changed."""
    result = await sent(one, 0, cdb, **data)
    if result.status and result.sense_triple == STATE_CHANGED:
        result = await sent(one, 0, cdb, **data)
    assert result.status == 0, result.sense_triple
    return result


def test_a_state_that_a_controller_tells_is_followed(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path, ",ana=optimized", ",ana=non-optimized") as both:
            one = both.one
            await both.active(ONE)
            both.transport(0).set_ana(AnaState.INACCESSIBLE)
            await both.active(OTHER)
            assert await triple(one, 0) == STATE_CHANGED
            await written(one, 0, 9)
            assert {group: state for group, (state, _, _) in (await groups(one)).items()} == {
                ONE: NON_OPTIMIZED,
                OTHER: NON_OPTIMIZED,
            }
            both.transport(0).set_ana(AnaState.OPTIMIZED)
            await both.active(ONE)
            assert await triple(one, 0) == STATE_CHANGED
            assert await read(one, 0) == bytes([9]) * BLOCK

    asyncio.run(work())


def test_a_namespace_that_goes_from_one_controller_stays_by_the_other(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path) as both:
            one, other = both.one, both.other
            await written(one, 0, 4)
            both.transport(0).detach(1)
            await eventually(lambda: not both.daemon.served[0].units, "it has gone there")
            await both.active(OTHER)
            await eventually(lambda: not both.daemon.controllers._following.locked(), "followed")
            with pytest.raises(OperationError, match="stays until the daemon ends"):
                both.daemon.controllers.check_going(0)  # tasks may have its memory
            assert await triple(one, 0) == (5, 0x25, 0)
            while (attention := await triple(other, 0)) is not None:
                assert attention == STATE_CHANGED
            assert await read(other, 0) == bytes([4]) * BLOCK
            assert await groups(other) == {OTHER: (OPTIMIZED, 2, [OTHER])}
            both.transport(0).detach()
            await eventually(lambda: both.daemon.served[0].units, "it is back")
            await eventually(lambda: not both.daemon.controllers._following.locked(), "followed")
            assert both.lu.routes.several
            await asyncio.to_thread(one.hear)
            assert await read(one, 0) == bytes([4]) * BLOCK
            assert (await groups(one)).keys() == {ONE, OTHER}

    asyncio.run(work())


def test_one_that_is_back_interrupts_nobody(tmp_path: Path) -> None:
    """What goes by the other one has no memory that the one that is back must know again."""
    renewed: list[LogicalUnit] = []

    async def work() -> None:
        async with twins(tmp_path) as both:

            async def renew(units: Container[LogicalUnit]) -> None:
                renewed.extend(lu for lu in [both.lu] if lu in units)

            for front_end in both.daemon.front_ends:
                front_end.renew = renew  # type: ignore[method-assign]
            both.pull(1)
            both.transport(1).insert()
            await both.daemon.served[1].controller.reset()
            await eventually(lambda: both.lu.routes.every[1].leads, "it is in line")
            await eventually(lambda: not both.daemon.controllers._following.locked(), "followed")

    asyncio.run(work())
    assert renewed == []


def test_what_was_set_while_one_was_lost_is_set_in_it(tmp_path: Path) -> None:
    """Else a write through the one that is back could be in a cache that was turned off."""

    async def cached(both: Twins, index: int) -> int:
        feature = admin.get_features(WRITE_CACHE)
        (completion,) = await both.daemon.served[index].controller.execute(feature)
        assert not completion.status
        return completion.dw0

    async def work() -> None:
        async with twins(tmp_path) as both:
            assert (await cached(both, 0), await cached(both, 1)) == (1, 1)
            both.pull(1)
            await ok(both.one, MODE_SELECT, data_out=WRITE_THROUGH)
            assert await cached(both, 0) == 0
            both.transport(1).insert()
            await both.daemon.served[1].controller.reset()
            await eventually(lambda: both.lu.routes.every[1].leads, "it is in line")
            assert await cached(both, 1) == 0
            both.pull(0)
            await both.active(OTHER)
            await asyncio.to_thread(both.one.hear)
            assert await read(both.one, 0) == bytes(BLOCK)

    asyncio.run(work())


def test_each_target_is_shown_with_its_own_controller(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path) as both:
            shown = await asyncio.to_thread(ask, tmp_path, methods.SHOW)
            numbers = [[lun["Controller"] for lun in each["LUNs"]] for each in shown["Targets"]]
            assert numbers == [[0], [1]]
            with pytest.raises(OperationError, match="one of two ways"):
                both.daemon.controllers.check_going(1)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (",readonly=on", "", "the options of both have to be equal"),
        ("", ",tell=ctrl.mdts:1", "the controllers are not alike in MDTS"),
        ("", ",tell=ns.noiob:8", "the controllers do not tell the same of it"),
        (
            ",rescap=on,reservations=disk",
            ",rescap=on,reservations=disk,tell=ctrl.ctratt:0",
            "the controllers take host identifiers of different lengths",
        ),
    ],
)
def test_what_is_not_alike_is_not_joined(
    tmp_path: Path, first: str, second: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    configured = serving(tmp_path, *specs(tmp_path, first, second), port=free_port())

    async def work() -> None:
        async with running(configured) as daemon:
            assert [len(served.units) for served in daemon.served] == [1, 0]

    asyncio.run(work())
    assert f"is the same one, and {reason}" in caplog.text


def test_the_last_controller_is_lost_and_one_returns(tmp_path: Path) -> None:
    async def work() -> None:
        async with twins(tmp_path) as both:
            one = both.one
            await written(one, 0, 3)
            both.pull(0)
            await both.active(OTHER)
            both.pull(1)
            assert await triple(one, 0) == (5, 0x25, 0)
            both.transport(0).insert()
            await both.daemon.served[0].controller.reset()
            await both.active(ONE)
            while (attention := await triple(one, 0)) is not None:
                assert attention in (STATE_CHANGED, POWER_ON)
            assert await read(one, 0) == bytes([3]) * BLOCK

    asyncio.run(work())


def test_one_that_comes_while_the_other_one_goes_has_its_namespaces_alone(tmp_path: Path) -> None:
    """What is removed with the one that goes is not what the other one has just joined."""
    first, second = specs(tmp_path)
    port = free_port()
    configured = serving(tmp_path, first, port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            controllers, (front_end,) = daemon.controllers, daemon.front_ends
            leave = front_end.leave

            async def leave_late(one: Served) -> None:
                target = replace(daemon.settings.targets[0], spec=parse(second))
                came = await controllers.come(target)
                assert not came.units  # what still is under way by the first is not overtaken
                with pytest.raises(OperationError, match="being removed already"):
                    controllers.check_going(0)
                await leave(one)

            front_end.leave = leave_late  # type: ignore[method-assign]
            await controllers.go(0)
            (left,) = daemon.served
            assert left.units.keys() == {1}
            with Initiator(("127.0.0.1", port), "iqn.2026-11.test:host") as one:
                await asyncio.to_thread(one.login, left.iqn)
                await asyncio.to_thread(one.hear)
                await written(one, 0, 2)
            controllers.check_going(1)

    asyncio.run(work())
