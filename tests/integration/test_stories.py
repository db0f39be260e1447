"""What hypervisors and clusters send is answered as they need it, over the portal as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.commands.initiators import NAA, STORIES
from tests.commands.vectors import block
from tests.daemon import IQN, Daemon
from tests.integration.test_copies import names
from tests.iscsi_client import Initiator
from tests.support import row

NUMBERS = {name: number for number, name in enumerate(STORIES)}
CHECK_CONDITION = 0x02
Nexuses = dict[str, Initiator]


@pytest.fixture(scope="module")
def nexuses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexuses]:
    """Two initiators, of a target with a logical unit for each story."""
    directory = tmp_path_factory.mktemp("stories")
    spec = f"emulated:{directory / 'disk'},size=32M,block=512,namespaces={len(STORIES)}"
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(directory, spec))
        found = {}
        for name in ("a", "b"):
            one = Initiator(("127.0.0.1", daemon.port), f"iqn.2026-11.test:{name}")
            found[name] = stack.enter_context(one)
            one.login(IQN)
            for lun in NUMBERS.values():
                one.hear(lun)
        yield found


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well(name: str, nexuses: Nexuses) -> None:
    lun, one = NUMBERS[name], nexuses["a"]
    fill = row("WRITE (10)").build(transfer_length=16)
    assert one.command(lun, fill, data_out=b"".join(map(block, range(16)))).status == 0
    own = names(one, lun)[8:24]
    for step in STORIES[name]:
        cdb = bytes.fromhex(step.cdb)
        out = step.out.replace(bytes.fromhex(NAA), own)
        found = nexuses[step.nexus].command(lun, cdb, data_out=out, data_in=len(step.data))
        status = CHECK_CONDITION if step.sense else int(step.status)
        told = (found.status, found.sense_triple if found.sense else None, found.data)
        assert told == (status, step.sense, step.data), step.cdb
