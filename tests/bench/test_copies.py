"""The measurement of copies: all ways copy what they say, and the table has a row for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import copies, peers
from bench.hosts import READ, WRITE, transfer
from bench.isolation import place_of
from tests.iscsi_client import Initiator

MIB = 1 << 20
SIZE = 8 * MIB


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "SIZE_BYTES", SIZE)
    monkeypatch.setattr(copies, "COPY_BYTES", MIB)


@pytest.mark.parametrize("name", copies.WAYS)
def test_each_way_copies(name: str, tmp_path: Path) -> None:
    way = copies.WAYS[name]
    with peers.scsi2nvme(tmp_path, SIZE, namespaces=2) as target:
        address, iqn = place_of(target)
        with Initiator(address, timeout=60) as one:
            one.login(iqn)
            for lun in (0, 1):
                one.hear(lun)
            data = bytes(range(256)) * (2 * MIB // 256)
            assert one.command(0, transfer(WRITE, 2 * MIB), data_out=data).status == 0
            going = way.copies(one)
            assert [next(going), next(going)] == [MIB, MIB]
            found = one.command(way.lun, transfer(READ, 2 * MIB, way.to()), data_in=2 * MIB)
            assert found.data == data


@pytest.mark.parametrize(("disk", "name"), [("emulated", copies.BY_HAND), ("qemu", copies.BY_COPY)])
def test_the_driver_alone_copies(disk: str, name: str, tmp_path: Path) -> None:
    found, rate = copies.by_driver(
        peers.disk(tmp_path, SIZE, namespaces=2, transport=disk), seconds=0
    )
    assert found == name
    assert rate > 0


def test_the_table_has_a_row_for_each_way() -> None:
    own = {"alone": 1000.0, "beside": 250.0, "iops": 90.0}
    one = {copies.BY_COPY: {"alone": 2000.0}, "nobody": {"iops": 100.0}, copies.BY_HOST: own}
    lines = copies.markdown({"some": one}).splitlines()
    assert lines[2:] == [
        f"| some | {copies.BY_COPY} | 2000 | 1.00 |  |  |",
        f"| some | {copies.BY_HOST} | 1000 | 0.50 | 250 | 0.90 |",
    ]
