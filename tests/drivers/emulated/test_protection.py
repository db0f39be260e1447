"""Metadata and protection information of the emulated controller, as a host sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fuzz.t10_dif import guard, protected
from scsi2nvme.nvme.command import AdminOpcode, Fuse, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import DSM_RANGE, IDENTIFY_NAMESPACE, LBA_FORMAT
from tests.drivers.emulated.host import Host, admin

BLOCK = 512
LBA = 5
PRACT, GUARD, APPLICATION, REFERENCE = (1 << bit for bit in (29, 28, 27, 26))
ALL = GUARD | APPLICATION | REFERENCE
ONES = b"\xff" * 8
DATA = bytes(range(256)) * 6
BLOCKS = len(DATA) // BLOCK
MPTR_AT = 1 << 20  # of the host's buffer


@dataclass
class Namespace:
    """A host with a namespace, and how its metadata lie."""

    host: Host
    size: int
    extended: bool

    async def run(
        self,
        opcode: Opcode,
        data: bytes = b"",
        *,
        lba: int = LBA,
        blocks: int = BLOCKS,
        prinfo: int = 0,
        tag: int | None = None,
        application: int = 0,
        metadata: bytes = b"",
        length: int = 0,
    ) -> int:
        """Return a command's status. Metadata are put beside, where they do not follow blocks."""
        beside = self.host.data.slice(MPTR_AT, len(metadata))
        beside.view()[:] = metadata
        command = NvmeCommand(
            opcode,
            1,
            lba,
            cdw12=prinfo | blocks - 1,
            cdw14=lba if tag is None else tag,
            cdw15=application,
            data_out=data,
            data_in=length,
        )
        return await execute(self.host, command, self.host.data.iova + MPTR_AT)

    async def write(self, data: bytes, **fields: Any) -> int:
        return await self.run(Opcode.WRITE, data, **fields)

    async def read(self, length: int, **fields: Any) -> bytes:
        assert await self.run(Opcode.READ, length=length, **fields) == 0
        return bytes(self.host.data.slice(0, length).view())

    def beside(self, blocks: int = BLOCKS) -> bytes:
        return bytes(self.host.data.slice(MPTR_AT, blocks * self.size).view())


async def execute(host: Host, command: NvmeCommand, mptr: int) -> int:
    """Return the status of a command on queue 1 with a metadata pointer."""
    sqe = bytearray(command.sqe())
    sqe[16:24] = mptr.to_bytes(8, "little")
    length = max(len(command.data_out), command.data_in)
    buffer = host.data.slice(0, length) if length else None
    if buffer is not None:
        buffer.view()[: len(command.data_out)] = command.data_out
    assert host.pairs[1].place(bytes(sqe), buffer, 0, 0) is not None
    host.pairs[1].ring()
    return (await host.take(1)).status & 0x7FF


def on_namespace(
    kind: int, size: int = 8, *, extended: bool = False, first: bool = False, **settings: Any
) -> Callable[[Callable[[Namespace], Awaitable[None]]], None]:
    def run(test: Callable[[Namespace], Awaitable[None]]) -> None:
        async def main() -> None:
            host = Host(
                block_bytes=BLOCK,
                metadata_bytes=size,
                protection_type=kind,
                extended=extended,
                protection_first=first,
                **settings,
            )
            try:
                await host.enable().create_queue()
                await test(Namespace(host, size, extended))
            finally:
                host.close()

        asyncio.run(main())

    return run


