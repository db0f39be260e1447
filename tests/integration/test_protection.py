"""Namespaces whose blocks have protection information, as plain disks and with it.

QEMU's controller judges: it refuses PRINFO and tags that are wrong, and checks what it stored. Our
own does so where there is no QEMU.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.fuzz.t10_dif import protected
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.protection import CHECK_GUARD, CHECK_REFERENCE, PRACT
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import (
    LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED,
    LOGICAL_BLOCK_GUARD_CHECK_FAILED,
    LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.mode_pages.application_tag import APPLICATION_TAG
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.mode_pages.page import ModePage, PageControl
from tests.daemon import IQN, Daemon
from tests.integration.disks import KINDS, spec
from tests.integration.rig import Disk, Rig, good, io, one
from tests.integration.test_scsi_commands import (
    DATA,
    Player,
    compares_and_writes,
    provisions,
    reads_and_writes,
    text,
    verifies,
)
from tests.iscsi_client import Initiator
from tests.support import row

BLOCK = 512
LBA = 77
TYPES = (1, 2, 3)


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return a rig of a controller that has protection information."""
    rig = Rig(request.param, tmp_path / "disk")
    yield rig
    rig.check()


def disk(kind: int, *, extended: bool = False, first: bool = False) -> Disk:
    return Disk(
        block_bytes=BLOCK,
        metadata_bytes=8,
        extended=extended,
        protection_type=kind,
        protection_first=first,
    )


