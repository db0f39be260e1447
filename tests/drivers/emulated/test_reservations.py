"""Reservations, as the emulated controllers have them: between hosts, over resets and power."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated import TRANSPORT, subsystem
from scsi2nvme.drivers.emulated.reservations import DENY_READ, DENY_WRITE, Reservation
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.native.emulator import Emulator
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.reservations import (
    ACQUIRE_DATA,
    IGNORE_KEY,
    PTPL_SET,
    REGISTER_DATA,
    REGISTERED_CONTROLLER_EXTENDED,
    RELEASE_DATA,
    RESERVATION_NOTIFICATION,
    RESERVATION_STATUS,
    Acquire,
    Notice,
    Register,
    Release,
    ReservationType,
)
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE
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

A, B = b"a" * 16, b"b" * 16
WE_RO = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
EA = ReservationType.EXCLUSIVE_ACCESS
CONFLICT = StatusCode.RESERVATION_CONFLICT


def io(opcode: int, cdw10: int, cdw11: int = 0, **fields: Any) -> NvmeCommand:
    return NvmeCommand(opcode, 1, cdw10, cdw11, **fields)


def register(action: int, key: int, new: int, flags: int = 0) -> NvmeCommand:
    data = REGISTER_DATA.build(crkey=key, nrkey=new)
    return io(Opcode.RESERVATION_REGISTER, action | flags, data_out=data)


def acquire(action: int, kind: int, key: int, victim: int = 0) -> NvmeCommand:
    data = ACQUIRE_DATA.build(crkey=key, prkey=victim)
    return io(Opcode.RESERVATION_ACQUIRE, action | kind << 8, data_out=data)


def release(action: int, kind: int, key: int) -> NvmeCommand:
    data = RELEASE_DATA.build(crkey=key)
    return io(Opcode.RESERVATION_RELEASE, action | kind << 8, data_out=data)


async def done(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command, 1)).status


async def report(host: Host) -> tuple[Values, list[tuple[int, bool, int]]]:
    """Return the header, and of each registered controller its number, if it holds, its key."""
    data = await host.ok(io(Opcode.RESERVATION_REPORT, 1023, 1, data_in=4096), 1)
    header = RESERVATION_STATUS.parse(data)
    row, found = REGISTERED_CONTROLLER_EXTENDED, []
    for at in range(64, 64 + header.regctl * row.size, row.size):
        one = row.parse(data[at : at + row.size])
        found.append((one.cntlid, bool(one.holds), one.rkey))
    return header, found


async def access(host: Host) -> tuple[int, int]:
    """Return how a read and a write end."""
    write = block(Opcode.WRITE, 0, data_out=b"x" * 512)
    return await done(host, block(Opcode.READ, 0, 1, 512)), await done(host, write)


async def be(host: Host, name: bytes) -> None:
    """Say which host this is, on a fresh queue pair."""
    await host.ok(set_feature(0x81, 1, data_out=name))
    if 1 not in host.pairs:
        await host.create_queue()


def two(path: Path, test: Callable[[Host, Host], Awaitable[None]]) -> None:
    """Run a test with two controllers of one disk, and a host at each."""

    async def main() -> None:
        hosts = [
            Host(path=path, size_bytes=MIB, controller_number=n, rescap=True).enable()
            for n in (1, 2)
        ]
        try:
            for host, name in zip(hosts, (A, B), strict=True):
                await be(host, name)
            await test(*hosts)
        finally:
            for host in hosts:
                host.close()

    asyncio.run(main())


@on_host(size_bytes=MIB)
async def test_a_plain_controller_has_none(host: Host) -> None:
    assert not IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oncs >> 5 & 1
    assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1))).rescap == 0
    await host.create_queue()
    assert await done(host, register(0, 0, 1)) == StatusCode.INVALID_OPCODE


@on_host(size_bytes=MIB, rescap=True)
async def test_one_host_by_itself(host: Host) -> None:
    assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oncs >> 5 & 1
    assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1))).rescap == 0xFF
    await be(host, A)
    assert await done(host, acquire(Acquire.ACQUIRE, WE_RO, 1)) == CONFLICT
    assert await done(host, register(Register.REGISTER, 0, 1)) == 0
    assert await done(host, register(Register.REGISTER, 0, 2)) == CONFLICT
    assert await done(host, register(Register.REPLACE, 9, 2)) == CONFLICT
    assert await done(host, register(Register.REPLACE, 1, 2)) == 0
    assert await done(host, register(7, 1, 2)) == StatusCode.INVALID_FIELD
    assert await done(host, acquire(Acquire.ACQUIRE, 7, 2)) == StatusCode.INVALID_FIELD
    ignoring = acquire(Acquire.ACQUIRE | IGNORE_KEY, EA, 2)
    assert await done(host, ignoring) == StatusCode.INVALID_FIELD
    assert await done(host, acquire(Acquire.ACQUIRE, EA, 2)) == 0
    assert await access(host) == (0, 0)
    header, found = await report(host)
    assert (header.gen, header.rtype, header.ptpls, found) == (2, EA, 0, [(0, True, 2)])
    short = io(Opcode.RESERVATION_REPORT, 1023, 0, data_in=4096)
    assert await done(host, short) == StatusCode.HOST_ID_INCONSISTENT
    assert await done(host, release(Release.RELEASE, WE_RO, 2)) == StatusCode.INVALID_FIELD
    assert await done(host, release(Release.RELEASE, EA, 2)) == 0
    assert await done(host, register(Register.UNREGISTER, 0, 0, IGNORE_KEY)) == 0
    assert (await report(host))[1] == []


@on_host(size_bytes=MIB, rescap=True)
async def test_a_host_of_64_bits_and_one_that_does_not_tell(host: Host) -> None:
    await host.ok(set_feature(0x81, 0, data_out=b"8 bytes!"))
    await host.create_queue()
    assert await done(host, register(Register.REGISTER, 0, 1)) == 0
    data = await host.ok(io(Opcode.RESERVATION_REPORT, 11, data_in=48), 1)
    assert data[32:40] == b"8 bytes!"
    await host.ok(set_feature(0x81, 0, data_out=bytes(8)))
    assert await done(host, register(Register.REGISTER, 0, 3)) == 0
    host.disable()
    host.enable()
    await host.create_queue()
    data = await host.ok(io(Opcode.RESERVATION_REPORT, 1023, data_in=4096), 1)
    assert RESERVATION_STATUS.parse(data).regctl == 1  # of that without a name nothing is left


@on_host(size_bytes=MIB, rescap=True)
async def test_persistence_is_a_feature(host: Host) -> None:
    await be(host, A)
    assert (await host.execute(get_feature(0x83, nsid=1))).dw0 == 0
    await host.ok(set_feature(0x83, 1, nsid=1))
    assert (await host.execute(get_feature(0x83, nsid=1))).dw0 == 1
    assert (await report(host))[0].ptpls == 1
    assert await done(host, register(Register.REGISTER, 0, 1, 1 << 30)) == StatusCode.INVALID_FIELD


def test_two_controllers_are_one_subsystem(tmp_path: Path) -> None:
    async def test(one: Host, two: Host) -> None:
        told = [IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))) for host in (one, two)]
        assert [each.cntlid for each in told] == [1, 2]
        assert len({(each.bytes("sn"), each.bytes("subnqn"), each.cmic) for each in told}) == 1
        spaces = [IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1))) for host in (one, two)]
        assert len({(each.bytes("nguid"), each.nmic) for each in spaces}) == 1
        assert told[0].cmic >> 1 & 1
        assert spaces[0].nmic == 1
        await one.ok(block(Opcode.WRITE, 3, data_out=b"y" * 512), 1)
        assert await two.ok(block(Opcode.READ, 3, 1, 512), 1) == b"y" * 512
        refused = await one.execute(admin(AdminOpcode.FORMAT_NVM, nsid=1))
        assert refused.status == StatusCode.INVALID_OPCODE

    two(tmp_path / "disk", test)


def test_a_number_is_one_controllers(tmp_path: Path) -> None:
    async def test(one: Host, two: Host) -> None:
        for number, why in ((2, "controller 2 is in use"), (0, "in use by another process")):
            with pytest.raises(TransportError, match=why):
                Host(path=tmp_path / "disk", size_bytes=MIB, controller_number=number, rescap=True)

    two(tmp_path / "disk", test)


def test_what_cannot_be_shared_is_refused() -> None:
    for path, more in (("memory", {}), ("disk", {"sanicap": 1})):
        with pytest.raises(ValueError, match="controller: "):
            TRANSPORT.check(path, {"controller": 1, **more})


def test_the_other_host_is_kept_off_at_once(tmp_path: Path) -> None:
    async def test(one: Host, two: Host) -> None:
        assert await done(one, register(Register.REGISTER, 0, 1)) == 0
        assert await done(one, acquire(Acquire.ACQUIRE, WE_RO, 1)) == 0
        assert await access(two) == (0, CONFLICT)
        for opcode in (Opcode.FLUSH, Opcode.WRITE_ZEROES, Opcode.DATASET_MANAGEMENT):
            data = bytes(16) if opcode == Opcode.DATASET_MANAGEMENT else b""
            assert await done(two, NvmeCommand(opcode, 1, data_out=data)) == CONFLICT
        assert await done(two, register(Register.REGISTER, 0, 2)) == 0
        assert await access(two) == (0, 0)
        assert (await report(two))[1] == [(1, True, 1), (2, False, 2)]
        assert await done(two, acquire(Acquire.PREEMPT_AND_ABORT, EA, 2, 1)) == 0
        assert await access(one) == (CONFLICT, CONFLICT)
        assert await access(two) == (0, 0)
        assert (await report(one))[1] == [(2, True, 2)]

    two(tmp_path / "disk", test)


def test_a_process_that_is_stopped_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lock: what changes reservations is to be tried again, and all else goes on."""

    async def test(one: Host, two: Host) -> None:
        fd = os.open(tmp_path / "disk.reservations", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        command = register(Register.REGISTER, 0, 1)
        assert await done(one, command) == StatusCode.COMMAND_INTERRUPTED
        await report(one)
        assert await access(one) == (0, 0)
        refused = await one.execute(set_feature(0x81, 1, data_out=B))
        assert refused.status == StatusCode.COMMAND_INTERRUPTED
        monkeypatch.setattr(subsystem, "JOIN_S", 0.01)
        with pytest.raises(TransportError, match=r"keeps it locked.*end it"):
            Host(path=tmp_path / "disk", size_bytes=MIB, controller_number=3, rescap=True)
        os.close(fd)
        assert await done(one, command) == 0
        assert (await report(one))[1] == [(1, False, 1)]

    two(tmp_path / "disk", test)


def test_what_a_stopped_process_has_under_way_is_not_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on the medium at any time: the fence is not told of, and nothing is changed."""

    async def test(one: Host, two: Host) -> None:
        assert await done(one, register(Register.REGISTER, 0, 1)) == 0
        with monkeypatch.context() as patched:
            patched.setattr(Emulator, "settle", lambda self, slots: 2 not in slots)
            fence = acquire(Acquire.ACQUIRE, EA, 1)
            assert await done(one, fence) == StatusCode.COMMAND_INTERRUPTED
            assert await access(two) == (0, 0)
            assert (await report(one))[0].rtype == 0
            assert await done(one, release(Release.CLEAR, 0, 1)) == 0  # which stops nobody
            assert await done(one, register(Register.REGISTER, 0, 1)) == 0
        assert await done(one, fence) == 0
        assert await access(two) == (CONFLICT, CONFLICT)

    two(tmp_path / "disk", test)


def test_who_is_preempted_is_told(tmp_path: Path) -> None:
    async def test(one: Host, two: Host) -> None:
        for host, key in ((one, 1), (two, 2)):
            assert await done(host, register(Register.REGISTER, 0, key)) == 0
        assert await done(one, acquire(Acquire.ACQUIRE, WE_RO, 1)) == 0
        empty = RESERVATION_NOTIFICATION.parse(await one.ok(log_page(0x80, 64)))
        assert (empty.type, empty.lpc) == (Notice.EMPTY, 0)
        assert await done(two, acquire(Acquire.PREEMPT, EA, 2, 1)) == 0
        event = await one.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        assert event.dw0 == 0x800006
        found = [RESERVATION_NOTIFICATION.parse(await one.ok(log_page(0x80, 64))) for _ in "123"]
        assert [(each.lpc, each.type, each.nalp, each.nsid) for each in found] == [
            (1, Notice.REGISTRATION_PREEMPTED, 1, 1),
            (2, Notice.RESERVATION_PREEMPTED, 0, 1),
            (0, Notice.EMPTY, 0, 0),
        ]

    two(tmp_path / "disk", test)


def test_what_is_masked_is_not_told(tmp_path: Path) -> None:
    async def test(one: Host, two: Host) -> None:
        for host, key in ((one, 1), (two, 2)):
            assert await done(host, register(Register.REGISTER, 0, key)) == 0
        await one.ok(set_feature(0x82, 1 << Notice.REGISTRATION_PREEMPTED, nsid=1))
        assert await done(two, acquire(Acquire.ACQUIRE, WE_RO, 2)) == 0
        assert await done(two, release(Release.RELEASE, WE_RO, 2)) == 0
        assert await done(two, acquire(Acquire.PREEMPT, WE_RO, 2, 1)) == 0
        assert (await one.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))).dw0 == 0x800006
        found = [RESERVATION_NOTIFICATION.parse(await one.ok(log_page(0x80, 64))) for _ in "12"]
        assert [each.type for each in found] == [Notice.RESERVATION_RELEASED, Notice.EMPTY]

    two(tmp_path / "disk", test)


def _begin_anew(host: Host, path: Path) -> None:
    """Have another process take the place of a controller's."""
    fresh = Host(path=path, size_bytes=MIB, controller_number=1, rescap=True)
    host.__dict__.update(fresh.__dict__)


@pytest.mark.parametrize("persists", [False, True])
def test_it_lasts_as_long_as_there_is_power(tmp_path: Path, persists: bool) -> None:
    path = tmp_path / "disk"

    async def fence(one: Host, two: Host) -> None:
        flags = PTPL_SET * persists
        assert await done(one, register(Register.REGISTER, 0, 1, flags)) == 0
        assert await done(one, acquire(Acquire.ACQUIRE, EA, 1)) == 0
        one.close()  # its host is gone, and the other's controller keeps the subsystem alive
        _begin_anew(one, path)
        one.enable()
        await be(one, A)
        assert await access(one) == (0, 0)
        assert await access(two) == (CONFLICT, CONFLICT)

    async def later(one: Host, two: Host) -> None:
        assert await access(one) == (0, 0)
        assert await access(two) == ((CONFLICT, CONFLICT) if persists else (0, 0))

    two(path, fence)
    two(path, later)


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    two(path, lambda one, two: be(one, A))
    for damage in (
        "{",
        '{"namespaces": {"1": {"type": 3}}}',
        '{"namespaces": {"-1": {}}}',
        '{"namespaces": {"one": {}}}',
        '{"namespaces": {"1": {"keys": {"me": 1}}}}',
        '{"controllers": {"16": {}}}',
    ):
        Path(f"{path}.reservations.json").write_text(damage)
        with pytest.raises(TransportError, match=r"reservations\.json: cannot be read"):
            Host(path=path, size_bytes=MIB, controller_number=1, rescap=True)


def test_who_may_do_what() -> None:
    for kind in ReservationType:
        one = Reservation()
        one.register("a", Register.REGISTER, 0, 1, ignore=False)
        one.register("b", Register.REGISTER, 0, 2, ignore=False)
        one.acquire("a", Acquire.ACQUIRE, kind, 1, 0)
        most = DENY_WRITE | DENY_READ * kind.excludes_reads
        assert one.denied("a") == 0
        assert one.denied("b") == (0 if kind.admits_registrants else most)
        assert one.denied("c") == most
        one.register("a", Register.UNREGISTER, 1, 0, ignore=False)
        assert one.type == (kind if kind.all_registrants else 0)
        told = kind.admits_registrants and not kind.all_registrants
        assert one.notices == [("b", Notice.RESERVATION_RELEASED)] * told


def test_clear_and_preemption_of_all() -> None:
    one = Reservation()
    for host, key in (("a", 1), ("b", 2), ("c", 3)):
        one.register(host, Register.REGISTER, 0, key, ignore=False)
    one.acquire("a", Acquire.ACQUIRE, ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS, 1, 0)
    one.acquire("b", Acquire.PREEMPT, EA, 2, 0)
    assert (one.keys, one.type, one.holder, one.generation) == ({"b": 2}, EA, "b", 4)
    one.notices.clear()
    one.register("a", Register.REPLACE, 0, 7, ignore=True)
    one.release("a", Release.CLEAR, 0, 7)
    assert (one.keys, one.type) == ({}, 0)
    assert one.notices == [("b", Notice.RESERVATION_PREEMPTED)]