def interleaved(data: bytes, metadata: bytes, size: int) -> bytes:
    return b"".join(
        data[n * BLOCK : (n + 1) * BLOCK] + metadata[n * size : (n + 1) * size]
        for n in range(len(data) // BLOCK)
    )


def tuples(data: bytes, tag: int, **fields: int) -> bytes:
    whole = protected(data, tag, block_bytes=BLOCK, **fields)
    return b"".join(whole[at + BLOCK : at + BLOCK + 8] for at in range(0, len(whole), BLOCK + 8))


# ---- what it says ----


async def _identify(host: Host) -> Any:
    data = await host.ok(admin(AdminOpcode.IDENTIFY, 0, nsid=1, data_in=4096))
    return IDENTIFY_NAMESPACE.parse(data)


@pytest.mark.parametrize(
    ("kind", "size", "extended", "first"),
    [(0, 0, False, False), (0, 64, True, False), (1, 8, False, False), (3, 16, True, True)],
)
def test_identify(kind: int, size: int, extended: bool, first: bool) -> None:
    @on_namespace(kind, size, extended=extended, first=first)
    async def test(one: Namespace) -> None:
        told = await _identify(one.host)
        assert (told.mc, told.dpc, told.dps) == (3, 0x1F, kind | first << 3)
        formats = [
            (1 << each.lbads, each.ms)
            for n in range(told.nlbaf + 1)
            for each in [LBA_FORMAT.parse(told.bytes("lbafs")[4 * n : 4 * n + 4])]
        ]
        assert formats == [(b, ms) for ms in (0, 8, 16, 64) for b in (512, 4096)]
        assert formats[told.flbas & 0xF] == (BLOCK, size)
        assert told.flbas >> 4 == extended


def test_it_is_there_on_request() -> None:
    async def main() -> None:
        host = Host(block_bytes=BLOCK).enable()
        told = await _identify(host)
        assert (told.mc, told.dpc, told.dps, told.nlbaf) == (0, 0, 0, 1)
        refused = await host.execute(admin(AdminOpcode.FORMAT_NVM, 2, nsid=1))
        assert refused.status & 0x7FF == StatusCode.INVALID_FORMAT
        host.close()

    asyncio.run(main())


def test_a_file_would_forget(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="metadata is only for emulated:memory"):
        Host(path=tmp_path / "disk", metadata_bytes=8)


# ---- metadata that are none of the controller's business ----


def test_metadata_behind_each_block() -> None:
    @on_namespace(0, 16, extended=True)
    async def test(one: Namespace) -> None:
        whole = bytes(n % 251 for n in range(BLOCKS * (BLOCK + 16)))
        # Without protection PRINFO says nothing.
        assert await one.write(whole, prinfo=PRACT | ALL) == 0
        assert await one.read(len(whole), prinfo=PRACT | ALL) == whole
        assert await one.run(Opcode.COMPARE, whole) == 0
        other = whole[:-1] + b"\xee"
        assert await one.run(Opcode.COMPARE, other) == StatusCode.COMPARE_FAILURE
        assert await one.run(Opcode.WRITE_ZEROES, prinfo=ALL) == 0
        assert await one.read(len(whole)) == bytes(len(whole))


def test_metadata_of_their_own() -> None:
    @on_namespace(0, 64)
    async def test(one: Namespace) -> None:
        metadata = bytes(n % 241 for n in range(BLOCKS * 64))
        assert await one.write(DATA, metadata=metadata) == 0
        assert await one.read(len(DATA), metadata=bytes(len(metadata))) == DATA
        assert one.beside() == metadata
        assert await one.run(Opcode.COMPARE, DATA, metadata=metadata) == 0
        assert (
            await one.run(Opcode.COMPARE, DATA, metadata=b"\x77" + metadata[1:])
            == StatusCode.COMPARE_FAILURE
        )


def test_a_pointer_that_leads_nowhere() -> None:
    @on_namespace(0, 8)
    async def test(one: Namespace) -> None:
        for pointer, status in ((2, StatusCode.INVALID_FIELD), (0, StatusCode.DATA_TRANSFER_ERROR)):
            command = NvmeCommand(Opcode.READ, 1, LBA, data_in=BLOCK)
            assert await execute(one.host, command, pointer) == status


def test_what_is_too_long() -> None:
    """MDTS is of data with what is among them."""

    @on_namespace(1, 8, extended=True)
    async def test(one: Namespace) -> None:
        most = (1 << 20) // (BLOCK + 8)
        assert await one.run(Opcode.READ, blocks=most, length=1 << 20) == 0
        assert (
            await one.run(Opcode.READ, blocks=most + 1, length=1 << 20) == StatusCode.INVALID_FIELD
        )
        stripped = await one.run(Opcode.READ, blocks=2048, length=1 << 20, prinfo=PRACT)
        assert stripped == 0


# ---- tuples ----


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_what_the_controller_makes(kind: int, extended: bool) -> None:
    @on_namespace(kind, extended=extended)
    async def test(one: Namespace) -> None:
        tag = LBA if kind == 1 else 0xFFFFFFFE  # which counts on past its end
        step = 0 if kind == 3 else 1
        assert await one.write(DATA, prinfo=PRACT, tag=tag, application=0x1234) == 0
        wanted = tuples(DATA, tag, step=step, application=0x1234)
        checks = GUARD | APPLICATION | (0 if kind == 3 else REFERENCE)
        length = len(DATA) + (len(wanted) if extended else 0)
        fields: dict[str, Any] = {"tag": tag, "application": 0xFFFF1234}
        found = await one.read(length, prinfo=checks, **fields)
        if extended:
            assert found == interleaved(DATA, wanted, 8)
        else:
            assert (found, one.beside()) == (DATA, wanted)
        assert await one.read(len(DATA), prinfo=PRACT | checks, **fields) == DATA
        assert await one.run(Opcode.VERIFY, prinfo=checks, **fields) == 0


@pytest.mark.parametrize(
    ("size", "first", "covered"), [(16, False, 8), (64, False, 56), (16, True, 0)]
)
def test_guards_of_longer_metadata(size: int, first: bool, covered: int) -> None:
    """They are of what is before them, and the rest is the host's."""

    @on_namespace(1, size, extended=True, first=first)
    async def test(one: Namespace) -> None:
        data, metadata = DATA[:BLOCK], bytes(range(1, size + 1))
        assert await one.write(data + metadata, blocks=1, prinfo=PRACT) == 0
        made = guard(data + metadata[:covered]).to_bytes(2, "big") + bytes(2)
        made += LBA.to_bytes(4, "big")
        wanted = made + metadata[8:] if first else metadata[:-8] + made
        found = await one.read(BLOCK + size, blocks=1, prinfo=GUARD | REFERENCE)
        assert found == data + wanted
        # PRACT strips nothing where there is more than the tuple.
        assert await one.read(BLOCK + size, blocks=1, prinfo=PRACT | GUARD) == data + wanted
        changed = bytearray(found)
        changed[BLOCK + (8 if first else 0)] ^= 1
        status = await one.write(bytes(changed), blocks=1, prinfo=GUARD)
        assert status == (0 if first else StatusCode.GUARD_CHECK_ERROR)


@pytest.mark.parametrize(
    ("at", "check", "status"),
    [
        (17, GUARD, StatusCode.GUARD_CHECK_ERROR),
        (BLOCK + 1, GUARD, StatusCode.GUARD_CHECK_ERROR),
        (BLOCK + 3, APPLICATION, StatusCode.APPLICATION_TAG_CHECK_ERROR),
        (BLOCK + 7, REFERENCE, StatusCode.REFERENCE_TAG_CHECK_ERROR),
    ],
)
def test_what_is_wrong(at: int, check: int, status: StatusCode) -> None:
    """It is found on the way in and out, where it is looked for, and the first one is told of."""

    @on_namespace(2, extended=True)
    async def test(one: Namespace) -> None:
        tag, application = 0x80000000, 0xFFFF0042
        right = protected(DATA, tag, block_bytes=BLOCK, application=0x42)
        wrong = bytearray(right)
        wrong[520 + at] ^= 1
        fields: dict[str, Any] = {"tag": tag, "application": application}
        assert await one.write(right, prinfo=ALL, **fields) == 0
        assert await one.write(bytes(wrong), prinfo=ALL, **fields) == status
        assert await one.read(len(right), prinfo=ALL, **fields) == right  # nothing was written
        assert await one.write(bytes(wrong), prinfo=ALL & ~check, **fields) == 0
        for opcode, length in ((Opcode.READ, len(right)), (Opcode.VERIFY, 0)):
            found = await one.run(opcode, length=length, prinfo=ALL, **fields)
            assert found == status
            log = await one.host.ok(admin(AdminOpcode.GET_LOG_PAGE, 0x01 | 15 << 16, data_in=64))
            assert int.from_bytes(log[16:24], "little") == LBA + 1
        assert await one.run(Opcode.COMPARE, right, prinfo=ALL, **fields) == status
        unchecked = await one.read(len(right), prinfo=ALL & ~check, **fields)
        assert unchecked == bytes(wrong)
        if check == APPLICATION:
            hidden: dict[str, Any] = {"tag": tag, "application": 0xFFFE0042}
            assert await one.read(len(right), prinfo=ALL, **hidden) == bytes(wrong)


@pytest.mark.parametrize(
    ("kind", "application", "tag", "escapes"),
    [
        (1, 0xFFFF, 0x999, True),
        (2, 0xFFFF, 0, True),
        (2, 0xFFFE, 0xFFFFFFFF, False),
        (3, 0xFFFF, 0xFFFFFFFE, False),
        (3, 0xFFFF, 0xFFFFFFFF, True),
    ],
)
def test_tuples_that_nobody_checks(kind: int, application: int, tag: int, escapes: bool) -> None:
    @on_namespace(kind, extended=True)
    async def test(one: Namespace) -> None:
        whole = DATA[:BLOCK] + b"\xab\xcd" + application.to_bytes(2, "big") + tag.to_bytes(4, "big")
        checks = GUARD | APPLICATION | (0 if kind == 3 else REFERENCE)
        fields: dict[str, Any] = {"blocks": 1, "application": 0xFFFF0000}
        assert await one.write(whole, prinfo=0, **fields) == 0
        status = await one.run(Opcode.READ, length=520, prinfo=checks, **fields)
        assert status == (0 if escapes else StatusCode.GUARD_CHECK_ERROR)


@pytest.mark.parametrize(
    ("kind", "opcode", "prinfo", "tag"),
    [
        (1, Opcode.WRITE, REFERENCE, LBA + 1),
        (1, Opcode.READ, REFERENCE | PRACT, LBA - 1),
        (3, Opcode.READ, REFERENCE, LBA),
        (2, Opcode.COMPARE, PRACT, LBA),
        (2, Opcode.VERIFY, PRACT, LBA),
        (1, Opcode.WRITE_ZEROES, PRACT | GUARD, LBA),
    ],
)
def test_what_must_not_be_said(kind: int, opcode: Opcode, prinfo: int, tag: int) -> None:
    @on_namespace(kind, extended=True)
    async def test(one: Namespace) -> None:
        sent = bytes(BLOCKS * 520) if opcode in (Opcode.WRITE, Opcode.COMPARE) else b""
        status = await one.run(
            opcode, sent, prinfo=prinfo, tag=tag, length=BLOCKS * 520 if opcode == 2 else 0
        )
        assert status == StatusCode.INVALID_PROTECTION_INFORMATION


def test_blocks_that_nobody_has_written() -> None:
    """Their tuples are all ones, which pass every check; the rest of metadata are zeroes."""

    @on_namespace(1, 16, extended=True)
    async def test(one: Namespace) -> None:
        blank = (bytes(BLOCK + 8) + ONES) * BLOCKS
        whole = bytes(n % 251 or 1 for n in range(len(blank)))
        assert await one.read(len(blank), prinfo=ALL) == blank
        ways = [
            (Opcode.WRITE_ZEROES, b"", 0),
            (Opcode.WRITE_ZEROES, b"", PRACT | 1 << 25),  # DEAC
        ]
        for opcode, sent, prinfo in ways:
            assert await one.write(whole) == 0
            assert await one.run(opcode, sent, prinfo=prinfo) == 0
            assert await one.read(len(blank), prinfo=ALL) == blank
        assert await one.write(whole) == 0
        ranges = DSM_RANGE.build(slba=LBA, nlb=BLOCKS)
        command = NvmeCommand(Opcode.DATASET_MANAGEMENT, 1, cdw11=4, data_out=ranges)
        assert (await one.host.execute(command, 1)).status == 0
        assert await one.read(len(blank), prinfo=ALL) == blank


def test_zeroes_with_tuples() -> None:
    @on_namespace(2, 8, extended=True)
    async def test(one: Namespace) -> None:
        zeroes: dict[str, Any] = {"prinfo": PRACT, "tag": 0x50, "application": 0x77}
        assert await one.run(Opcode.WRITE_ZEROES, **zeroes) == 0
        wanted = protected(bytes(len(DATA)), 0x50, block_bytes=BLOCK, application=0x77)
        assert await one.read(len(wanted), prinfo=GUARD | REFERENCE, tag=0x50) == wanted


def test_a_comparison_looks_past_tuples() -> None:
    """But at the rest of metadata, and both halves of a fused pair have them."""

    @on_namespace(1, 16, extended=True)
    async def test(one: Namespace) -> None:
        block = DATA[:BLOCK] + b"metadata" + bytes(8)
        assert await one.write(block, blocks=1, prinfo=PRACT) == 0
        for at, status in ((BLOCK + 8, 0), (BLOCK, StatusCode.COMPARE_FAILURE)):
            other = bytearray(block)
            other[at] ^= 0xFF
            assert await one.run(Opcode.COMPARE, bytes(other), blocks=1) == status
        new = bytes(reversed(block))
        host = one.host
        pair = (
            NvmeCommand(Opcode.COMPARE, 1, LBA, data_out=block, fuse=Fuse.FIRST),
            NvmeCommand(Opcode.WRITE, 1, LBA, data_out=new, fuse=Fuse.SECOND),
        )
        for wanted in ([0, 0], [StatusCode.COMPARE_FAILURE, StatusCode.FAILED_FUSED]):
            for n, half in enumerate(pair):
                buffer = host.data.slice(4096 * n, len(block))
                buffer.view()[:] = half.data_out
                assert host.pairs[1].place(half.sqe(), buffer, 0, 0) is not None
            host.pairs[1].ring()
            assert [(await host.take(1)).status & 0x7FF for _ in range(2)] == wanted
        assert await one.read(len(new), blocks=1) == new


# ---- what becomes of it ----


def test_tuples_outlive_a_reset_and_end_with_a_format() -> None:
    @on_namespace(1, 8, extended=True)
    async def test(one: Namespace) -> None:
        host = one.host
        whole = protected(DATA, LBA, block_bytes=BLOCK)
        assert await one.write(whole, prinfo=GUARD | REFERENCE) == 0
        host.disable()
        await host.enable().create_queue()
        assert await one.read(len(whole), prinfo=GUARD | REFERENCE) == whole
        assert (await host.execute(admin(AdminOpcode.FORMAT_NVM, 2 | 3 << 4, nsid=1))).status == 0
        blank = (bytes(BLOCK) + ONES) * BLOCKS
        assert await one.read(len(blank), prinfo=ALL) == blank


@pytest.mark.parametrize(
    ("cdw10", "wanted"),
    [
        (2 | 1 << 4 | 1 << 5, (0x12, 0x01)),  # 512 + 8, extended, type 1
        (7 | 3 << 5 | 1 << 8, (0x07, 0x0B)),  # 4096 + 64, type 3, in the first bytes
        (4 | 1 << 8, (0x04, 0x00)),  # in the first bytes, of nothing
        (2 | 4 << 5, None),  # there is no type 4
        (0 | 1 << 5, None),  # no room
        (0 | 1 << 4, None),  # nothing to be behind blocks
        (8, None),
    ],
)
def test_formats(cdw10: int, wanted: tuple[int, int] | None) -> None:
    @on_namespace(2, 8)
    async def test(one: Namespace) -> None:
        status = (await one.host.execute(admin(AdminOpcode.FORMAT_NVM, cdw10, nsid=1))).status
        told = await _identify(one.host)
        if wanted is None:
            assert status & 0x7FF == StatusCode.INVALID_FORMAT
            assert (told.flbas, told.dps) == (0x02, 2)
        else:
            assert (status, told.flbas, told.dps) == (0, *wanted)


def test_namespaces_that_come_and_change() -> None:
    """One that is created has what is asked for, and keeps it when it becomes larger."""

    @on_namespace(0, 0, capacity=64 << 20)
    async def test(one: Namespace) -> None:
        host = one.host
        asked = IDENTIFY_NAMESPACE.build(nsze=2048, ncap=2048, flbas=0x12, dps=1)
        create = admin(AdminOpcode.NAMESPACE_MANAGEMENT, data_out=asked)
        nsid = (await host.execute(create)).dw0
        lists = (1).to_bytes(2, "little") + bytes(4094)
        attach = admin(AdminOpcode.NAMESPACE_ATTACHMENT, nsid=nsid, data_out=lists)
        assert (await host.execute(attach)).status == 0
        whole = protected(DATA, LBA, block_bytes=BLOCK)
        write = NvmeCommand(
            Opcode.WRITE, nsid, LBA, cdw12=GUARD | REFERENCE | BLOCKS - 1, cdw14=LBA, data_out=whole
        )
        assert (await host.execute(write, 1)).status == 0
        host.transport.resize(nsid, 4096)
        for lba, wanted in ((LBA, whole), (3000, (bytes(BLOCK) + ONES) * BLOCKS)):
            read = replace(write, opcode=Opcode.READ, data_out=b"", data_in=len(whole))
            read = replace(read, cdw10=lba, cdw14=lba)
            assert await host.ok(read, 1) == wanted
