"""The Persistent Event log of the emulated controller."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.log_structures import PERSISTENT_EVENT, PERSISTENT_EVENT_HEADER
from scsi2nvme.nvme.persistent_events import EVENTS, EventKind
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE
from tests.drivers.emulated.host import MIB, Host, admin, identify, log_page, set_feature
from tests.waiting import LIMIT_S

READ, ESTABLISH, RELEASE = range(3)
LOG = 0x0D


def ask(action: int, length: int = 512) -> NvmeCommand:
    return admin(
        AdminOpcode.GET_LOG_PAGE, LOG | action << 8 | (length // 4 - 1) << 16, data_in=length
    )


def run(test: Callable[[Host], Awaitable[None]], **options: Any) -> None:
    async def body() -> None:
        host = Host(**{"event_log": True, **options}).enable()
        try:
            await test(host)
        finally:
            host.close()

    asyncio.run(body())


async def events(host: Host) -> list[Values]:
    """Read the log as a whole, the newest event first, each with its data's fields, if any."""
    head = PERSISTENT_EVENT_HEADER.parse(await host.ok(ask(ESTABLISH)))
    length = head.total_log_len
    raw = await host.ok(ask(READ, -(-length // 4) * 4))
    await host.ok(ask(RELEASE))
    assert raw[:512] == head.raw
    found, at = [], 512
    for _ in range(head.total_num_of_events):
        event = PERSISTENT_EVENT.parse(raw[at : at + PERSISTENT_EVENT.size])
        start = at + event.event_header_len + 3
        at = start + event.event_len
        layout = EVENTS[event.event_type].layout
        found.append(event)
        if layout is not None:
            found[-1] = layout.parse(raw[start : start + layout.size])
    assert at == length
    return found


def test_a_plain_controller_has_none() -> None:
    async def test(host: Host) -> None:
        identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        assert (identity.lpa & 1 << 4, identity.pels) == (0, 0)
        completion = await host.execute(log_page(LOG, 512))
        assert completion.status & 0x7FF == StatusCode.INVALID_LOG_PAGE

    run(test, event_log=False)


def test_it_begins_with_power_on() -> None:
    async def test(host: Host) -> None:
        identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        assert (identity.lpa & 1 << 4, identity.pels) == (1 << 4, 1)
        snapshot, reset = await events(host)
        assert (snapshot.temperature, reset.ctrl_power_cycle) == (310, 1)
        assert reset.bytes("fw_rev") == identity.bytes("fr")
        host.disable()
        host.enable()
        assert (await events(host))[0].ctrl_power_cycle == 0

    run(test)


def test_the_header_tells_whose_it_is_and_what_is_kept() -> None:
    async def test(host: Host) -> None:
        identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        head = PERSISTENT_EVENT_HEADER.parse(await host.ok(ask(ESTABLISH)))
        assert [head.bytes(name) for name in ("sn", "mn", "subnqn")] == [
            identity.bytes(name) for name in ("sn", "mn", "subnqn")
        ]
        assert (head.lid, head.head_len, head.context_exists) == (LOG, 492, 1)
        assert head.supported_events >> EventKind.FIRMWARE_COMMIT & 1
        assert not head.supported_events >> EventKind.THERMAL_EXCURSION & 1

    run(test)


def test_what_is_read_is_what_was_established() -> None:
    async def test(host: Host) -> None:
        async def refused(action: int) -> bool:
            completion = await host.execute(ask(action))
            return completion.status & 0x7FF == StatusCode.COMMAND_SEQUENCE_ERROR

        assert await refused(READ)
        head = await host.ok(ask(ESTABLISH))
        await host.ok(set_feature(0x0B, 0x1F))
        assert await host.ok(ask(READ)) == head
        assert await refused(ESTABLISH)
        await host.ok(ask(RELEASE))
        await host.ok(ask(RELEASE))  # there is nothing to release, which is no error
        again = PERSISTENT_EVENT_HEADER.parse(await host.ok(ask(ESTABLISH)))
        before = PERSISTENT_EVENT_HEADER.parse(head)
        assert again.total_num_of_events == before.total_num_of_events + 1
        assert again.generation == before.generation + 1
        completion = await host.execute(ask(3))
        assert completion.status & 0x7FF == StatusCode.INVALID_FIELD
        host.disable()
        host.enable()
        assert await refused(READ)

    run(test)


def test_features_and_time_are_recorded() -> None:
    async def test(host: Host) -> None:
        await host.ok(set_feature(0x0B, 0x1F))
        assert (await host.execute(set_feature(0x7F, 1))).status
        for stamp in (77_000_000_000, 5):
            await host.ok(
                admin(AdminOpcode.SET_FEATURES, 0x0E, data_out=stamp.to_bytes(8, "little"))
            )
        second, first, feature = (await events(host))[:3]
        assert 77_000_000_000 <= second.previous_timestamp < 77_000_100_000
        assert first.previous_timestamp < 77_000_000_000
        assert (feature.cdw10, feature.cdw11) == (0x0B, 0x1F)

    run(test)


def test_formats_sanitize_operations_and_telemetry_are_recorded() -> None:
    async def test(host: Host) -> None:
        await host.ok(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        await host.ok(admin(AdminOpcode.SANITIZE, 2))
        async with asyncio.timeout(LIMIT_S):
            while (await host.ok(log_page(0x81, 512)))[2] & 7 == 2:
                pass
        await host.ok(create_telemetry())
        telemetry, sanitized, sanitizing, formatted, formatting = (await events(host))[:5]
        assert telemetry.event_type == EventKind.TELEMETRY_CREATED
        assert (sanitizing.sani_cdw10, sanitized.sani_status & 7) == (2, 1)
        assert (formatting.nsid, formatting.format_nvm_cdw10) == (1, 1)
        assert (formatted.nsid, formatted.status_field) == (1, 0)

    run(test, sanicap=2, telemetry=True, size_bytes=MIB)


def test_firmware_and_namespaces_are_recorded() -> None:
    async def test(host: Host) -> None:
        assert (await host.execute(admin(AdminOpcode.FIRMWARE_COMMIT, 2 | 1 << 3))).status
        data = IDENTIFY_NAMESPACE.build(nsze=8, ncap=8)
        created = admin(AdminOpcode.NAMESPACE_MANAGEMENT, 0, data_out=data)
        assert (await host.execute(created)).dw0 == 2
        await host.ok(admin(AdminOpcode.NAMESPACE_MANAGEMENT, 1, nsid=2))
        deletion, creation, commit = (await events(host))[:3]
        assert (deletion.nsmgt_cdw10, deletion.nsid) == (1, 2)
        assert (creation.nsmgt_cdw10, creation.nsid, creation.nsze) == (0, 2, 8)
        assert (commit.fw_slot, commit.fw_commit_action) == (2, 1)
        assert commit.sct_fw << 8 | commit.sc_fw == StatusCode.INVALID_FIRMWARE_IMAGE

    run(test, firmware_slots=3, size_bytes=MIB, capacity=2 * MIB)


def create_telemetry() -> NvmeCommand:
    return admin(AdminOpcode.GET_LOG_PAGE, 7 | 1 << 8 | 127 << 16, data_in=512)


def test_the_oldest_make_room() -> None:
    async def test(host: Host) -> None:
        for _ in range(150):
            await host.ok(create_telemetry())
        found = await events(host)
        assert {each.event_type for each in found} == {EventKind.TELEMETRY_CREATED}
        assert 120 < len(found) == ((1 << 16) - 512) // (PERSISTENT_EVENT.size + 512)

    run(test, telemetry=True)


def test_they_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def test(host: Host) -> None:
        found.append([each.structure.name for each in await events(host)])

    found: list[list[str]] = []
    for _ in range(2):
        run(test, path=path, size_bytes=MIB)
    first, second = found
    assert second == 2 * first
    sidecar = Path(f"{path}.json")
    state = json.loads(sidecar.read_text())
    state["kept"]["persistent_events"][0] = "00"
    sidecar.write_text(json.dumps(state))
    with pytest.raises(TransportError, match="persistent events is damaged"):
        Host(event_log=True, path=path, size_bytes=MIB)
