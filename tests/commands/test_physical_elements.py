"""GET PHYSICAL ELEMENT STATUS. Spec: SBC-4 5.8."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.physical_elements import DESCRIPTOR, HEADER
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.sense import INVALID_FIELD_IN_CDB
from tests.support import Bench, code, make_bench


def worn(percent: int) -> Bench:
    bench = make_bench()
    bench.model.logs[0x02] = SMART_LOG.build(percent_used=percent)
    return bench


def elements(bench: Bench, **fields: int) -> list[tuple[int, int]]:
    """Return identifiers and health."""
    data = bench.do("GET PHYSICAL ELEMENT STATUS", **({"allocation_length": 255} | fields)).data_in
    header, rest = HEADER.parse(data[: HEADER.size]), data[HEADER.size :]
    assert header.number_of_descriptors_returned * DESCRIPTOR.size == len(rest)
    found = [DESCRIPTOR.parse(rest[at : at + 32]) for at in range(0, len(rest), 32)]
    return [(each.element_identifier, each.physical_element_health) for each in found]


@pytest.mark.parametrize(
    ("percent", "health"), [(0, 1), (1, 1), (99, 99), (100, 0x64), (101, 0x65), (255, 0xCF)]
)
def test_its_health_is_what_is_used(percent: int, health: int) -> None:
    bench = worn(percent)
    assert elements(bench) == [(1, health)]
    assert elements(bench, filter=1) == ([(1, health)] if percent > 100 else [])
    assert elements(bench, report_type=1, starting_element=1) == [(1, health)]
    assert elements(bench, starting_element=2) == []


@pytest.mark.parametrize("fields", [{"filter": 2}, {"filter": 3}, {"report_type": 2}])
def test_what_is_reserved_is_refused(fields: dict[str, int]) -> None:
    result = worn(0).do("GET PHYSICAL ELEMENT STATUS", allocation_length=64, **fields)
    assert code(result) == INVALID_FIELD_IN_CDB
