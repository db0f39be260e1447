"""What was set holds after a reset of the controller; a reset of the logical unit undoes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.commands.unit_reset import reset
from scsi2nvme.executor import play
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED
from tests.daemon import IQN, Daemon, scsi2nvme
from tests.integration.disks import KINDS, spec
from tests.integration.rig import Rig, good, read, write
from tests.integration.test_scsi_commands import Player
from tests.iscsi_client import Initiator

TEMPERATURE, WRITE_CACHE, TIMESTAMP = 0x04, 0x06, 0x0E
LOGICAL_UNIT_RESET, TARGET_WARM_RESET = 5, 6
WCE = 1 << 2
CURRENT, DEFAULT = 0, 2


def caching(wce: int) -> bytes:
    """Return a mode parameter list with the Caching page."""
    return bytes([0, 0, 0, 0, 0x08, 18, wce * WCE]) + bytes(17)


async def test_features_survive_resets(rig: Rig) -> None:
    async with rig.controller() as controller:
        commands = controller.commands
        await commands.set_feature(TEMPERATURE, 350)
        await commands.set_feature(TEMPERATURE, 280 | 1 << 20)
        await commands.set_feature(WRITE_CACHE, 0)
        for _ in range(2):
            await controller.reset()
            over = await commands.get_feature(TEMPERATURE)
            under = await commands.get_feature(TEMPERATURE, cdw11=1 << 20)
            assert (over.dw0 & 0xFFFF, under.dw0 & 0xFFFF) == (350, 280)
            assert (await commands.get_feature(WRITE_CACHE)).dw0 == 0


async def test_a_feature_that_is_set_during_a_reset_is_what_the_controller_has(rig: Rig) -> None:
    """Before, during or after: it is set, or whoever set it is told that it is not."""
    async with rig.controller() as controller:
        for round_ in range(12):
            value = 300 + round_
            resetting = asyncio.create_task(controller.reset())
            for _ in range(round_):
                await asyncio.sleep(0)
            setting = asyncio.create_task(controller.commands.set_feature(TEMPERATURE, value))
            await asyncio.gather(resetting, setting)
            for _ in range(2):
                found = await controller.commands.get_feature(TEMPERATURE)
                assert found.dw0 & 0xFFFF == value
                await controller.reset()


async def test_time_goes_on_through_a_reset(rig: Rig) -> None:
    async with rig.controller() as controller:
        data = (10**12).to_bytes(6, "little") + b"\0\0"
        await controller.commands.set_feature(TIMESTAMP, data_out=data)
        await controller.reset()
        found = await controller.commands.get_feature(TIMESTAMP, data_in=8)
        assert 10**12 <= int.from_bytes(found.data[:6], "little") < 10**12 + 60_000


async def test_a_logical_unit_reset_undoes_what_was_not_saved(rig: Rig) -> None:
    async with rig.controller() as controller:
        player = Player.on(controller.namespaces[1], controller)
        usual = (await controller.commands.get_feature(WRITE_CACHE, select=1)).dw0
        await good(controller, write(0, b"x" * 4096))
        fields = {"pf": 1, "parameter_list_length": 24}
        assert await player.do("MODE SELECT (6)", caching(1 - usual), **fields) == GOOD
        await controller.reset()
        assert (await controller.commands.get_feature(WRITE_CACHE)).dw0 == 1 - usual
        assert await play(reset(player.lu, BUS_DEVICE_RESET_FUNCTION_OCCURRED), controller) == GOOD
        assert (await controller.commands.get_feature(WRITE_CACHE)).dw0 == usual
        await controller.reset()
        assert (await controller.commands.get_feature(WRITE_CACHE)).dw0 == usual
        assert await good(controller, read(0, 1)) == b"x" * 4096


# ---- through the daemon ----


def reset_controller(daemon: Daemon) -> None:
    assert scsi2nvme("reset", "0", "--state-dir", str(daemon.state_dir)).returncode == 0


def write_cache(one: Initiator, control: int = CURRENT) -> int:
    result = one.command(0, bytes([0x1A, 8, control << 6 | 0x08, 0, 0xFF, 0]), data_in=255)
    assert result.status == 0, result.sense_triple
    return result.data[4 + 2] >> 2 & 1


def change_write_cache(one: Initiator) -> int:
    """Set it to what is not its default, which is returned."""
    usual = write_cache(one, DEFAULT)
    changed = caching(1 - usual)
    assert one.command(0, bytes([0x15, 0x10, 0, 0, len(changed), 0]), data_out=changed).status == 0
    assert write_cache(one) == 1 - usual
    return usual


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_cache_stays_as_an_initiator_set_it(kind: str, tmp_path: Path) -> None:
    with (
        Daemon(tmp_path, spec(kind, tmp_path)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.command(0, bytes(6))
        usual = change_write_cache(one)
        reset_controller(daemon)
        assert one.command(0, bytes(6)).status == 0  # there is nothing to tell
        assert write_cache(one) == 1 - usual


@pytest.mark.parametrize("function", [LOGICAL_UNIT_RESET, TARGET_WARM_RESET])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_by_an_initiator(kind: str, function: int, tmp_path: Path) -> None:
    """The write cache is as it was at first, and a stopped unit is active."""
    with (
        Daemon(tmp_path, spec(kind, tmp_path)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as one,
    ):
        one.login(IQN)
        one.command(0, bytes(6))
        usual = change_write_cache(one)
        assert one.command(0, bytes([0x1B, 0, 0, 0, 0, 0])).status == 0
        assert one.command(0, bytes(6)).sense_triple == (2, 0x04, 0x02)
        assert one.task_management(function).response == 0
        assert one.command(0, bytes(6)).sense_triple == (6, 0x29, 0x03)
        assert one.command(0, bytes(6)).status == 0
        assert write_cache(one) == usual
