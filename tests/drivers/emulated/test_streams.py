"""The Streams directive, as a host sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.directives import (
    IDENTIFY_PARAMETERS,
    STREAMS_PARAMETERS,
    DirectiveType,
    Receive,
    enable,
    receive,
    release_stream,
)
from scsi2nvme.nvme.status import StatusCode
from tests.drivers.emulated.host import Host
from tests.drivers.emulated.test_namespace_management import attach, create, delete, managed

BLOCK = 4096
IDENTIFY, STREAMS = DirectiveType.IDENTIFY, DirectiveType.STREAMS
DATA_PLACEMENT = 2


def on_a_host(test: Callable[[Host], Awaitable[None]], streams: int = 2, **others: Any) -> None:
    async def run() -> None:
        host = Host(block_bytes=BLOCK, **{"namespaces": 2, **others}, streams=streams)
        try:
            await host.enable().create_queue()
            await test(host)
        finally:
            host.close()

    asyncio.run(run())


def write(stream: int = 0, dtype: int = STREAMS, nsid: int = 1) -> NvmeCommand:
    cdw12 = dtype << 20
    return NvmeCommand(Opcode.WRITE, nsid, cdw12=cdw12, cdw13=stream << 16, data_out=bytes(BLOCK))


async def written(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command, 1)).status & 0x7FF


async def opened(host: Host, nsid: int = 1) -> list[int]:
    data = await host.ok(receive(STREAMS, Receive.STATUS, nsid, 16))
    count, *found = (int.from_bytes(data[at : at + 2], "little") for at in range(0, 16, 2))
    return found[:count]


async def refusal(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command)).status & 0x7FF


def test_none_are_there_unless_they_are_asked_for() -> None:
    async def test(host: Host) -> None:
        command = receive(IDENTIFY, Receive.PARAMETERS, 1, IDENTIFY_PARAMETERS.size)
        assert await refusal(host, command) == StatusCode.INVALID_OPCODE
        assert await written(host, write(1)) == 0  # what it says is ignored
        assert await written(host, write(dtype=DATA_PLACEMENT)) == 0

    on_a_host(test, streams=0)


def test_streams_are_enabled_until_a_reset() -> None:
    async def test(host: Host) -> None:
        identify = receive(IDENTIFY, Receive.PARAMETERS, 1, IDENTIFY_PARAMETERS.size)
        told = IDENTIFY_PARAMETERS.parse(await host.ok(identify))
        assert (told.supported, told.enabled, told.persistent) == (0b11, 0b01, 0)
        assert await written(host, write(1)) == 0
        asked = receive(STREAMS, Receive.PARAMETERS, 1, 32)
        assert await refusal(host, asked) == StatusCode.INVALID_FIELD
        await host.ok(enable(STREAMS, 1))
        assert IDENTIFY_PARAMETERS.parse(await host.ok(identify)).enabled == 0b11
        told = STREAMS_PARAMETERS.parse(await host.ok(asked))
        assert (told.msl, told.nssa, told.nsa, told.sws, told.sgs) == (2, 2, 0, 16, 16)
        assert await opened(host) == []
        assert await written(host, write(1)) == 0
        assert await opened(host) == [1]
        assert await written(host, write(1, DATA_PLACEMENT, nsid=2)) == 0
        assert await written(host, write(1, DATA_PLACEMENT)) == StatusCode.INVALID_FIELD
        host.disable()
        await host.enable().create_queue(2)
        assert IDENTIFY_PARAMETERS.parse(await host.ok(identify)).enabled == 0b01

    on_a_host(test)


def test_a_write_opens_its_stream() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, 0xFFFFFFFF))
        for stream in (0, 7, 7, 0xFFFF):
            assert await written(host, write(stream)) == 0
        assert await opened(host) == [7, 0xFFFF]
        assert await opened(host, 2) == []
        told = await host.ok(receive(STREAMS, Receive.PARAMETERS, 1, 32))
        assert STREAMS_PARAMETERS.parse(told).nsso == 2
        assert await written(host, write(9)) == 0  # there is room for two
        assert await opened(host) == [9, 0xFFFF]
        await host.ok(release_stream(1, 9))
        await host.ok(release_stream(1, 8))
        assert await opened(host) == [0xFFFF]
        await host.ok(NvmeCommand(AdminOpcode.FORMAT_NVM, 1, cdw10=1, admin=True))  # as it is
        assert await opened(host) == []
        assert await written(host, write(3)) == 0
        assert await opened(host) == [3]

    on_a_host(test)


def test_there_are_so_many_of_all_namespaces_together() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, BROADCAST_NSID))
        for nsid, stream in ((1, 7), (2, 7), (1, 7), (2, 8)):
            assert await written(host, write(stream, nsid=nsid)) == 0
        assert (await opened(host), await opened(host, 2)) == ([], [7, 8])
        for nsid in (1, 2):
            told = await host.ok(receive(STREAMS, Receive.PARAMETERS, nsid, 32))
            assert STREAMS_PARAMETERS.parse(told).nsso == 2

    on_a_host(test)


def test_what_a_namespace_has_to_itself_nobody_else_has() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, BROADCAST_NSID))
        for stream in (1, 2, 3):
            assert await written(host, write(stream, nsid=2)) == 0
        assert await opened(host, 2) == [1, 2, 3]
        allocate = NvmeCommand(0x1A, 1, cdw11=0x0103, cdw12=2, admin=True)
        assert (await host.execute(allocate)).dw0 == 2
        assert await opened(host, 2) == [3]  # what is left of the others' share
        for stream in (1, 2, 3):
            assert await written(host, write(stream)) == 0
            assert await written(host, write(stream, nsid=2)) == 0
        assert (await opened(host), await opened(host, 2)) == ([2, 3], [3])
        told = STREAMS_PARAMETERS.parse(await host.ok(receive(STREAMS, Receive.PARAMETERS, 1, 32)))
        assert (told.nssa, told.nsso, told.nsa, told.nso) == (1, 1, 2, 2)
        assert (await host.execute(replace(allocate, nsid=2))).dw0 == 1  # no more is left
        await host.ok(NvmeCommand(0x19, 1, cdw11=0x0102, admin=True))
        assert (await opened(host), await opened(host, 2)) == ([2, 3], [3])
        assert await written(host, write(4, nsid=2)) == 0
        assert await opened(host, 2) == [4]

    on_a_host(test, streams=3)


def test_who_shares_none_opens_none() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, BROADCAST_NSID))
        allocate = NvmeCommand(0x1A, 1, cdw11=0x0103, cdw12=2, admin=True)
        assert (await host.execute(allocate)).dw0 == 2
        assert await written(host, write(5, nsid=2)) == 0
        assert await opened(host, 2) == []

    on_a_host(test)


def test_streams_of_a_namespace_alone() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, 1))
        allocate = NvmeCommand(0x1A, 1, cdw11=0x0103, cdw12=5, admin=True)
        assert (await host.execute(allocate)).dw0 == 2
        told = STREAMS_PARAMETERS.parse(await host.ok(receive(STREAMS, Receive.PARAMETERS, 1, 32)))
        assert (told.nssa, told.nsa, told.nso) == (0, 2, 0)
        assert await refusal(host, allocate) == StatusCode.INVALID_FIELD
        await host.ok(enable(STREAMS, 2))
        other = replace(allocate, nsid=2)
        assert await refusal(host, other) == StatusCode.STREAM_RESOURCE_ALLOCATION_FAILED
        await host.ok(NvmeCommand(0x19, 1, cdw11=0x0102, admin=True))
        told = STREAMS_PARAMETERS.parse(await host.ok(receive(STREAMS, Receive.PARAMETERS, 1, 32)))
        assert (told.nssa, told.nsa) == (2, 0)

    on_a_host(test)


def test_what_is_refused() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, 1))
        for command in (
            enable(IDENTIFY, 1),
            NvmeCommand(0x19, 1, cdw11=0x0109, admin=True),
            NvmeCommand(0x19, 1, cdw11=0x0201, admin=True),
            receive(STREAMS, Receive.PARAMETERS, 2, 32),
            NvmeCommand(0x1A, 1, cdw10=7, cdw11=0x0109, data_in=32, admin=True),
            NvmeCommand(0x1A, 1, cdw11=0x0103, admin=True),
        ):
            assert await refusal(host, command) == StatusCode.INVALID_FIELD
        everybody = receive(IDENTIFY, Receive.PARAMETERS, BROADCAST_NSID, 4096)
        assert await refusal(host, everybody) == StatusCode.INVALID_FIELD
        namespace = receive(IDENTIFY, Receive.PARAMETERS, 9, 4096)
        assert await refusal(host, namespace) == StatusCode.INVALID_NAMESPACE

    on_a_host(test)


def test_a_namespace_is_not_as_the_one_was_that_had_its_number() -> None:
    async def test(host: Host) -> None:
        await host.ok(enable(STREAMS, 1))
        assert (await host.execute(NvmeCommand(0x1A, 1, cdw11=0x0103, cdw12=2, admin=True))).dw0
        await host.ok(delete(1))
        assert (await host.execute(create(256, flbas=1))).dw0 == 1
        await host.ok(attach(1))
        identify = receive(IDENTIFY, Receive.PARAMETERS, 1, IDENTIFY_PARAMETERS.size)
        assert IDENTIFY_PARAMETERS.parse(await host.ok(identify)).enabled == 0b01
        await host.ok(enable(STREAMS, 1))
        told = STREAMS_PARAMETERS.parse(await host.ok(receive(STREAMS, Receive.PARAMETERS, 1, 32)))
        assert (told.nssa, told.nsa) == (2, 0)

    on_a_host(test, **managed, namespaces=1)
