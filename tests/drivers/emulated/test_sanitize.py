"""Sanitize, as the emulated controller has it: over time, resets and processes."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import (
    MIB,
    Host,
    admin,
    block,
    get_feature,
    identify,
    log_page,
    on_host,
    set_feature,
)

CRYPTO, BLOCK, OVERWRITE, NDI = 1, 2, 4, 1 << 29
ALL = CRYPTO | BLOCK | OVERWRITE
EXIT, BLOCK_ERASE, OVERWRITE_ONCE, CRYPTO_ERASE = 1, 2, 3 | 1 << 4, 4
AUSE, NDAS = 1 << 3, 1 << 9


async def sanitize(host: Host, cdw10: int, cdw11: int = 0) -> int:
    return (await host.execute(admin(AdminOpcode.SANITIZE, cdw10, cdw11))).status


async def status(host: Host) -> Values:
    return SANITIZE_STATUS.parse(await host.ok(log_page(0x81, 512)))


async def ended(host: Host) -> Values:
    """Wait for the end of an operation; return what the log says then."""
    async with asyncio.timeout(20):
        while (now := await status(host)).state == 2:
            await asyncio.sleep(0.01)
    return now


async def write(host: Host, nsid: int = 1) -> None:
    await host.ok(block(Opcode.WRITE, 1, nsid=nsid, data_out=b"x" * 512), 1)


async def read(host: Host, nsid: int = 1) -> bytes:
    return await host.ok(block(Opcode.READ, 1, 1, 512, nsid=nsid), 1)


@on_host(namespaces=2, size_bytes=MIB, sanicap=ALL, sanitize_s=0.3)
async def test_all_namespaces_are_erased_and_refuse_everything_meanwhile(host: Host) -> None:
    assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).sanicap == 1 << 30 | ALL
    await host.create_queue()
    for nsid in (1, 2):
        await write(host, nsid)
    assert (await status(host)).state == 0
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 2))
    assert await sanitize(host, BLOCK_ERASE) == 0
    now = await status(host)
    assert (now.state, now.cdw10_info, now.time_block_erase) == (2, BLOCK_ERASE, 0)
    for opcode in (Opcode.READ, Opcode.FLUSH):
        busy = await host.execute(block(opcode, 0, 1, 512, nsid=2), 1)
        assert busy.status == StatusCode.SANITIZE_IN_PROGRESS
    for command in (
        admin(AdminOpcode.FORMAT_NVM, nsid=1),
        log_page(0x06, 564),
        admin(AdminOpcode.SANITIZE, BLOCK_ERASE),
        set_feature(0x84, 1, nsid=1),
    ):
        assert (await host.execute(command)).status == StatusCode.SANITIZE_IN_PROGRESS
    await host.ok(set_feature(0x06, 0))
    before = now.sprog
    async with asyncio.timeout(20):
        while (await status(host)).sprog <= before:
            await asyncio.sleep(0.01)
    assert (await host.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))).dw0 == 0x810106
    now = await status(host)
    assert (now.state, now.sprog, now.global_erased) == (1, 0xFFFF, 1)
    assert [await read(host, nsid) for nsid in (1, 2)] == [bytes(512)] * 2
    assert (await host.ok(log_page(0x06, 564)))[4] == 0x29  # the self-test was ended
    await write(host)
    assert not (await status(host)).global_erased


@on_host(namespaces=2, size_bytes=MIB, sanicap=ALL)
async def test_a_pattern_stays_where_it_is_not_to_be_deallocated(host: Host) -> None:
    await host.create_queue()
    await write(host, 2)
    assert await sanitize(host, OVERWRITE_ONCE, 0x44332211) == 0
    now = await ended(host)
    assert (now.state, now.passes) == (1, 1)
    assert await read(host, 2) == bytes(512)
    assert await sanitize(host, OVERWRITE_ONCE | NDAS, 0x44332211) == 0
    await ended(host)
    assert await read(host, 1) == await read(host, 2) == b"\x11\x22\x33\x44" * 128


@on_host(size_bytes=MIB, sanicap=OVERWRITE | NDI)
async def test_deallocation_may_be_inevitable(host: Host) -> None:
    await host.create_queue()
    assert (await host.execute(get_feature(0x17))).dw0 == 0
    assert await sanitize(host, OVERWRITE_ONCE | NDAS) == StatusCode.INVALID_FIELD
    await host.ok(set_feature(0x17, 1))
    assert await sanitize(host, OVERWRITE_ONCE | NDAS, 1) == 0
    assert (await host.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))).dw0 == 0x810206
    assert (await status(host)).state == 4
    assert await read(host) == bytes(512)


@pytest.mark.parametrize("allowed", [0, AUSE])
def test_what_fails_can_be_left_as_it_was_begun(allowed: int) -> None:
    async def scenario(host: Host) -> None:
        await host.create_queue()
        await write(host)
        assert await sanitize(host, CRYPTO_ERASE | allowed) == 0
        assert (await ended(host)).state == 3
        assert (await host.execute(block(Opcode.READ, 0, 1, 512), 1)).status == (
            StatusCode.SANITIZE_FAILED
        )
        failed = await host.execute(admin(AdminOpcode.FORMAT_NVM, nsid=1))
        assert failed.status == StatusCode.SANITIZE_FAILED
        host.disable()
        host.enable()
        await host.create_queue()
        assert (await status(host)).state == 3
        if allowed:
            assert await sanitize(host, EXIT) == 0
            assert await read(host) == b"x" * 512
        else:
            assert await sanitize(host, EXIT) == StatusCode.SANITIZE_FAILED
            assert await sanitize(host, CRYPTO_ERASE | AUSE) == StatusCode.SANITIZE_FAILED
        assert await sanitize(host, CRYPTO_ERASE) == 0
        assert (await ended(host)).state == 1
        assert await read(host) == bytes(512)

    on_host(size_bytes=MIB, sanicap=CRYPTO, sanitize_fails=1)(scenario)()


@on_host(size_bytes=MIB, sanicap=BLOCK)
async def test_what_is_refused(host: Host) -> None:
    for cdw10 in (0, OVERWRITE_ONCE, CRYPTO_ERASE, 5, BLOCK_ERASE | 1 << 10):
        assert await sanitize(host, cdw10) == StatusCode.INVALID_FIELD
    assert await sanitize(host, EXIT) == 0
    await host.ok(set_feature(0x84, 1, nsid=1))
    assert await sanitize(host, BLOCK_ERASE) == StatusCode.NAMESPACE_WRITE_PROTECTED
    assert (await status(host)).state == 0


@on_host()
async def test_who_was_not_told_to_offer_it_knows_nothing_of_it(host: Host) -> None:
    assert await sanitize(host, BLOCK_ERASE) == StatusCode.INVALID_OPCODE
    assert (await host.execute(log_page(0x81, 512))).status == StatusCode.INVALID_LOG_PAGE
    assert (await host.execute(get_feature(0x17))).status == StatusCode.INVALID_FIELD
    assert (await host.ok(log_page(0x05, 4096)))[4 * AdminOpcode.SANITIZE] == 0
    assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).sanicap == 0


def test_neither_a_reset_nor_the_end_of_the_process_stops_it(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def begun() -> None:
        host = Host(path=path, size_bytes=MIB, sanicap=BLOCK, sanitize_s=600.0).enable()
        await host.create_queue()
        await write(host)
        assert await sanitize(host, BLOCK_ERASE) == 0
        host.disable()
        host.enable()
        assert (await status(host)).state == 2
        host.close()

    async def resumed() -> None:
        host = Host(path=path, size_bytes=MIB, sanicap=BLOCK).enable()
        await host.create_queue()
        assert (await ended(host)).state == 1
        assert await read(host) == bytes(512)
        host.close()

    asyncio.run(begun())
    asyncio.run(resumed())


@pytest.mark.parametrize("kept", [3, {"state": 9}, {"cdw10": -1}, {"state": "2"}, {"more": 1}])
def test_a_damaged_record_is_told(tmp_path: Path, kept: object) -> None:
    path = tmp_path / "disk"
    EmulatedTransport(EmulatedOptions.of(path=path, size_bytes=MIB)).close()
    sidecar = Path(f"{path}.json")
    state = json.loads(sidecar.read_text()) | {"kept": {"sanitize": kept}}
    sidecar.write_text(json.dumps(state))
    with pytest.raises(TransportError, match="kept of sanitize operations is damaged"):
        EmulatedTransport(EmulatedOptions.of(path=path, sanicap=BLOCK))


@pytest.mark.parametrize(("offered", "status"), [(False, StatusCode.INVALID_FIELD), (True, 0)])
def test_a_format_erases_by_the_key_on_request(offered: bool, status: int) -> None:
    async def scenario(host: Host) -> None:
        fna = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).fna
        assert fna == (1 << 2 if offered else 0)
        done = await host.execute(admin(AdminOpcode.FORMAT_NVM, 2 << 9, nsid=1))
        assert done.status == status

    on_host(size_bytes=MIB, crypto_format=offered)(scenario)()


def test_writes_that_a_sudden_end_has_forgotten_are_not_denied(tmp_path: Path) -> None:
    """Else written blocks would be told to be deallocated."""
    live, dead = tmp_path / "live", tmp_path / "dead"
    live.mkdir()

    async def erased() -> None:
        host = Host(path=live / "disk", size_bytes=MIB, sanicap=BLOCK).enable()
        await host.create_queue()
        assert await sanitize(host, BLOCK_ERASE) == 0
        assert (await ended(host)).global_erased
        await write(host)
        shutil.copytree(live, dead)  # what is on the host's disk when its power goes
        host.close()

    async def found() -> None:
        host = Host(path=dead / "disk", size_bytes=MIB, sanicap=BLOCK).enable()
        await host.create_queue()
        assert await read(host) == b"x" * 512
        assert not (await status(host)).global_erased
        host.close()

    asyncio.run(erased())
    asyncio.run(found())


@on_host(size_bytes=MIB, sanicap=BLOCK)
async def test_what_cannot_be_remembered_does_not_begin(host: Host) -> None:
    """Else nothing would be executed any more, for an operation that nobody does."""
    await host.create_queue()
    await write(host)

    def full() -> None:
        raise TransportError("no space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.transport._model.image, "save", full)
        assert await sanitize(host, BLOCK_ERASE) == StatusCode.INTERNAL_ERROR
    assert (await status(host)).state == 0
    assert await read(host) == b"x" * 512
    assert await sanitize(host, BLOCK_ERASE) == 0
    assert (await ended(host)).state == 1
