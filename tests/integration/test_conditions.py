"""What an initiator asks and tells of a logical unit beyond its data, over every controller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scsi2nvme.commands.lba_status import DESCRIPTOR
from scsi2nvme.scsi.result import GOOD
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.integration.rig import Rig
from tests.integration.test_scsi_commands import Player
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import until

WHEN = 10**12
ANY = (
    "emulated:memory,size=64M,tcg=on,security=on,powerstates=5,uncorrectable=on,lba-status=on,"
    "streams=7"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Serve a disk that can do everything."""
    with Daemon(tmp_path_factory.mktemp("daemon"), ANY) as daemon:
        yield daemon


@pytest.fixture
def one(daemon: Daemon) -> Iterator[Initiator]:
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        yield one


def data_of(one: Initiator, cdb: str, length: int = 512) -> bytes:
    """Return the data of a command that succeeds."""
    result = one.command(0, bytes.fromhex(cdb), data_in=length)
    assert result.status == 0, result.sense_triple
    return result.data


def test_what_a_disk_says_of_tcg(one: Initiator) -> None:
    assert data_of(one, "A2 00 0000 80 00 00000001 00 00")[:11] == bytes(7) + b"\3\0\1\2"
    discovery = data_of(one, "A2 01 0001 00 00 00000040 00 00", 64)
    assert (discovery[:4], discovery[48:50]) == (bytes([0, 0, 0, 60]), b"\0\1")
    reset = bytes.fromhex("07FE0000 00000002")
    send = bytes.fromhex("B5 02 07FE 80 00 00000001 00 00")
    sent = one.command(0, send, data_out=reset.ljust(512, b"\0"))
    assert sent.status == 0, sent.sense_triple
    assert data_of(one, "A2 02 07FE 80 00 00000001 00 00")[:12] == reset + bytes([0, 0, 0, 4])


def lba_status(one: Initiator, kind: int = 0, lba: int = 0) -> list[tuple[int, int, int, int]]:
    """Return LBA, number, provisioning and additional status of each descriptor."""
    cdb = row("GET LBA STATUS (16)").build(lba=lba, report_type=kind, allocation_length=4096)
    data = one.command(0, cdb, data_in=4096).data
    found = (DESCRIPTOR.parse(data[at : at + 16]) for at in range(8, len(data), 16))
    return [(d.lba, d.blocks, d.provisioning_status, d.additional_status) for d in found]


def test_which_blocks_cannot_be_read(one: Initiator) -> None:
    assert lba_status(one, 0x10) == []
    for lba in (40, 41, 99):
        cdb = row("WRITE LONG (16)").build(lba=lba, wr_uncor=1)
        assert one.command(0, cdb).status == 0
    assert lba_status(one, 0x10) == [(40, 2, 0, 1), (99, 1, 0, 1)]
    defects = data_of(one, "4D 00 55 01 00 0000 0200 00")
    assert defects[4:12].hex() == "0000030400000003"
    assert [int.from_bytes(defects[at : at + 8], "big") for at in (20, 36, 52)] == [40, 41, 99]
    for lba in (40, 41, 99):
        cdb = row("WRITE (10)").build(lba=lba, transfer_length=1)
        assert one.command(0, cdb, data_out=bytes(512)).status == 0
    assert lba_status(one, 0x10) == []
    assert data_of(one, "4D 00 55 01 00 0000 0200 00")[4:].hex() == "0000030400000000"


def test_which_blocks_are_allocated(tmp_path: Path) -> None:
    disk = spec("emulated", tmp_path, size_mib=1, **{"lba-status": "on"})
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        assert lba_status(one) == [(0, 2048, 1, 0)]
        written = row("WRITE (10)").build(lba=64, transfer_length=16)
        assert one.command(0, written, data_out=bytes([1] * 8192)).status == 0
        whole = [(0, 64, 1, 0), (64, 16, 0, 0), (80, 1968, 1, 0)]
        assert lba_status(one) == whole
        assert lba_status(one, 2) == whole[1:2]
        unmap = row("UNMAP").build(parameter_list_length=24)
        blocks = bytes([0, 22, 0, 16, *bytes(4)]) + (64).to_bytes(8, "big") + bytes([0, 0, 0, 16])
        assert one.command(0, unmap, data_out=blocks + bytes(4)).status == 0
        assert lba_status(one) == [(0, 2048, 1, 0)]


