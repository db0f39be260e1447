"""Which portal group each of a disk's controllers is in, from one start to the next."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import cast

import pytest

from scsi2nvme.cli.daemon.portal_groups import PortalGroups
from scsi2nvme.cli.daemon.state import JsonStore
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.service.names import subsystem_of
from tests.support import make_facts

MULTIPLE = 1 << 1
FILE = "portal-groups.json"


def controller(number: int, serial: bytes = b"S1", cmic: int = MULTIPLE) -> Values:
    told: dict[str, int | bytes] = {
        "cntlid": number,
        "cmic": cmic,
        "sn": serial.ljust(20),
        "subnqn": b"nqn.x".ljust(256),
    }
    return make_facts(controller=told).controller


COUNTED = '{"disks": [{"disk": "DISK", "tags": {"7": 1, "3": 2}}]}'


def counted(directory: Path) -> Path:
    """Have two controllers that were counted as they came, as daemons did before."""
    disk = subsystem_of(controller(7))
    (directory / FILE).write_text(COUNTED.replace("DISK", disk))
    return directory


def test_two_daemons_have_others_for_controllers_of_one_disk(tmp_path: Path) -> None:
    told = []
    for number in (7, 3):
        (tmp_path / str(number)).mkdir()
        groups = PortalGroups(JsonStore(tmp_path / str(number)))
        told.append([groups.of(controller(each)) for each in (number, number)])
    assert told == [[8, 8], [4, 4]]


def test_it_is_by_the_controller_s_identifier(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(tmp_path))
    assert [groups.of(controller(number)) for number in (7, 1, 7, 0xFFEF)] == [8, 2, 8, 0xFFF0]
    assert groups.of(controller(3, b"S2")) == 4


def test_who_was_counted_keeps_what_it_had(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(counted(tmp_path)))
    assert [groups.of(controller(number)) for number in (3, 7, 5)] == [2, 1, 6]


def test_who_cannot_have_its_own_has_one_that_is_nobody_s(tmp_path: Path) -> None:
    """Another daemon would tell it for the controller whose own it is."""
    groups = PortalGroups(JsonStore(counted(tmp_path)))
    assert [groups.of(controller(number)) for number in (0, 1, 16)] == [0xFFFF, 0xFFFE, 17]


def test_the_first_is_left_to_targets_whose_luns_are_chosen(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(tmp_path))
    assert [groups.of(controller(number)) for number in (0, 15, 0xFFFE)] == [0xFFFF, 16, 0xFFF1]


def test_who_was_counted_and_may_meet_another_is_known(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(counted(tmp_path)))
    for number in (0, 5):
        groups.of(controller(number))
    assert [groups.counted(controller(number)) for number in (7, 3, 0, 5, 9)] == [1, 2, 0, 0, 0]
    assert groups.strangers(controller(7), (0, 7, 9, 3, 8)) == [8, 9]
    assert not PortalGroups(JsonStore(tmp_path), first=101).counted(controller(7))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Completion(data=struct.pack("<4H", 3, 3, 7, 9)), [" (9)"]),
        (Completion(data=struct.pack("<3H", 2, 3, 7)), []),
        (Completion(2), [""]),
    ],
    ids=["another one is there", "no other one is there", "nobody knows"],
)
def test_where_another_daemon_may_tell_the_same_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: Completion, told: list[str]
) -> None:
    class Asked:
        identity = controller(7)

        async def execute(self, command: NvmeCommand) -> tuple[Completion, ...]:
            assert command.cdw10 == 0x13
            return (answer,)

    groups = PortalGroups(JsonStore(counted(tmp_path)))
    asyncio.run(groups.tell_counted(cast(Controller, Asked()), "pci:x"))
    whole = (
        "controller 'pci:x' is in target port group 1, as 0.1 has counted it: a daemon that serves "
        "another controller of its disk{} may tell that number, too, which initiators take for one "
        "group; see first_port_group"
    )
    assert caplog.messages == [whole.format(each) for each in told]


def test_a_disk_with_one_controller_is_in_the_first(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(tmp_path))
    assert [groups.of(controller(number, cmic=0)) for number in (1, 2)] == [1, 1]
    assert not (tmp_path / FILE).exists()


def test_they_last(tmp_path: Path) -> None:
    before = PortalGroups(JsonStore(tmp_path))
    told = [before.of(controller(number)) for number in (0xFFF0, 0)]
    assert told == [0xFFF1, 0xFFFF]
    after = PortalGroups(JsonStore(tmp_path))
    assert [after.of(controller(number)) for number in (0, 0xFFF0)] == [0xFFFF, 0xFFF1]


def test_they_are_counted_from_what_is_configured(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(counted(tmp_path)), first=101)
    assert [groups.of(controller(number)) for number in (3, 7, 5)] == [102, 101, 106]
    assert groups.of(controller(1, cmic=0)) == 101


def test_none_is_told_that_is_another_s(tmp_path: Path) -> None:
    groups = PortalGroups(JsonStore(tmp_path), first=0xFFFF)
    assert groups.of(controller(7)) == 0xFFFF
    with pytest.raises(OperationError, match=r"first_port_group.*65536, beyond 65535"):
        groups.of(controller(3))
    assert groups.of(controller(7)) == 0xFFFF
    assert PortalGroups(JsonStore(tmp_path)).of(controller(3)) == 4  # what was refused is not kept


@pytest.mark.parametrize(
    "disks",
    [
        '[{"disk": "x", "tags": {"1": 1, "2": 1}}]',
        '[{"disk": "x", "tags": {"1": 0}}]',
        '[{"disk": "x", "tags": {"1": 65536}}]',
        '[{"disk": "x", "tags": {"a": 1}}]',
        '[{"disk": "x", "tags": {"65536": 1}}]',
        '"x"',
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, disks: str) -> None:
    (tmp_path / FILE).write_text(f'{{"disks": {disks}}}')
    with pytest.raises(OperationError, match=FILE):
        PortalGroups(JsonStore(tmp_path))
