"""How a disk is divided, for those that ask for it: mode pages 03h and 04h."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.geometry import FORMAT_DEVICE, RIGID_DISK_GEOMETRY, geometry
from tests.support import FOUR_ZONES, Bench, make_bench


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        (1, (1, 1, 1)),
        (4096, (1, 16, 256)),
        (1 << 21, (128, 64, 256)),  # 1 GiB
        ((1 << 38) + 5, (1 << 23, 64, 512)),
    ],
)
def test_how_many_of_each_there_are(blocks: int, found: tuple[int, int, int]) -> None:
    cylinders, heads, sectors = geometry(blocks)
    assert (cylinders, heads, sectors) == found


@given(st.integers(1, 1 << 54))
def test_none_is_too_large_for_its_field(blocks: int) -> None:
    cylinders, heads, sectors = geometry(blocks)
    assert 1 <= cylinders <= 0xFFFFFF
    assert 1 <= heads <= 0xFF
    assert 1 <= sectors <= 0xFFFF
    told = cylinders * heads * sectors
    assert told <= blocks
    assert blocks - told < heads * sectors or cylinders == 0xFFFFFF


def page(bench: Bench, code: int) -> bytes:
    return bench.do("MODE SENSE (6)", dbd=1, page_code=code, allocation_length=255).data_in[4:]


def test_pages_tell_of_the_capacity_that_there_is() -> None:
    bench = make_bench()
    form = FORMAT_DEVICE.layout.parse(page(bench, 3))
    rigid = RIGID_DISK_GEOMETRY.layout.parse(page(bench, 4))
    block = bench.lu.block_bytes
    assert (form.sectors_per_track, form.data_bytes_per_physical_sector, form.hsec) == (
        *(256, block),
        1,
    )
    assert (rigid.cylinders, rigid.heads, rigid.medium_rotation_rate) == (1, 16, 5400)
    bench.lu.limit = 1024 * block
    rigid = RIGID_DISK_GEOMETRY.layout.parse(page(bench, 4))
    assert (rigid.cylinders, rigid.heads) == (1, 4)


def test_blocks_that_are_too_long_for_page_03h_are_not_told() -> None:
    device = make_bench().lu
    told = FORMAT_DEVICE.layout.parse(page_of(device, 1 << 15))
    assert told.data_bytes_per_physical_sector == 1 << 15
    assert FORMAT_DEVICE.layout.parse(page_of(device, 1 << 16)).data_bytes_per_physical_sector == 0


def page_of(lu: LogicalUnit, block_bytes: int) -> bytes:
    with patch.object(type(lu), "block_bytes", block_bytes):
        return FORMAT_DEVICE.layout.build(**FORMAT_DEVICE.derived(lu))


def test_zones_are_no_tracks() -> None:
    bench = make_bench(zones=FOUR_ZONES)
    for code in (3, 4):
        result = bench.do("MODE SENSE (6)", dbd=1, page_code=code, allocation_length=255)
        assert result.sense is not None
