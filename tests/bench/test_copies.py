"""The measurement of copies: both ways copy what they say, and the table has a row for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import copies, peers
from bench.hosts import READ, WRITE, transfer
from bench.isolation import place_of
from tests.iscsi_client import Initiator

MIB = 1 << 20


@pytest.mark.parametrize("name", copies.WAYS)
def test_each_way_copies(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "SIZE_BYTES", 4 * MIB)
    monkeypatch.setattr(copies, "COPY_BYTES", MIB)
    with peers.scsi2nvme(tmp_path, 4 * MIB, namespaces=2) as target:
        address, iqn = place_of(target)
        with Initiator(address, timeout=60) as one:
            one.login(iqn)
            for lun in (0, 1):
                one.hear(lun)
            data = bytes(range(256)) * (2 * MIB // 256)
            assert one.command(0, transfer(WRITE, 2 * MIB), data_out=data).status == 0
            way = copies.WAYS[name](one)
            assert [next(way), next(way)] == [MIB, MIB]
            assert one.command(1, transfer(READ, 2 * MIB), data_in=2 * MIB).data == data


def test_the_table_has_a_row_for_each_way() -> None:
    own = {"alone": 1000.0, "beside": 250.0, "iops": 90.0}
    lines = copies.markdown({"nobody": {"iops": 100.0}, "somebody": own}).splitlines()
    assert lines[2:] == ["| somebody | 1000 | 250 | 0.90 |"]
