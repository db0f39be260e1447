"""Thermal management temperatures are kept, saved and checked."""

from __future__ import annotations

from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, get_feature, identify, on_host, set_feature


@on_host()
async def test_thermal_management_temperatures(host: Host) -> None:
    assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).hctma == 1
    await host.ok(set_feature(0x10, 330 << 16 | 340, save=True))
    host.disable()
    host.enable()
    assert (await host.execute(get_feature(0x10))).dw0 == 330 << 16 | 340
    for wrong in (340 << 16 | 330, 300 << 16, 400):
        completion = await host.execute(set_feature(0x10, wrong))
        assert completion.status == StatusCode.INVALID_FIELD
