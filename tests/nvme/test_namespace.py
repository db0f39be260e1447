"""LBA formats, as Identify Namespace tells of them."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.namespace import flbas_of, format_index, index_of, lba_formats
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE, LBA_FORMAT

# 64, all unlike each other.
FORMATS = b"".join(LBA_FORMAT.build(ms=n, lbads=9 + n % 4) for n in range(64))


def test_a_format_has_its_number_in_two_places() -> None:
    assert [index_of(flbas) for flbas in (0, 0xF, 0x20, 0x45, 0x6F)] == [0, 15, 16, 37, 63]
    assert index_of(0x9A) == 10  # extended LBAs, and what is reserved
    assert [index_of(flbas_of(index)) for index in range(64)] == list(range(64))


@pytest.mark.parametrize(
    ("nlbaf", "flbas", "index"), [(0, 0x60, 0), (15, 0x63, 3), (16, 0x20, 16), (63, 0x7E, 62)]
)
def test_few_formats_have_no_high_bits(nlbaf: int, flbas: int, index: int) -> None:
    data = IDENTIFY_NAMESPACE.build(nlbaf=nlbaf, flbas=flbas, lbafs=FORMATS)
    assert format_index(IDENTIFY_NAMESPACE.parse(data)) == index


@pytest.mark.parametrize(("nlbaf", "nulbaf", "index"), [(15, 0, 2), (15, 1, 18), (7, 8, 2)])
def test_formats_of_their_own_kind_make_many(nlbaf: int, nulbaf: int, index: int) -> None:
    data = IDENTIFY_NAMESPACE.build(nlbaf=nlbaf, nulbaf=nulbaf, flbas=0x22, lbafs=FORMATS)
    assert format_index(IDENTIFY_NAMESPACE.parse(data)) == index


@pytest.mark.parametrize(("nlbaf", "count"), [(0, 1), (20, 21), (63, 64), (64, 64), (255, 64)])
def test_there_are_as_many_formats_as_there_is_room_for(nlbaf: int, count: int) -> None:
    data = IDENTIFY_NAMESPACE.build(nlbaf=nlbaf, lbafs=FORMATS)
    assert [each.ms for each in lba_formats(IDENTIFY_NAMESPACE.parse(data))] == list(range(count))


def test_formats_of_their_own_kind_follow_the_others() -> None:
    data = IDENTIFY_NAMESPACE.build(nlbaf=1, nulbaf=3, flbas=4, lbafs=FORMATS)
    namespace = IDENTIFY_NAMESPACE.parse(data)
    assert [each.ms for each in lba_formats(namespace)] == [0, 1, 2, 3, 4]
    assert format_index(namespace) == 4
