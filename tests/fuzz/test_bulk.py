"""Both translations held against each other by the thousand; `test_planted` has what is found."""

from __future__ import annotations

import pytest

from scsi2nvme.command import Hot
from scsi2nvme.commands import COMMANDS
from scsi2nvme.fuzz import bulk, native
from scsi2nvme.fuzz.dice import Dice
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.situations import make_unit
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES


def test_the_hot_path_takes_some_of_each_row() -> None:
    """By chance a CDB of another row has become one of these."""
    taken = bulk.batch(1, 0, 8000)
    taken |= bulk.batch(1, 0, 3000, "WRITE ATOMIC")  # few namespaces have it
    often = {name for name, count in taken.items() if count > 40}
    assert often == {row.name for row in COMMANDS if row.hot is not Hot.NO}


def test_a_seed_and_a_number_repeat_a_batch() -> None:
    one, same, other = (bulk.namespaces(seed, 4) for seed in (7, 7, 8))
    assert one == same != other
    lu, _ = make_unit(one[-1])
    row = next(row for row in COMMANDS if row.hot is Hot.UNMAP)
    thrown = [[Dice(lu, seed).request(row) for _ in range(2)] for seed in ("7", "7", "8")]
    assert thrown[0] == thrown[1] != thrown[2]


def test_cdbs_are_those_of_hosts_and_of_nobody() -> None:
    lu, _ = make_unit(bulk.namespaces(1, 9)[-1])
    dice = Dice(lu, "1")
    for row in COMMANDS:
        cdbs = [dice.request(row) for _ in range(200)]
        assert any(cdb[0] == row.opcode and len(cdb) == row.length for cdb, _ in cdbs)
        assert len({len(cdb) for cdb, _ in cdbs}) > 5
        assert all(len(data) <= MAXIMUM_TRANSFER_BYTES for _, data in cdbs)


def test_findings_tell_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*_: object) -> bool:
        raise Finding(COMMANDS[0], "opcode", "planted")

    monkeypatch.setattr(native, "compare", compare)
    said: list[str] = []
    found = bulk.run(2 * bulk.CDBS_OF_BATCH, 5, 1, said.append)
    assert found == [f"batch {number}: {COMMANDS[0].name}: opcode: planted" for number in (0, 1)]
    assert said[0] == "seed 5, 2 batches of 20000 CDBs"
