"""Namespaces of the emulated controller that come, go and change. Spec: NVMe Base 2.0c 8.12."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.namespace_management import RESIZE
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
)
from tests.drivers.emulated.host import MIB, Host, admin, identify, on_host

ALL = 0xFFFFFFFF
CHANGED = 2 | 4 << 16  # namespace attribute changed, told of in log 04h
managed: dict[str, Any] = {"size_bytes": 4 * MIB, "capacity": 16 * MIB}


def create(blocks: int, **fields: int) -> NvmeCommand:
    data = IDENTIFY_NAMESPACE.build(**{"nsze": blocks, "ncap": blocks, **fields})
    return admin(AdminOpcode.NAMESPACE_MANAGEMENT, data_out=data)


def delete(nsid: int) -> NvmeCommand:
    return admin(AdminOpcode.NAMESPACE_MANAGEMENT, 1, nsid=nsid)


def attachment(select: int, nsid: int, *controllers: int) -> NvmeCommand:
    data = struct.pack(f"<{1 + len(controllers)}H", len(controllers), *controllers)
    return admin(
        AdminOpcode.NAMESPACE_ATTACHMENT, select, nsid=nsid, data_out=data.ljust(4096, b"\0")
    )


def attach(nsid: int) -> NvmeCommand:
    return attachment(0, nsid, 0)


def detach(nsid: int) -> NvmeCommand:
    return attachment(1, nsid, 0)


async def nsids(host: Host, cns: int, after: int = 0) -> list[int]:
    data = await host.ok(identify(cns, after))
    return [nsid for nsid in struct.unpack("<1024I", data) if nsid]


async def space(host: Host) -> tuple[int, int]:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    return controller.tnvmcap // MIB, controller.unvmcap // MIB


async def namespace(host: Host, nsid: int, cns: int = 0) -> Values:
    return IDENTIFY_NAMESPACE.parse(await host.ok(identify(cns, nsid)))


async def created(host: Host, blocks: int) -> int:
    completion = await host.execute(create(blocks))
    assert completion.status == 0
    return completion.dw0


@on_host(**managed)
async def test_a_namespace_comes_and_goes(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (controller.oacs & 8, controller.nn) == (8, 16)
    assert await space(host) == (16, 12)
    assert await created(host, 2048) == 2
    assert (await nsids(host, 0x02), await nsids(host, 0x10)) == ([1], [1, 2])
    assert not any((await namespace(host, 2)).raw)
    assert (await namespace(host, 2, 0x11)).nsze == 2048
    assert not any(await host.ok(identify(0x12, 2)))
    await host.ok(attach(2))
    assert await nsids(host, 0x02) == [1, 2]
    assert (await host.ok(identify(0x12, 2)))[:4] == bytes([1, 0, 0, 0])
    assert (await namespace(host, 2)).nvmcap == MIB
    assert await space(host) == (16, 11)
    await host.ok(delete(2))
    assert (await nsids(host, 0x02), await nsids(host, 0x10)) == ([1], [1])
    assert await space(host) == (16, 12)
    await host.ok(delete(ALL))
    assert (await nsids(host, 0x02), await space(host)) == ([], (16, 16))


@on_host(**managed)
async def test_another_under_a_number_has_another_name(host: Host) -> None:
    before = await host.ok(identify(3, 1))
    await host.ok(delete(1))
    assert await created(host, 8192) == 1
    await host.ok(attach(1))
    after = await host.ok(identify(3, 1))
    assert before[:3] == after[:3]
    assert not {before[4:12], before[16:32], before[36:52]} & {
        after[4:12],
        after[16:32],
        after[36:52],
    }


@on_host(**managed)
async def test_common_data_of_all_namespaces(host: Host) -> None:
    common = await namespace(host, ALL)
    assert (common.nsze, common.nlbaf) == (0, 1)
    assert common.bytes("lbafs") == (await namespace(host, 1)).bytes("lbafs")


@on_host(**managed)
async def test_what_is_gone_is_not_found_and_what_comes_is_empty(host: Host) -> None:
    await host.create_queue()
    write = NvmeCommand(Opcode.WRITE, 1, cdw12=0, data_out=b"\x5a" * 512)
    await host.ok(write, 1)
    await host.ok(detach(1))
    assert (await host.execute(write, 1)).status & 0x7FF == StatusCode.INVALID_NAMESPACE
    await host.ok(attach(1))
    read = NvmeCommand(Opcode.READ, 1, data_in=512)
    assert await host.ok(read, 1) == b"\x5a" * 512
    await host.ok(delete(1))
    assert (await host.execute(read, 1)).status & 0x7FF == StatusCode.INVALID_NAMESPACE
    await created(host, 8192)
    await host.ok(attach(1))
    assert await host.ok(read, 1) == bytes(512)


@on_host(**managed)
async def test_events_tell_of_it(host: Host) -> None:
    await host.ok(admin(AdminOpcode.SET_FEATURES, 0x0B, 1 << 8))
    log = admin(AdminOpcode.GET_LOG_PAGE, 4 | 1023 << 16, nsid=ALL, data_in=4096)
    for command, dw0 in ((create(2048), 2), (attach(2), 0), (admin(RESIZE, 4096, nsid=2), 0)):
        if command.opcode == AdminOpcode.NAMESPACE_MANAGEMENT:
            assert (await host.execute(command)).dw0 == dw0  # nothing that is active changed
            continue
        host.place(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        host.place(command)
        taken = [await host.take(), await host.take()]
        assert {each.status for each in taken} == {0}
        assert CHANGED in {each.dw0 for each in taken}
        assert (await host.ok(log))[:8] == bytes([2, 0, 0, 0, 0, 0, 0, 0])


@on_host(**managed)
async def test_a_namespace_changes_its_size(host: Host) -> None:
    await host.create_queue()
    end = NvmeCommand(Opcode.WRITE, 1, cdw10=8191, data_out=b"\xa5" * 512)
    await host.ok(end, 1)
    await host.ok(admin(RESIZE, 4096, nsid=1))
    assert ((await namespace(host, 1)).nsze, await space(host)) == (4096, (16, 14))
    assert (await host.execute(end, 1)).status & 0x7FF == StatusCode.LBA_OUT_OF_RANGE
    await host.ok(admin(RESIZE, 32768, nsid=1))
    assert ((await namespace(host, 1)).nsze, await space(host)) == (32768, (16, 0))
    assert await host.ok(NvmeCommand(Opcode.READ, 1, cdw10=8191, data_in=512), 1) == bytes(512)
    too_much = await host.execute(admin(RESIZE, 32776, nsid=1))
    assert too_much.status & 0x7FF == StatusCode.INSUFFICIENT_CAPACITY


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (create(0), StatusCode.INVALID_FIELD),
        (create(7), StatusCode.INVALID_FIELD),
        (create(2048, ncap=2049), StatusCode.INVALID_FIELD),
        (create(2048, ncap=2047), StatusCode.THIN_PROVISIONING_NOT_SUPPORTED),
        (create(2048, flbas=2), StatusCode.INVALID_FORMAT),
        (create(2048, flbas=0x10), StatusCode.INVALID_FORMAT),
        (create(2048, dps=1), StatusCode.INVALID_FORMAT),
        (create(2048, nmic=1), StatusCode.INVALID_FIELD),
        (create(1 << 60), StatusCode.INSUFFICIENT_CAPACITY),
        (admin(AdminOpcode.NAMESPACE_MANAGEMENT, 2), StatusCode.INVALID_FIELD),
        (
            admin(AdminOpcode.NAMESPACE_MANAGEMENT, 0, 2 << 24, data_out=bytes(4096)),
            StatusCode.IO_COMMAND_SET_NOT_SUPPORTED,
        ),
        (delete(0), StatusCode.INVALID_NAMESPACE),
        (delete(2), StatusCode.INVALID_NAMESPACE),
        (attach(1), StatusCode.NAMESPACE_ALREADY_ATTACHED),
        (attach(2), StatusCode.INVALID_NAMESPACE),
        (attachment(2, 1, 0), StatusCode.INVALID_FIELD),
        (attachment(1, 1, 1), StatusCode.INVALID_CONTROLLER_LIST),
        (attachment(1, 1), StatusCode.INVALID_CONTROLLER_LIST),
        (identify(0x11, 17), StatusCode.INVALID_NAMESPACE),
        (identify(0x12, 2), StatusCode.INVALID_NAMESPACE),
        (identify(0x10, 0xFFFFFFFE), StatusCode.INVALID_NAMESPACE),
        (admin(RESIZE, 1, nsid=1), StatusCode.INVALID_FIELD),
        (admin(RESIZE, 4096, nsid=2), StatusCode.INVALID_NAMESPACE),
    ],
)
def test_what_is_refused(command: NvmeCommand, status: StatusCode) -> None:
    @on_host(**managed)
    async def work(host: Host) -> None:
        assert (await host.execute(command)).status & 0x7FF == status
        assert (await nsids(host, 0x10), await space(host)) == ([1], (16, 12))

    work()


@on_host(**managed)
async def test_what_is_left_is_told_where_it_is_not_enough(host: Host) -> None:
    await host.execute(create(1 << 16))
    raw = await host.ok(
        admin(AdminOpcode.GET_LOG_PAGE, 1 | 15 << 16, nsid=ALL, data_in=ERROR_LOG_ENTRY.size)
    )
    assert ERROR_LOG_ENTRY.parse(raw).cs == 12 * MIB


@on_host(**managed)
async def test_there_are_no_more_than_numbers(host: Host) -> None:
    for nsid in range(2, 17):
        assert await created(host, 8) == nsid
    full = await host.execute(create(8))
    assert full.status & 0x7FF == StatusCode.NAMESPACE_IDENTIFIER_UNAVAILABLE
    assert await nsids(host, 0x10, 13) == [14, 15, 16]


@on_host()
async def test_others_cannot_be_managed(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (controller.oacs & 8, controller.unvmcap) == (0, 0)
    for command in (create(2048), attach(1), admin(RESIZE, 4096, nsid=1)):
        assert (await host.execute(command)).status & 0x7FF == StatusCode.INVALID_OPCODE
    assert (await host.execute(identify(0x10))).status & 0x7FF == StatusCode.INVALID_FIELD


def test_an_image_remembers_them(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"

    async def first() -> None:
        host = Host(path=image, **managed).enable()
        await created(host, 2048)
        await host.ok(attach(2))
        assert await created(host, 4096) == 3
        await host.ok(delete(1))
        host.close()

    async def second() -> None:
        host = Host(path=image, size_bytes=None, capacity=16 * MIB).enable()
        assert (await nsids(host, 0x02), await nsids(host, 0x10)) == ([2], [2, 3])
        assert (await namespace(host, 2)).nsze == 2048
        assert await space(host) == (16, 13)
        host.close()

    asyncio.run(first())
    asyncio.run(second())
    with pytest.raises(TransportError, match="another capacity: capacity=16777216"):
        Host(path=image, size_bytes=None)
    sidecar = image.with_name("disk.img.json")
    state = json.loads(sidecar.read_text())
    state["namespaces"][0]["nsid"] = 17
    sidecar.write_text(json.dumps(state))
    with pytest.raises(TransportError, match="are not numbered from 1 to 16"):
        Host(path=image, size_bytes=None, capacity=16 * MIB)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size_bytes": 4 * MIB, "capacity": MIB}, "more than capacity="),
        ({"size_bytes": MIB, "capacity": MIB + 1}, "no multiple of 4096"),
        ({"size_bytes": 4096, "capacity": MIB, "namespaces": 17}, "16 at most"),
        ({**managed, "zone_bytes": MIB}, "do not come and go"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TransportError, match=words):
        Host(**options)
