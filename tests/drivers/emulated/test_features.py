"""The emulated controller's features."""

from __future__ import annotations

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_NAMESPACE,
)
from tests.drivers.emulated.host import (
    Host,
    block,
    get_feature,
    identify,
    on_host,
    set_feature,
)


@on_host()
async def test_select_values_of_a_saveable_feature(host: Host) -> None:
    async def values() -> list[int]:
        return [(await host.execute(get_feature(6, select))).dw0 for select in range(4)]

    assert await values() == [1, 1, 1, 0b101]
    await host.ok(set_feature(6, 0))
    assert await values() == [0, 1, 1, 0b101]
    await host.ok(set_feature(6, 0, save=True))
    assert await values() == [0, 1, 0, 0b101]
    host.disable()
    host.enable()
    assert await values() == [0, 1, 0, 0b101]


@on_host()
async def test_features_with_data(host: Host) -> None:
    await host.ok(set_feature(0x0E, 0, data_out=(10**12).to_bytes(8, "little")))
    stamp = await host.ok(get_feature(0x0E, data_in=8))
    assert 0 <= int.from_bytes(stamp[:6], "little") - 10**12 < 60_000
    assert stamp[6] == 0b10
    await host.ok(set_feature(0x81, 1, data_out=bytes(range(16))))
    assert await host.ok(get_feature(0x81, cdw11=1, data_in=16)) == bytes(range(16))
    assert await host.ok(get_feature(0x81, data_in=8)) == bytes(8)


@on_host()
async def test_write_protection(host: Host) -> None:
    await host.create_queue()
    await host.ok(set_feature(0x84, 1, nsid=1))
    completion = await host.execute(block(Opcode.WRITE, 0, data_out=bytes(512)), 1)
    assert completion.status == StatusCode.NAMESPACE_WRITE_PROTECTED
    assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).nsattr == 1
    await host.ok(set_feature(0x84, 0, nsid=1))
    await host.ok(block(Opcode.WRITE, 0, data_out=bytes(512)), 1)
