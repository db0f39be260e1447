"""Namespaces that come and go while the daemon serves them, as initiators see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.api.configuration import ConfigFile, InitiatorTable
from scsi2nvme.cli.daemon import inventory
from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.drivers.emulated.capabilities.namespace_management import Management
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from scsi2nvme.service import registry
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.cli.serving import running, serving
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row
from tests.waiting import eventually

LUN_NOT_SUPPORTED = (5, 0x25, 0x00)
POWER_ON = (6, 0x29, 0x00)
CAPACITY_CHANGED = (6, 0x2A, 0x09)
REPORTED_LUNS_CHANGED = (6, 0x3F, 0x0E)
DISK = "emulated:memory,size=1M,namespaces=3"
R2T = 0x31
HANG = 1  # the emulated controller's fault
MASKED = "iqn.2026-11.test:masked"


async def sent(one: Initiator, lun: int, cdb: bytes, **data: Any) -> ScsiResult:
    return await asyncio.to_thread(one.command, lun, cdb, **data)


async def luns(one: Initiator) -> list[int]:
    cdb = row("REPORT LUNS").build(allocation_length=256)
    data = (await sent(one, 0, cdb, data_in=256)).data
    return [data[offset + 1] for offset in range(8, len(data), 8)]


async def triple(one: Initiator, lun: int) -> tuple[int, int, int] | None:
    result = await sent(one, lun, bytes(6))
    return result.sense_triple if result.status else None


async def peripheral(one: Initiator, lun: int) -> int:
    cdb = row("INQUIRY").build(allocation_length=255)
    return (await sent(one, lun, cdb, data_in=255)).data[0]


async def written(one: Initiator, lun: int, byte: int) -> None:
    data = bytes([byte]) * 512
    assert (
        await sent(one, lun, row("WRITE (10)").build(transfer_length=1), data_out=data)
    ).status == 0
    assert await read(one, lun) == data


async def read(one: Initiator, lun: int) -> bytes:
    return (await sent(one, lun, row("READ (10)").build(transfer_length=1), data_in=512)).data


async def changed(daemon: Daemon, *detached: int) -> None:
    """Have the controller lose these namespaces and no others, and wait until that was followed."""
    served = daemon.served[0]
    assert isinstance(served.controller.transport, EmulatedTransport)
    served.controller.transport.detach(*detached)
    wanted = {1, 2, 3} - set(detached)
    await eventually(
        lambda: set(served.units) == wanted and not daemon.controllers._following.locked(),
        f"the namespaces are {wanted}",
    )


def test_luns_follow_the_namespaces(tmp_path: Path) -> None:
    port = free_port()
    known = InitiatorTable("iqn.2026-11.test:initiator")
    masked = InitiatorTable(MASKED, luns=(0, 1))
    configured = serving(tmp_path, DISK, port=port, config=ConfigFile(initiators=(known, masked)))

    async def work() -> None:
        async with running(configured) as daemon:
            one = Initiator(("127.0.0.1", port))
            masked = Initiator(("127.0.0.1", port), MASKED)
            with one, masked:
                for each in (one, masked):
                    await asyncio.to_thread(each.login, daemon.served[0].iqn)
                    for lun in await luns(each):
                        assert await triple(each, lun) == POWER_ON
                assert (await luns(one), await luns(masked)) == ([0, 1, 2], [0, 1])
                await written(one, 2, 0x5A)

                await changed(daemon, 3)
                assert [await triple(one, lun) for lun in range(3)] == [
                    *[REPORTED_LUNS_CHANGED] * 2,
                    LUN_NOT_SUPPORTED,
                ]
                assert await luns(one) == [0, 1]
                assert await peripheral(one, 2) == 0x7F
                assert await triple(masked, 0) is None  # nothing changed for it

                await changed(daemon)
                assert await triple(one, 2) == POWER_ON
                assert await triple(one, 0) == REPORTED_LUNS_CHANGED
                assert await luns(one) == [0, 1, 2]
                assert await triple(one, 1) is None  # REPORT LUNS told it
                assert await peripheral(one, 2) == 0
                assert await read(one, 2) == b"\x5a" * 512
                await written(one, 2, 0xA5)
                assert await luns(masked) == [0, 1]

                await changed(daemon, 1, 2, 3)
                assert await luns(one) == []
                assert await triple(one, 0) == LUN_NOT_SUPPORTED
                await changed(daemon, 2)
                assert await triple(masked, 0) == POWER_ON
                assert (await luns(one), await luns(masked)) == ([0, 2], [0])

    asyncio.run(work())


def replaced(transport: EmulatedTransport) -> None:
    """Have another namespace under number 1, of which nobody is told."""
    transport._model.state.namespaces[0].birth += 1


def formatted(transport: EmulatedTransport) -> None:
    """Have other blocks in namespace 1, of which nobody is told."""
    model = transport._model
    model.state.namespaces[0].block_bytes = 4096
    model.attach(model.state.namespaces[0])


@pytest.mark.parametrize(
    ("becomes", "told"),
    [(replaced, LUN_NOT_SUPPORTED), (formatted, CAPACITY_CHANGED)],
)
def test_a_reset_carries_no_write_to_other_blocks_than_it_was_for(
    becomes: Callable[[EmulatedTransport], None], told: tuple[int, int, int], tmp_path: Path
) -> None:
    """What was under way, or queued, is told so; it is not placed again."""
    port = free_port()
    configured = serving(tmp_path, DISK, port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            served = daemon.served[0]
            transport = served.controller.transport
            assert isinstance(transport, EmulatedTransport)
            address = ("127.0.0.1", port)
            with Initiator(address) as one, Initiator(address, MASKED) as other:
                for each in (one, other):
                    await asyncio.to_thread(each.login, served.iqn)
                    for lun in await luns(each):
                        assert await triple(each, lun) == POWER_ON
                transport.emulator.add_fault(action=HANG, opcode=Opcode.WRITE, count=2)
                write, data = row("WRITE (10)").build(lba=3, transfer_length=1), b"\x77" * 512
                units = served.units[1], served.units[2]

                def count() -> list[int]:
                    return [daemon.service.unit_statistics(lu)[0].begun for lu in units]

                begun = count()
                tags = [
                    await asyncio.to_thread(each.begin, lun, write, data_out=data)
                    for lun, each in enumerate((one, other))
                ]
                await eventually(lambda: all(map(int.__lt__, begun, count())), "they have begun")
                becomes(transport)
                await served.controller.reset()
                ended = [
                    await asyncio.to_thread(each.finish, tag, lun, data)
                    for lun, (each, tag) in enumerate(zip((one, other), tags, strict=True))
                ]
                assert ended[0].sense_triple == told
                assert ended[1].status == 0
                block = served.controller.namespaces[1].block_bytes
                command = NvmeCommand(Opcode.READ, 1, cdw10=3, data_in=block)
                (completion,) = await served.controller.execute(command)
                assert (completion.status, completion.data) == (0, bytes(block))

    asyncio.run(work())


def test_another_namespace_under_a_number_is_another_logical_unit(tmp_path: Path) -> None:
    """It may have come between two looks: initiators must not go on as if it were the first."""
    port = free_port()
    configured = serving(tmp_path, DISK, port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            served = daemon.served[0]
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, served.iqn)
                for lun in await luns(one):
                    assert await triple(one, lun) == POWER_ON
                before = served.units[2]
                facts = served.controller.namespaces
                facts[2] = replace(facts[2], nguid=b"\x99" * 16)
                await daemon.controllers._follow(
                    served, ControllerEvent(0, 0, 0, namespaces=frozenset({2}))
                )
                assert served.units[2] is not before
                assert await triple(one, 1) == POWER_ON
                assert await triple(one, 0) == REPORTED_LUNS_CHANGED

    asyncio.run(work())


def test_what_goes_on_with_one_namespace_keeps_no_other_from_being_followed(
    tmp_path: Path,
) -> None:
    """Whoever uses the other would go on with what has come in its place, under the old name."""
    disk = "emulated:memory,size=1M,namespaces=3,capacity=8M"

    async def work() -> None:
        async with running(serving(tmp_path, disk, port=free_port())) as daemon:
            (served,) = daemon.served
            transport = served.controller.transport
            assert isinstance(transport, EmulatedTransport)
            first, second = served.units[1], served.units[2]
            unit = daemon.service._registry.units[first]
            under_way = unit.try_share([])  # as a long copy does
            assert under_way is not None
            for blocks in range(4096, 4096 + 5):
                transport.resize(1, blocks)
                is_followed = partial(lambda n: first.capacity_blocks == n, blocks)
                await eventually(is_followed, "it is followed")
            transport.resize(3, 4096)
            await eventually(lambda: served.units[3].capacity_blocks == 4096, "so is another")
            transport.detach(2)
            await eventually(lambda: 2 not in served.units, "one that goes is followed")
            assert second not in daemon.service._registry.units
            assert sum(map(len, unit.lock._waiting.values())) <= 1  # however often
            assert unit.parameters.blocks == 2048
            under_way()
            await eventually(lambda: unit.parameters.blocks == 4100, "the hot path knows")
            assert not unit.in_use

    asyncio.run(work())


def test_what_was_meant_for_a_namespace_does_not_come_to_another_under_its_number(
    tmp_path: Path,
) -> None:
    """The initiator is slow: some of its data come when the other is there already."""
    size = 3 << 20
    port, write = free_port(), row("WRITE (10)").build(transfer_length=size // 512)
    disk = "emulated:memory,size=4M,namespaces=2,capacity=32M"

    async def work() -> None:
        async with running(serving(tmp_path, disk, port=port)) as daemon:
            (served,) = daemon.served
            transport, before = served.controller.transport, served.units[2]
            assert isinstance(transport, EmulatedTransport)
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, served.iqn)
                await asyncio.to_thread(one.hear, 1)
                data = b"\7" * size
                itt = await asyncio.to_thread(one.begin, 1, write, data_out=data)
                asked = await asyncio.to_thread(one.receive)
                await asyncio.to_thread(one._answer_r2t, asked, 1, data)
                asked = await asyncio.to_thread(one.receive)
                assert asked.opcode == R2T
                management = transport._admin.part(Management)
                management.delete(2)
                block = IDENTIFY_NAMESPACE.build(nsze=8192, ncap=8192)
                assert management.create(IDENTIFY_NAMESPACE.parse(block)) == 2
                management.attach(2, attached=True)
                await eventually(
                    lambda: served.units.get(2) not in (None, before), "another is there"
                )
                while asked.opcode == R2T:
                    await asyncio.to_thread(one._answer_r2t, asked, 1, data)
                    asked = await asyncio.to_thread(one.receive)
                assert asked.itt == itt
                assert asked.scsi_status
                await asyncio.to_thread(one.hear, 1)
                for lba in range(0, size // 512, 128):
                    cdb = row("READ (10)").build(lba=lba, transfer_length=128)
                    assert not any((await sent(one, 1, cdb, data_in=65536)).data)

    asyncio.run(work())


def test_a_unit_that_is_gone_is_freed_when_nothing_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "FIRST_PAUSE_S", 0.01)
    port = free_port()
    configured = serving(tmp_path, f"{DISK},fault=read:delay=400:lba=5-5", port=port)
    slow = row("READ (10)").build(lba=5, transfer_length=1)

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            retired = daemon.service._registry._retired
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, served.iqn)
                await asyncio.to_thread(one.hear)
                while (await sent(one, 1, bytes(6))).status:
                    pass
                lu = served.units[2]
                itt = await asyncio.to_thread(one.begin, 1, slow, data_in=512)
                await eventually(lambda: lu.statistics().under_way, "it has begun")
                await changed(daemon, 2)
                (unit,) = retired
                assert not unit.closed
                result = await asyncio.to_thread(one.finish, itt, 1)
                assert result.status == 0
                await eventually(lambda: not retired, "it is freed")
                assert unit.closed
                for number in range(20):
                    await changed(daemon, *([2] if number % 2 else [2, 3]))
                await eventually(lambda: not retired, "all are freed")
                while (await sent(one, 0, bytes(6))).status:
                    pass
                await written(one, 0, 7)

    asyncio.run(work())


@pytest.mark.parametrize("serial", ["OTHER", "SAME"])
def test_a_new_namespace_must_not_have_the_name_of_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, serial: str
) -> None:
    """Both are named by model and serial number, unless these are the same, too: it stays out."""
    specs = [
        f"emulated:{tmp_path / name},size=1M,namespaces=3,serial={own},identifiers=SAME"
        for name, own in (("a.img", serial), ("b.img", "SAME"))
    ]
    configured = serving(tmp_path, *specs, port=free_port())

    async def work() -> None:
        async with running(configured) as daemon:
            first, second = daemon.served
            for one in (first, second):
                assert isinstance(one.controller.transport, EmulatedTransport)
                one.controller.transport.detach(1, 2, 3)
            await eventually(lambda: not first.units and not second.units, "all are gone")
            second.controller.transport.detach(1, 2)  # type: ignore[attr-defined]
            if serial == "OTHER":
                await eventually(lambda: set(second.units) == {3}, "one is back")
                assert not second.units[3].ambiguous
            else:
                await eventually(
                    lambda: any("(not there now" in line for line in caplog.messages),
                    "it is kept from the name of the one that is gone",
                )
                assert not second.units
            first.controller.transport.detach(1)  # type: ignore[attr-defined]
            await eventually(lambda: 2 in first.units, "the others are back")
            if serial == "OTHER":
                assert set(first.units) == {2, 3}
                assert first.units[3].ambiguous
                assert second.units[3].ambiguous
            else:
                assert set(first.units) == {2, 3}
                assert not second.units

    asyncio.run(work())
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert ("cannot be told from" in told) == (serial == "SAME")


def test_a_namespace_whose_state_is_damaged_stays_out_and_others_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured = serving(tmp_path, DISK, port=free_port())

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            store = daemon.controllers._inventory._store
            key = f"mode/{served.units[2].state_key}"
            await changed(daemon, 1, 2, 3)
            store.path(key).write_text("{")
            assert isinstance(served.controller.transport, EmulatedTransport)
            served.controller.transport.detach(1)
            await eventually(
                lambda: set(served.units) == {3} and not daemon.controllers._following.locked(),
                "the sound one is served",
            )

    asyncio.run(work())
    assert not any(record.exc_info for record in caplog.records)
    (line,) = [each for each in caplog.messages if "damaged" in each]
    assert line.startswith(f"namespace 2 of controller {DISK!r} is not served: saved state ")


def test_a_namespace_that_goes_wrong_in_an_unexpected_way_stays_out_and_others_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = serving(tmp_path, DISK, port=free_port())

    def odd(facts: NamespaceFacts, *arguments: Any, **options: Any) -> LogicalUnit:
        if facts.nsid == 2:
            raise ValueError("what nobody expected")
        return LogicalUnit(facts, *arguments, **options)

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            await changed(daemon, 1, 2, 3)
            monkeypatch.setattr(inventory, "LogicalUnit", odd)
            assert isinstance(served.controller.transport, EmulatedTransport)
            served.controller.transport.detach()
            await eventually(
                lambda: set(served.units) == {1, 3} and not daemon.controllers._following.locked(),
                "the sound ones are served",
            )

    asyncio.run(work())
    (line,) = [each for each in caplog.messages if "is not served" in each]
    assert line.startswith(f"namespace 2 of controller {DISK!r} is not served: ValueError(")
    assert "Traceback" in caplog.text


def test_state_that_cannot_be_saved_is_told_and_does_not_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    configured = serving(tmp_path, DISK, port=port)
    register = row("PERSISTENT RESERVE OUT, REGISTER").build(parameter_list_length=24)
    keys = row("PERSISTENT RESERVE IN, READ KEYS").build(allocation_length=64)
    key = bytes(8) + (7).to_bytes(8, "big") + bytes([0, 0, 0, 0, 1, 0, 0, 0])  # APTPL

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            path = daemon.controllers._inventory._store.path(
                f"reservations-{served.units[1].state_key}"
            )
            obstacle = path.with_name(f"{path.name}.new")
            obstacle.mkdir()
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, served.iqn)
                await asyncio.to_thread(one.hear)
                assert (await sent(one, 0, register, data_out=key)).sense_triple == (4, 0x44, 0)
                assert (await sent(one, 0, keys, data_in=64)).data == bytes(8)
                obstacle.rmdir()
                assert (await sent(one, 0, register, data_out=key)).status == 0
                assert (await sent(one, 0, keys, data_in=64)).data[8:] == key[8:16]

    asyncio.run(work())
    assert not any(record.exc_info for record in caplog.records)
    assert any("cannot be saved: Is a directory" in line for line in caplog.messages)
