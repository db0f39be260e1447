"""A controller that is gone: what initiators and operators are told, and its return."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api import methods
from scsi2nvme.cli.control import ask
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.happenings import HAPPENINGS
from tests.cli.serving import TWO_DISKS, running, serving
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.support import row

LUN_NOT_SUPPORTED = (5, 0x25, 0x00)
POWER_ON = (6, 0x29, 0x00)
REFUSED = ("TEST UNIT READY", "READ CAPACITY (10)", "MODE SENSE (10)", "SYNCHRONIZE CACHE (10)")


def served_alike(one: Initiator) -> None:
    """What every logical unit answers, there or not."""
    luns = one.command(0, row("REPORT LUNS").build(allocation_length=64), data_in=64)
    assert luns.data == bytes([0, 0, 0, 8]) + bytes(12)


def peripheral(one: Initiator, **fields: int) -> int:
    cdb = row("INQUIRY").build(allocation_length=255, **fields)
    return one.command(0, cdb, data_in=255).data[0]


def access_state(one: Initiator) -> int:
    cdb = row("REPORT TARGET PORT GROUPS").build(allocation_length=64)
    return one.command(0, cdb, data_in=64).data[4] & 0xF


def alive(one: Initiator) -> None:
    assert peripheral(one) == peripheral(one, evpd=1, page_code=0x83) == 0
    assert access_state(one) == 0
    assert one.command(0, bytes(6)).status == 0
    served_alike(one)


def gone(one: Initiator) -> None:
    """Spec: SPC-4 6.6.2 (001b: not connected), 6.37 (3h: unavailable)."""
    assert peripheral(one) == peripheral(one, evpd=1, page_code=0x83) == 0x20
    assert access_state(one) == 3
    for name in REFUSED:
        assert one.command(0, row(name).build()).sense_triple == LUN_NOT_SUPPORTED, name
    read = row("READ (10)").build(transfer_length=1)
    assert one.command(0, read, data_in=512).sense_triple == LUN_NOT_SUPPORTED
    write = row("WRITE (10)").build(transfer_length=1)
    assert one.command(0, write, data_out=bytes(512)).sense_triple == LUN_NOT_SUPPORTED
    sense = one.command(0, row("REQUEST SENSE").build(allocation_length=18), data_in=18).data
    assert (sense[2], sense[12], sense[13]) == LUN_NOT_SUPPORTED
    served_alike(one)


def test_a_controller_that_dies_and_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    configured = serving(tmp_path, *TWO_DISKS, port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            controller = daemon.served[0].controller
            assert isinstance(controller.transport, EmulatedTransport)
            one = Initiator(("127.0.0.1", port))
            other = Initiator(("127.0.0.1", port))
            with one, other:
                await asyncio.to_thread(one.login, daemon.served[0].iqn)
                await asyncio.to_thread(other.login, daemon.served[1].iqn)
                for each in (one, other):
                    await asyncio.to_thread(each.command, 0, bytes(6))
                    await asyncio.to_thread(alive, each)
                controller.transport.remove()
                before = HAPPENINGS.last
                controller.die("it was pulled out")
                await asyncio.to_thread(gone, one)
                await asyncio.to_thread(alive, other)
                listed = (await asyncio.to_thread(ask, tmp_path, methods.SHOW))["Controllers"]
                assert [(each["State"], each["Reason"]) for each in listed] == [
                    ("dead", "it was pulled out"),
                    ("live", ""),
                ]
                await asyncio.to_thread(main, ["list", "--state-dir", str(tmp_path)])
                controller.transport.insert()
                await controller.reset()
                told = [(each.kind, each.about) for each in HAPPENINGS.after(before)[0]]
                assert told == [
                    ("controller-dead", {"controller": "emulated:memory,size=1M,serial=A1"}),
                    ("disk-lost", {"disk": "A1", "namespace": "1"}),
                    ("controller-back", {"controller": "emulated:memory,size=1M,serial=A1"}),
                ]
                attention = await asyncio.to_thread(one.command, 0, bytes(6))
                assert attention.sense_triple == POWER_ON
                await asyncio.to_thread(alive, one)

    asyncio.run(work())
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines() if line.startswith("emulated:")]
    assert [words[-1] for words in rows] == ["dead", "live"]
    assert "serial=A1 is dead: it was pulled out" in shown
