"""What an initiator asks and tells of a logical unit beyond its data, over every controller."""

from __future__ import annotations

from pathlib import Path

from scsi2nvme.scsi.result import GOOD
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.integration.rig import Rig
from tests.integration.test_scsi_commands import Player
from tests.iscsi_client import Initiator

WHEN = 10**12


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