@pytest.mark.parametrize(("kind", "extended"), [(1, False), (2, True), (3, False)])
async def test_as_a_plain_disk(rig: Rig, kind: int, extended: bool) -> None:
    async with rig.controller(disk(kind, extended=extended)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        for script in (reads_and_writes, verifies, provisions, compares_and_writes):
            # QEMU takes its file's zeroes for tags where a page of it is no hole as a whole.
            zeroes = {"ndob": 1, "number_of_blocks": player.lu.capacity_blocks}
            assert await player.do("WRITE SAME (16)", **zeroes) == GOOD
            await script(player)


@pytest.mark.parametrize(("kind", "first"), [*product(TYPES, (False, True))])
async def test_what_is_written_passes_every_check(rig: Rig, kind: int, first: bool) -> None:
    """Guards are those of the data, and reference tags those of the LBA, also of zeroes."""
    checks = CHECK_GUARD | (CHECK_REFERENCE if kind != 3 else 0)
    async with rig.controller(disk(kind, first=first)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        await player.write(0x105, DATA)
        block = b"\x5a" * BLOCK
        assert await player.do("WRITE SAME (16)", block, lba=0x400, number_of_blocks=300) == GOOD
        assert await player.do("WRITE SAME (16)", ndob=1, lba=0x600, number_of_blocks=9) == GOOD
        for lba, blocks in ((0x105, 250), (0x400, 300), (0x600, 9)):
            for start in range(lba, lba + blocks, 50):
                count = min(50, lba + blocks - start)
                read = io(Opcode.READ, start, count, data_in=count * BLOCK)
                await good(controller, _with(read, PRACT | checks, start))
                verify = io(Opcode.VERIFY, start, count)
                await good(controller, _with(verify, checks, start))


def _with(command: NvmeCommand, prinfo: int, tag: int) -> NvmeCommand:
    return NvmeCommand(
        command.opcode,
        command.nsid,
        command.cdw10,
        cdw12=command.cdw12 | prinfo,
        cdw14=tag,
        data_in=command.data_in,
    )


async def test_a_format_keeps_the_protection_information(rig: Rig) -> None:
    rig.expects_guest_errors = True
    async with rig.controller(disk(1, first=True)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        player.lu.mode.pending_block_bytes = 4096
        assert await player.do("FORMAT UNIT") == GOOD
        namespace = player.lu.facts.namespace
        assert (namespace.dps, player.lu.facts.lba_format.ms, player.lu.block_bytes) == (9, 8, 4096)
        await player.write(3, DATA[:40960])
        assert await player.read(3, 10) == DATA[:40960]


async def test_every_format_of_the_controller(rig: Rig) -> None:
    """Blocks of every length, with metadata of every size, which are a part of them or beside them.

    What is kept by the controller alone it finds right, and what is moved is right both ways.
    """
    rig.expects_guest_errors = True
    served: set[tuple[int, int, int, int]] = set()
    async with rig.controller(disk(1)) as controller:
        forms = controller.namespaces[1].lba_formats
        for place, kind, extended in product(range(len(forms)), TYPES, (0, 1)):
            first = (place + kind + extended) & 1
            ms = forms[place].ms
            if ms < 8:
                continue
            cdw10 = place | extended << 4 | kind << 5 | first << 8
            command = NvmeCommand(AdminOpcode.FORMAT_NVM, 1, cdw10=cdw10, admin=True)
            await good(controller, command)
            await controller.reset()
            if 1 not in controller.namespaces:
                assert ms > 8
                continue
            facts = controller.namespaces[1]
            assert (facts.protection_type, facts.lba_format.ms) == (kind, ms)
            await _kept_by_the_controller(Player.on(facts, controller), controller)
            if facts.moves_protection and kind != 2:
                await _moved(Player.on(facts, controller))
            served.add((facts.block_bytes, ms, kind, extended))
    blocks = {1 << form.lbads for form in forms if form.ms == 8}
    assert served >= set(product(blocks, (8,), TYPES, (0, 1)))


async def _kept_by_the_controller(player: Player, controller: Controller) -> None:
    block, kind = player.lu.block_bytes, player.lu.facts.protection_type
    data = DATA[: 6 * block]
    await player.write(LBA, data)
    assert await player.read(LBA, 6) == data
    checks = CHECK_GUARD | (CHECK_REFERENCE if kind != 3 else 0)
    await good(controller, _with(io(Opcode.VERIFY, LBA, 6), checks, LBA))
    if kind != 3:
        assert (await one(controller, _with(io(Opcode.VERIFY, LBA, 6), checks, LBA + 1))).status


async def _moved(player: Player) -> None:
    """Tuples go both ways, and one that is wrong goes nowhere."""
    player.nexus.delivery = ServiceDelivery(protection=True)
    block = player.lu.block_bytes
    whole = protected(DATA[: 6 * block], LBA, block_bytes=block)
    fields = {"lba": LBA, "transfer_length": 6}
    assert await player.do("WRITE (16)", whole, wrprotect=1, **fields) == GOOD
    assert (await player.do("READ (16)", rdprotect=1, **fields)).data_in == whole
    wrong = bytes([whole[0] ^ 1]) + whole[1:]
    result = await player.do("WRITE (16)", wrong, wrprotect=1, **fields)
    assert text(result) == str(LOGICAL_BLOCK_GUARD_CHECK_FAILED)
    assert (await player.do("READ (16)", rdprotect=1, **fields)).data_in == whole


async def test_a_tag_that_is_wrong(rig: Rig) -> None:
    """What somebody else has spoilt is not read as if it were good."""
    rig.expects_guest_errors = True
    async with rig.controller(disk(1)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        write = NvmeCommand(Opcode.WRITE, 1, 7, cdw12=PRACT, cdw14=8, data_out=b"\x11" * BLOCK)
        await one(controller, write)  # the tag is taken as it is given
        result = await player.do("READ (16)", lba=6, transfer_length=4)
        assert text(result) == str(LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED)
        assert (await player.do("READ (16)", lba=8, transfer_length=4)).status is Status.GOOD


@pytest.mark.parametrize(("kind", "number"), [*product(KINDS, TYPES)])
def test_the_hot_path(tmp_path: Path, kind: str, number: int) -> None:
    options = {"block": BLOCK, "metadata": 8, "protection": number}
    with (
        Daemon(tmp_path, spec(kind, tmp_path, size_mib=16, **options)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as initiator,
    ):
        initiator.login(IQN)
        initiator.hear()
        data = DATA * 4
        blocks = len(data) // BLOCK
        write = row("WRITE (16)").build(lba=77, transfer_length=blocks)
        assert initiator.command(0, write, data_out=data).status == Status.GOOD
        read = row("READ (16)").build(lba=77, transfer_length=blocks)
        assert zlib.crc32(initiator.command(0, read, data_in=len(data)).data) == zlib.crc32(data)
        verify = row("VERIFY (16)").build(lba=77, verification_length=blocks, bytchk=1)
        assert initiator.command(0, verify, data_out=data).status == Status.GOOD
        same = row("WRITE SAME (16)").build(lba=100, number_of_blocks=10, unmap=1, ndob=1)
        assert initiator.command(0, same).status == Status.GOOD
        swap = row("COMPARE AND WRITE").build(lba=100, number_of_blocks=1)
        halves = bytes(BLOCK) + b"\x77" * BLOCK
        assert initiator.command(0, swap, data_out=halves).status == Status.GOOD
        assert initiator.command(0, swap, data_out=halves).status == Status.CHECK_CONDITION
        again = initiator.command(0, read, data_in=len(data))
        assert again.data[23 * BLOCK : 25 * BLOCK] == b"\x77" * BLOCK + bytes(BLOCK)


# Tuples that are moved


@contextmanager
def served(tmp_path: Path, kind: str, number: int) -> Iterator[Initiator]:
    options = {"block": BLOCK, "metadata": 8, "protection": number, "extended": "on"}
    with (
        Daemon(tmp_path, spec(kind, tmp_path, size_mib=16, **options)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as initiator,
    ):
        initiator.login(IQN)
        initiator.hear()
        yield initiator


def long(name: str, tag: int, **fields: int) -> bytes:
    return row(name).build(expected_initial_reference_tag=tag, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_tuples_travel_behind_their_blocks(tmp_path: Path, kind: str) -> None:
    """Whatever PDUs and commands they are cut into, and they are checked on both ways."""
    with served(tmp_path, kind, 1) as one:
        assert one.command(0, row("INQUIRY").build(allocation_length=36), data_in=36).data[5] & 1
        asked = row("READ CAPACITY (16)").build(allocation_length=32)
        assert one.command(0, asked, data_in=32).data[12] & 0xF == 1
        data = DATA * 4
        blocks, whole = len(data) // BLOCK, protected(data, LBA, block_bytes=BLOCK)
        write = row("WRITE (16)").build(lba=LBA, transfer_length=blocks, wrprotect=1)
        assert one.command(0, write, data_out=whole).status == Status.GOOD
        read = row("READ (16)").build(lba=LBA, transfer_length=blocks, rdprotect=1)
        result = one.command(0, read, data_in=len(whole))
        assert (result.status, result.overflow, result.underflow) == (Status.GOOD, 0, 0)
        assert result.data == whole
        plain = row("READ (16)").build(lba=LBA, transfer_length=blocks)
        assert one.command(0, plain, data_in=len(data)).data == data
        verify = row("VERIFY (16)").build(
            lba=LBA, verification_length=blocks, bytchk=1, vrprotect=1
        )
        assert one.command(0, verify, data_out=whole).status == Status.GOOD


@pytest.mark.parametrize("kind", KINDS)
def test_tuples_that_are_wrong(tmp_path: Path, kind: str) -> None:
    with served(tmp_path, kind, 1) as one:
        data = DATA[: 8 * BLOCK]
        whole = protected(data, LBA, block_bytes=BLOCK)
        for at, protect, triple in (
            (520 * 3 + 5, 1, (0xB, 0x10, 0x01)),  # the data
            (520 * 3 + 513, 4, (0xB, 0x10, 0x01)),  # the guard
            (520 * 3 + 519, 2, (0xB, 0x10, 0x03)),  # the reference tag
        ):
            wrong = bytearray(whole)
            wrong[at] ^= 1
            write = row("WRITE (10)").build(lba=LBA, transfer_length=8, wrprotect=protect)
            result = one.command(0, write, data_out=bytes(wrong))
            assert (result.status, result.sense_triple) == (Status.CHECK_CONDITION, triple)
            unchecked = row("WRITE (10)").build(lba=LBA, transfer_length=8, wrprotect=3)
            assert one.command(0, unchecked, data_out=bytes(wrong)).status == Status.GOOD
            read = row("READ (10)").build(lba=LBA, transfer_length=8, rdprotect=protect)
            assert one.command(0, read, data_in=8 * 520).sense_triple == triple
            as_it_is = row("READ (10)").build(lba=LBA, transfer_length=8, rdprotect=3)
            assert one.command(0, as_it_is, data_in=8 * 520).data == bytes(wrong)


def chosen_by(one: Initiator, page: ModePage, **fields: int) -> None:
    """Set fields of a mode page as an initiator does: from what it is told."""
    names = {"page_code": page.code, "subpage_code": page.subpage}
    sense = row("MODE SENSE (10)").build(dbd=1, allocation_length=255, **names)
    data = bytearray(one.command(0, sense, data_in=255).data)
    data[:8] = bytes(8)
    data[8] &= 0x7F  # PS
    values = bytearray(data[8:])
    page.layout.write(values, **fields)
    select = row("MODE SELECT (10)").build(pf=1, parameter_list_length=8 + len(values))
    result = one.command(0, select, data_out=bytes(data[:8]) + bytes(values))
    assert result.status == Status.GOOD


def test_application_tags_over_the_portal(tmp_path: Path) -> None:
    """The hot path steps aside while they are the initiator's own."""
    with served(tmp_path, "emulated", 1) as one:
        whole = protected(DATA, LBA, block_bytes=BLOCK, application=0x1234)
        write = row("WRITE (16)").build(lba=LBA, transfer_length=250, wrprotect=1)
        assert one.command(0, write, data_out=whole).status == Status.GOOD
        plain = row("READ (16)").build(lba=LBA, transfer_length=250)
        assert one.command(0, plain, data_in=len(DATA)).data == DATA
        for tag in (0x1234, 0x1235):
            asked = row("READ CAPACITY (16)").build(allocation_length=32)
            capacity = int.from_bytes(one.command(0, asked, data_in=32).data[:8], "big")
            chosen_by(one, APPLICATION_TAG, tag_0=tag, count_0=capacity)
            chosen_by(one, CONTROL, ato=1, atmpe=1)
            read = one.command(0, plain, data_in=len(DATA))
            if tag == 0x1234:
                assert read.data == DATA
            else:
                assert read.sense_triple == (0xB, 0x10, 0x02)
        chosen_by(one, CONTROL, ato=0, atmpe=0)
        assert one.command(0, plain, data_in=len(DATA)).data == DATA


@pytest.mark.parametrize("kind", KINDS)
def test_type_2_by_long_cdbs(tmp_path: Path, kind: str) -> None:
    """Their reference tags are what the initiator says."""
    with served(tmp_path, kind, 2) as one:
        data, tag = DATA, 0x12345678
        whole = protected(data, tag, block_bytes=BLOCK)
        fields = {"lba": LBA, "transfer_length": 250}
        write = long("WRITE (32)", tag, wrprotect=1, **fields)
        assert one.command(0, write, data_out=whole).status == Status.GOOD
        read = long("READ (32)", tag, rdprotect=1, **fields)
        assert one.command(0, read, data_in=len(whole)).data == whole
        other = long("READ (32)", tag + 1, rdprotect=1, **fields)
        assert one.command(0, other, data_in=len(whole)).sense_triple == (0xB, 0x10, 0x03)
        without = long("READ (32)", tag, **fields)
        assert one.command(0, without, data_in=len(data)).data == data
        short = row("READ (16)").build(rdprotect=1, **fields)
        assert one.command(0, short, data_in=len(whole)).sense_triple == (0x5, 0x20, 0x00)
        plain = row("READ (16)").build(**fields)
        assert one.command(0, plain, data_in=len(data)).data == data
        same = long("WRITE SAME (32)", tag, lba=LBA, number_of_blocks=20, wrprotect=1)
        assert one.command(0, same, data_out=whole[:520]).status == Status.GOOD
        written = one.command(0, read, data_in=len(whole)).data
        assert written[: 20 * 520] == protected(data[:BLOCK] * 20, tag, block_bytes=BLOCK)
        count = {"lba": LBA, "verification_length": 250}
        verify = long("VERIFY (32)", tag, vrprotect=1, bytchk=1, **count)
        assert one.command(0, verify, data_out=written).status == Status.GOOD
        medium = long("VERIFY (32)", tag + 1, vrprotect=1, **count)
        assert one.command(0, medium).sense_triple == (0xB, 0x10, 0x03)


@pytest.mark.parametrize("number", TYPES)
async def test_a_format_to_and_from(rig: Rig, number: int) -> None:
    rig.expects_guest_errors = True
    async with rig.controller(Disk(block_bytes=BLOCK, metadata_bytes=0)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        player.nexus.delivery = ServiceDelivery(protection=True)
        for fmtpinfo, usage, wanted in ((2, 0, 1), (3, 0, 2), (3, 1, 3), (0, 0, 0)):
            if wanted not in (number, 0):
                continue
            header = bytes([usage, 0, 0, 0])
            fields = {"fmtdata": 1, "fmtpinfo": fmtpinfo}
            assert await player.do("FORMAT UNIT", header, **fields) == GOOD
            facts = player.lu.facts
            assert (facts.protection_type, facts.moves_protection) == (wanted, wanted > 0)
            await player.write(0, DATA[:4096])
            assert await player.read(0, 8) == DATA[:4096]


async def test_type_3(rig: Rig) -> None:
    """Reference tags are the initiator's own, and not checked."""
    async with rig.controller(disk(3, extended=True)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        player.nexus.delivery = ServiceDelivery(protection=True)
        whole = protected(DATA, 0x1234, block_bytes=BLOCK, step=7)
        fields = {"lba": LBA, "transfer_length": 250}
        assert await player.do("WRITE (16)", whole, wrprotect=1, **fields) == GOOD
        assert (await player.do("READ (16)", rdprotect=1, **fields)).data_in == whole
        assert await player.read(LBA, 250) == DATA
        same = {"lba": LBA, "number_of_blocks": 9, "wrprotect": 5}
        assert await player.do("WRITE SAME (16)", whole[:520], **same) == GOOD
        assert (await player.do("READ (16)", rdprotect=1, **fields)).data_in[:4680] == (
            whole[:520] * 9
        )


async def choose(player: Player, page: ModePage, **fields: int) -> None:
    """Set fields of a mode page, and leave the others as they are."""
    values = bytearray(player.lu.mode.values(page, PageControl.CURRENT))
    page.layout.write(values, **fields)
    data = bytes(8) + page.with_header(bytes(values), saveable=False)
    assert await player.do("MODE SELECT (10)", data, pf=1, parameter_list_length=len(data)) == GOOD


async def test_application_tags(rig: Rig) -> None:
    """Those of a page are expected of its blocks, and the controller judges."""
    rig.expects_guest_errors = True
    wrong = str(LOGICAL_BLOCK_APPLICATION_TAG_CHECK_FAILED)
    async with rig.controller(disk(1, extended=True)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        player.nexus.delivery = ServiceDelivery(protection=True)
        edge, blocks = LBA + 100, player.lu.capacity_blocks
        ranges = {"count_0": edge, "lba_1": edge, "count_1": blocks - edge}
        await choose(player, APPLICATION_TAG, last_0=0, last_1=1, tag_0=0x1234, tag_1=7, **ranges)
        await choose(player, CONTROL, ato=1, atmpe=1)
        whole = protected(DATA, LBA, block_bytes=BLOCK)
        tagged = with_tags(whole, *(0x1234 if LBA + n < edge else 7 for n in range(250)))
        fields = {"lba": LBA, "transfer_length": 250}
        assert await player.do("WRITE (16)", tagged, wrprotect=1, **fields) == GOOD
        for protect in (1, 2, 5):
            assert (await player.do("READ (16)", rdprotect=protect, **fields)).data_in == tagged
        assert await player.read(LBA, 250) == DATA
        verify = {"lba": LBA, "verification_length": 250}
        assert await player.do("VERIFY (16)", **verify) == GOOD
        assert await player.do("VERIFY (16)", tagged, vrprotect=1, bytchk=1, **verify) == GOOD
        await choose(player, APPLICATION_TAG, tag_1=8)
        assert text(await player.do("READ (16)", **fields)) == wrong
        assert text(await player.do("READ (16)", rdprotect=1, **fields)) == wrong
        assert text(await player.do("VERIFY (16)", **verify)) == wrong
        assert text(await player.do("WRITE (16)", tagged, wrprotect=1, **fields)) == wrong
        for protect in (3, 4):
            assert (await player.do("READ (16)", rdprotect=protect, **fields)).data_in == tagged
        await player.write(LBA, DATA)  # without tags: it is not checked
        assert await player.read(LBA, 250) == DATA
        found = (await player.do("READ (16)", rdprotect=3, **fields)).data_in
        assert found == with_tags(whole, *[0xFFFF] * 250)


def with_tags(blocks: bytes, *tags: int) -> bytes:
    """Return blocks with tuples that have these application tags."""
    changed = bytearray(blocks)
    for n, tag in enumerate(tags):
        at = n * (BLOCK + 8) + BLOCK + 2
        changed[at : at + 2] = tag.to_bytes(2, "big")
    return bytes(changed)
