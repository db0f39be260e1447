"""Two daemons, a controller of one disk each: initiators can tell their ports and groups apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scsi2nvme.commands.vpd_pages.designators import DESIGNATOR_HEADER, Designator
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator
from tests.support import row

GROUPS = (2, 3)  # those of controllers 1 and 2
UNIT, PORT = 0, 1  # ASSOCIATION


@pytest.fixture
def both(tmp_path: Path) -> Iterator[list[Initiator]]:
    """An initiator at each daemon."""
    disk, found = tmp_path / "disk", []
    with ExitStack() as stack:
        for number in (1, 2):
            directory = tmp_path / str(number)
            directory.mkdir()
            spec = f"emulated:{disk},size=4M,controller={number}"
            daemon = stack.enter_context(Daemon(directory, spec))
            one = stack.enter_context(Initiator(("127.0.0.1", daemon.port)))
            one.login(IQN)
            one.hear()
            found.append(one)
        yield found


def designators(one: Initiator) -> dict[tuple[int, int], bytes]:
    """Return the designators of page 83h, by association and type."""
    cdb = row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=512)
    page, found = one.command(0, cdb, data_in=512).data[4:], {}
    while page:
        header = DESIGNATOR_HEADER.parse(page)
        found[header.association, header.designator_type] = page[4 : 4 + header.length]
        page = page[4 + header.length :]
    return found


def group(one: Initiator) -> tuple[int, list[int]]:
    """Return the one target port group that a daemon tells of, and its ports."""
    cdb = row("REPORT TARGET PORT GROUPS").build(allocation_length=255)
    data = one.command(0, cdb, data_in=255).data
    assert int.from_bytes(data[:4], "big") == len(data) - 4 == 8 + 4 * data[11]
    ports = [int.from_bytes(data[at + 2 : at + 4], "big") for at in range(12, len(data), 4)]
    return int.from_bytes(data[6:8], "big"), ports


def test_ports_and_groups_of_two_daemons_differ(both: list[Initiator]) -> None:
    told = [designators(one) for one in both]
    units = [{each: value for each, value in one.items() if each[0] == UNIT} for one in told]
    assert units[0] == units[1]
    for one, those, number in zip(both, told, GROUPS, strict=True):
        assert those[PORT, Designator.RELATIVE_TARGET_PORT] == number.to_bytes(4, "big")
        assert those[PORT, Designator.TARGET_PORT_GROUP] == number.to_bytes(4, "big")
        assert f",t,0x{number:04x}".encode() in those[PORT, Designator.SCSI_NAME_STRING]
        assert group(one) == (number, [number])