def test_how_much_an_active_disk_may_take(one: Initiator) -> None:
    page = data_of(one, "12 01 8D 00 FF 00", 255)
    assert page.hex(" ", 4) == "008d000c 00042328 010411f8 02040af0"
    lowest = bytes.fromhex("5A01000C 0000 03 00").ljust(16, b"\0")
    for wanted in (lowest, lowest[:6] + bytes(10)):
        selected = one.command(
            0, bytes.fromhex("55 10 0000000000 0018 00"), data_out=bytes(8) + wanted
        )
        assert selected.status == 0, selected.sense_triple
        assert data_of(one, "5A 08 1A 01 000000 0018 00", 24)[8:] == wanted


async def test_a_clock_that_was_set_goes_on_through_a_reset(rig: Rig) -> None:
    async with rig.controller() as controller:
        player = Player.on(controller.namespaces[1], controller)
        data = bytes(4) + WHEN.to_bytes(6, "big") + bytes(2)
        assert await player.do("SET TIMESTAMP", data, parameter_list_length=12) == GOOD
        await controller.reset()
        found = (await player.do("REPORT TIMESTAMP", allocation_length=12)).data_in
        assert found[2] == 2
        assert WHEN <= int.from_bytes(found[4:10], "big") < WHEN + 60_000


def identifying(kind: int, opcode: int, action: int, length: int) -> bytes:
    return bytes([opcode, action, 0, 0, 0, 0]) + length.to_bytes(4, "big") + bytes([kind << 1, 0])


def test_what_is_noted_of_a_disk_outlives_the_daemon(tmp_path: Path) -> None:
    text = b"Regal 4"
    with (
        Daemon(tmp_path, spec("emulated", tmp_path)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.command(0, bytes(6))
        noted = one.command(0, identifying(2, 0xA4, 6, len(text)), data_out=text)
        assert noted.status == 0, noted.sense_triple
    with (
        Daemon(tmp_path, spec("emulated", tmp_path)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.command(0, bytes(6))
        found = one.command(0, identifying(2, 0xA3, 5, 255), data_in=255).data
        assert found == len(text).to_bytes(4, "big") + text


# ---- power ----

REQUEST_SENSE = "03 00 00 00 12 00"
IDLE_A_BY_TIMER, NOTHING = (0x5E, 0x01), (0x00, 0x00)


def sense(one: Initiator) -> tuple[int, int]:
    data = data_of(one, REQUEST_SENSE, 18)
    return data[12], data[13]


def test_a_timer_lets_a_disk_rest_until_it_is_used(one: Initiator) -> None:
    page = bytes([0x1A, 38, 0, 0b10]) + (1).to_bytes(4, "big") + bytes(32)  # idle_a, 100 ms
    select = bytes([0x15, 0x10, 0, 0, 44, 0])
    assert one.command(0, select, data_out=bytes(4) + page).status == 0
    until(lambda: sense(one) == IDLE_A_BY_TIMER, "the disk rests")
    select_none = bytes(4) + bytes([0x1A, 38]) + bytes(38)
    assert one.command(0, select, data_out=select_none).status == 0
    assert sense(one) == IDLE_A_BY_TIMER  # nobody has used it
    data_of(one, "28 00 00000000 00 0001 00")
    assert sense(one) == NOTHING
    log = data_of(one, "4D 00 5A 00 00 0000 00FF 00", 255)
    assert log[4:20].hex(" ", 4) == "00010304 00000001 00020304 00000001"


# ---- thin provisioning ----

MEBIBYTE = 1 << 20
THRESHOLD_REACHED = (6, 0x38, 0x07)


def test_who_wants_to_know_is_told_that_a_thin_disk_fills(tmp_path: Path) -> None:
    used = 4  # threshold sets, of a mebibyte
    page = bytes([0x5C, 0x02, 0, 28]) + bytes(12) + bytes([0, 1]) + bytes(6)
    page += bytes([0x81, 2, 0, 0]) + used.to_bytes(4, "big")
    with (
        Daemon(tmp_path, f"emulated:{tmp_path / 'disk.img'},size=64M,thinp=on") as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.command(0, bytes(6))
        log = "4D 00 4C 00 00 0000 00FF 00"
        assert data_of(one, log, 255)[8:12] == (64).to_bytes(4, "big")  # available
        blocks = MEBIBYTE // 512
        for at in range(used):
            write = bytes([0x2A, 0]) + (at * blocks).to_bytes(4, "big") + b"\0"
            write += blocks.to_bytes(2, "big") + b"\0"
            assert one.command(0, write, data_out=b"x" * MEBIBYTE).status == 0
        select = bytes([0x55, 0x10, 0, 0, 0, 0, 0, 0, 40, 0])
        assert one.command(0, select, data_out=bytes(8) + page).status == 0

        def told() -> bool:
            result = one.command(0, bytes(6))
            return result.status != 0 and result.sense_triple == THRESHOLD_REACHED

        until(told, "it is told")
        assert data_of(one, log, 255)[20:24] == used.to_bytes(4, "big")
