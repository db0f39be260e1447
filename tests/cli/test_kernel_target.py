"""What the kernel's target, as a front end, tells people of the disks that are served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scsi2nvme.api.configuration import TcmuTable
from scsi2nvme.cli.daemon.front_ends.front_end import Serving
from scsi2nvme.cli.daemon.front_ends.tcmu.kernel_target import KernelTarget
from scsi2nvme.drivers.nvme.controller import ControllerState
from tests.support import make_lu


def served(names: tuple[str, ...], **options: Any) -> SimpleNamespace:
    controller = SimpleNamespace(state=ControllerState.LIVE, failure="")
    units = {1: make_lu(blocks=1000, **options)}
    return SimpleNamespace(names=names, units=units, controller=controller)


@pytest.fixture
def target(tmp_path: Path) -> KernelTarget:
    disks = [served(("0000_01_00.0", "0")), served(("1",), block_bytes=4096)]
    serving = SimpleNamespace(
        settings=SimpleNamespace(state_dir=tmp_path), service=None, served=disks
    )
    return KernelTarget(cast(Serving, serving), TcmuTable(dbus=False))


def test_each_disk_has_a_command_of_its_own(target: KernelTarget) -> None:
    commands = [
        "create name=nvme-0000_01_00.0-1 size=512000B cfgstring=0000_01_00.0/1",
        "create name=nvme-1-1 size=4096000B cfgstring=1/1 control=hw_block_size=4096",
    ]
    assert target.description().splitlines()[1:] == ["Here:", *(f"  {one}" for one in commands)]
    greeting = list(target.greeting())[1:]
    assert greeting == [f"  sudo targetcli /backstores/user:nvme {one}" for one in commands]


def test_who_asks_for_help_is_told_of_a_disk_that_is_lost(target: KernelTarget) -> None:
    """targetcli itself says of each backstore no more than that it is activated."""
    controller = target._served[1].controller
    controller.state, controller.failure = ControllerState.DEAD, "it was pulled out"
    assert target.description().splitlines()[-1] == "Controller 1 is dead: it was pulled out"


def test_who_asks_for_help_is_told_of_a_disk_that_warns(target: KernelTarget) -> None:
    (lu,) = target._served[0].units.values()
    lu.exceptions.observe(1 << 0 | 1 << 3)
    assert target.description().splitlines()[-1] == (
        "Controller 0000_01_00.0 warns: read_only, spare"
    )


def test_beside_tcmu_runner_the_commands_say_so(
    target: KernelTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "_bus", SimpleNamespace(guest=True))
    assert "control=hw_block_size=4096,nl_reply_supported=-1" in target.description()


class Devices:
    """A front end that counts how often it looks for devices from before."""

    def __init__(self) -> None:
        self.recovered = 0

    async def follow_inventory(self) -> None:
        pass

    async def recover(self) -> None:
        self.recovered += 1


def test_devices_from_before_are_looked_for_when_what_they_name_comes(
    target: KernelTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a controller that was up already: a copy, once its original is forgotten."""
    devices = Devices()
    monkeypatch.setattr(target, "_front_end", devices)
    _, second = target._served

    async def work() -> None:
        await target.follow_inventory()
        assert devices.recovered == 0
        gone = second.units.pop(1)
        await target.follow_inventory()
        assert devices.recovered == 0
        second.units[1] = gone
        await target.follow_inventory()
        await target.follow_inventory()
        assert devices.recovered == 1

    asyncio.run(work())
