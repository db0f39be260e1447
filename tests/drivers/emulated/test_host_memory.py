"""Host Memory Buffer of the emulated controller. Spec: NVMe Base 2.0c 5.27.1.10, 8.9."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scsi2nvme.drivers.emulated.capabilities.host_memory import PREFERRED
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    HOST_MEMORY_ATTRIBUTES,
    HOST_MEMORY_DESCRIPTOR,
    IDENTIFY_CONTROLLER,
)
from tests.drivers.emulated.host import MIB, Host, get_feature, identify, on_host, set_feature

PAGE = 4096
ENABLE, RETURN = 1, 2
OFF = set_feature(0x0D, 0)


def lend(
    host: Host, pieces: Sequence[Region], enable: int = ENABLE, hsize: int | None = None
) -> NvmeCommand:
    """Return the command that lends these pieces."""
    rows = [HOST_MEMORY_DESCRIPTOR.build(badd=one.iova, bsize=one.length // PAGE) for one in pieces]
    place = host.data.slice(MIB, PAGE)
    place.view()[: 16 * len(rows)] = b"".join(rows)
    return NvmeCommand(
        AdminOpcode.SET_FEATURES,
        cdw10=0x0D,
        cdw11=enable,
        cdw12=sum(one.length for one in pieces) // PAGE if hsize is None else hsize,
        cdw13=place.iova & 0xFFFFFFFF,
        cdw14=place.iova >> 32,
        cdw15=len(rows),
        admin=True,
    )


async def status(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command)).status


@on_host()
async def test_without_a_wish_there_is_none(host: Host) -> None:
    told = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (told.hmpre, told.hmmin) == (0, 0)
    assert await status(host, OFF) == StatusCode.INVALID_FIELD


@on_host(hmpre=MIB)
async def test_it_uses_what_it_has_until_it_is_taken_back(host: Host) -> None:
    told = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (told.hmpre, told.hmmin, told.hmminds, told.hmmaxd) == (256, 64, 4, 16)
    pieces = [host.transport.allocate(MIB // 4) for _ in range(3)]
    await host.ok(lend(host, pieces))
    assert await status(host, lend(host, pieces)) == StatusCode.COMMAND_SEQUENCE_ERROR
    answer = await host.execute(get_feature(0x0D, data_in=4096))
    attributes = HOST_MEMORY_ATTRIBUTES.parse(bytes(host.data.slice(0, 4096).view()))
    assert (answer.dw0, attributes.hsize, attributes.hmdlec) == (ENABLE, 192, 3)
    for _ in range(200):  # all pages, each in its place
        await host.ok(get_feature(6))
    assert all(any(one.slice(at, 16).view()) for one in pieces for at in range(0, MIB // 4, PAGE))
    await host.ok(OFF)
    assert (await host.execute(get_feature(0x0D, data_in=4096))).dw0 == 0
    for one in pieces:
        one.view()[:] = bytes(one.length)
    await host.ok(get_feature(6))
    assert not any(any(one.view()) for one in pieces)


@on_host(hmpre=MIB)
async def test_a_host_that_touches_it_is_told(host: Host) -> None:
    memory = host.transport.allocate(MIB)
    await host.ok(lend(host, [memory]))
    await host.ok(get_feature(6))
    memory.view()[:] = bytes(MIB)
    assert await status(host, OFF) == StatusCode.INTERNAL_ERROR
    await host.ok(get_feature(6))  # it has let go of it


@on_host(hmpre=MIB)
async def test_what_a_reset_left_may_be_returned_as_it_was(host: Host) -> None:
    memory = host.transport.allocate(MIB)
    assert await status(host, lend(host, [memory], ENABLE | RETURN)) == StatusCode.INVALID_FIELD
    await host.ok(lend(host, [memory]))
    await host.ok(get_feature(6))
    host.disable()
    host.enable()
    before = bytes(memory.view())
    await host.ok(get_feature(6))
    assert bytes(memory.view()) == before  # it is not its own now
    half = [memory.slice(0, MIB // 2)]
    assert await status(host, lend(host, half, ENABLE | RETURN)) == StatusCode.INVALID_FIELD
    await host.ok(lend(host, [memory], ENABLE | RETURN))
    host.disable()
    host.enable()
    memory.view()[:] = bytes(MIB)
    assert await status(host, lend(host, [memory], ENABLE | RETURN)) == StatusCode.INTERNAL_ERROR
    await host.ok(lend(host, [memory]))


@on_host(hmpre=MIB)
async def test_what_makes_no_sense_is_refused(host: Host) -> None:
    memory = host.transport.allocate(MIB)
    outside = Region(0, 1 << 50, MIB)
    beyond = Region(0, memory.iova, 2 * MIB)
    twice = [memory.slice(0, MIB // 2), memory.slice(MIB // 4, MIB // 2)]
    for pieces, hsize in (
        ([memory.slice(0, MIB // 8)], None),
        ([memory], 255),
        ([memory.slice(0, MIB // 2), memory.slice(MIB // 2, 2 * PAGE)], None),
        (twice, None),
        ([Region(0, memory.iova + 8, MIB)], None),
        ([], None),
        ([memory.slice(n * 32768, 16384) for n in range(17)], None),
    ):
        assert await status(host, lend(host, pieces, hsize=hsize)) == StatusCode.INVALID_FIELD
    for piece in (outside, beyond):
        assert await status(host, lend(host, [piece])) == StatusCode.DATA_TRANSFER_ERROR
    await host.ok(lend(host, [memory]))


@pytest.mark.parametrize("text", ["1000", "4K", "off", "100000"])
def test_sizes_that_are_no_wish(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is no"):
        PREFERRED.parse(text)
