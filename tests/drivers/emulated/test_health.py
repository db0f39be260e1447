"""The emulated controller's health, as it is asked for and as it becomes."""

from __future__ import annotations

import pytest

from scsi2nvme.drivers.emulated.capabilities.health import parse_health
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import SMART_LOG
from tests.drivers.emulated.host import (
    Host,
    admin,
    block,
    log_page,
    on_host,
    set_feature,
)

REQUEST = admin(AdminOpcode.ASYNC_EVENT_REQUEST)
ALL_WARNINGS = 0x1F


async def smart(host: Host, *, rae: bool = True) -> Values:
    return SMART_LOG.parse(await host.ok(log_page(2, 512, rae=rae)))


@on_host()
async def test_it_is_well_by_itself(host: Host) -> None:
    log = await smart(host)
    assert (log.critical_warning, log.temperature, log.temperature_sensor_1) == (0, 310, 310)
    assert (log.avail_spare, log.spare_thresh, log.percent_used) == (100, 10, 0)
    assert (log.temperature_sensor_2, log.controller_busy_time) == (0, 0)


@on_host(
    health=(
        ("spare", 5),
        ("used", 107),
        ("temperature", 71),
        ("sensor-3", -10),
        ("media-errors", 9),
        ("power-on-hours", 1000),
        ("unsafe-shutdowns", 4),
        ("busy-minutes", 17),
        ("backup-failed", 1),
    )
)
async def test_it_is_as_it_was_asked_to_be(host: Host) -> None:
    log = await smart(host)
    assert log.critical_warning == 0b10011
    assert (log.avail_spare, log.percent_used, log.temperature) == (5, 107, 344)
    assert (log.temperature_sensor_1, log.temperature_sensor_3) == (344, 263)
    assert (log.media_errors, log.power_on_hours, log.unsafe_shutdowns) == (9, 1000, 4)
    assert log.controller_busy_time == 17


@pytest.mark.parametrize(
    ("values", "warning", "information"),
    [
        ({"spare": 9}, 0, 2),
        ({"temperature": 70}, 1, 1),
        ({"reliability": 1}, 2, 0),
        ({"read_only": 1}, 3, 0),
        ({"backup_failed": 1}, 4, 0),
    ],
)
def test_what_becomes_worse_is_an_event(
    values: dict[str, int], warning: int, information: int
) -> None:
    @on_host()
    async def steps(host: Host) -> None:
        await host.ok(set_feature(0x0B, ALL_WARNINGS & ~(1 << warning)))
        host.transport.set_health(**values)
        assert (await smart(host)).critical_warning == 1 << warning  # and that is no event
        await host.ok(set_feature(0x0B, ALL_WARNINGS))  # but is from now on
        assert (await host.execute(REQUEST)).dw0 == 0x020001 | information << 8

    steps()


@on_host(health=(("sensor-2", 60),))
async def test_each_sensor_has_its_thresholds(host: Host) -> None:
    await host.ok(set_feature(0x04, 2 << 16 | 333))
    assert (await smart(host)).critical_warning == 2
    await host.ok(set_feature(0x04, 2 << 16 | 334))
    assert (await smart(host)).critical_warning == 0
    await host.ok(set_feature(0x04, 2 << 16 | 1 << 20 | 333))  # under
    assert (await smart(host)).critical_warning == 2
    assert [
        (await host.execute(admin(AdminOpcode.GET_FEATURES, 0x04, selector << 16))).dw0
        for selector in (0x00, 0x10, 0x01, 0x02, 0x12)
    ] == [343, 0, 0xFFFF, 334, 333]
    await host.ok(set_feature(0x04, 0xF << 16 | 1 << 20))
    assert (await smart(host)).critical_warning == 0
    missing = await host.execute(set_feature(0x04, 3 << 16 | 300))
    assert missing.status == StatusCode.INVALID_FIELD


@on_host(health=(("read-only", 1),))
async def test_a_medium_in_read_only_mode_takes_no_writes(host: Host) -> None:
    await host.create_queue()
    write = block(Opcode.WRITE, 0, 1, 512)
    refused = await host.execute(write, 1)
    assert refused.status == StatusCode.NAMESPACE_WRITE_PROTECTED
    host.transport.set_health(read_only=0)
    assert (await host.execute(write, 1)).status == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age:5", "names none of temperature, "),
        ("spare:many", "has 'many', which is no number"),
        ("spare:101", "has 101, which is not between 0 and 100"),
        ("temperature:-274", "has -274, which is not between -273 and 999"),
    ],
)
def test_what_no_health_is(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_health(text)
