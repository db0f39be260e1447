"""How the hot path ends what compares, and is not as expected, as a pure function."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.native.hot import hot_miscompare
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.scsi.sense import MISCOMPARE_DURING_VERIFY_OPERATION, Sense
from tests.native.test_hot import BLOCK, PARAMETERS
from tests.support import row

FUSES_NOT = replace(PARAMETERS, fused_blocks=0)


@pytest.mark.parametrize("parameters", [PARAMETERS, FUSES_NOT], ids=["fused", "not fused"])
@pytest.mark.parametrize(("count", "at"), [(1, 0), (1, 511), (8, 64), (8, 4095), (5, 1234)])
@pytest.mark.parametrize("descriptor", [False, True])
def test_where_a_compare_and_write_differs(
    parameters: UnitParameters, count: int, at: int, descriptor: bool
) -> None:
    cdb, expected = row("COMPARE AND WRITE").build(number_of_blocks=count), BLOCK * count
    medium = bytearray(expected)
    medium[at] ^= 0x80
    medium[-1] ^= 1
    sense = Sense(MISCOMPARE_DURING_VERIFY_OPERATION, information=at).data(descriptor)
    data = expected + bytes(len(expected))
    told = hot_miscompare(parameters, cdb, data, bytes(medium), descriptor=descriptor)
    assert told == sense


def test_where_there_is_no_room_the_engine_tells() -> None:
    """Behind the data of 3 blocks, in a small buffer."""
    cdb = row("COMPARE AND WRITE").build(number_of_blocks=3)
    data = bytes(6 * 512)
    assert hot_miscompare(PARAMETERS, cdb, data, b"\1" * 1536, descriptor=False) == b""
    assert hot_miscompare(FUSES_NOT, cdb, data, b"\1" * 1536, descriptor=False) is None


@pytest.mark.parametrize(
    ("name", "bytchk", "told"),
    [
        ("VERIFY (10)", 1, True),
        ("VERIFY (16)", 3, True),
        ("VERIFY (10)", 0, False),
        ("WRITE AND VERIFY (10)", 1, True),
        ("WRITE AND VERIFY (10)", 0, False),
        ("WRITE (10)", None, False),
    ],
)
@pytest.mark.parametrize("descriptor", [False, True])
def test_a_verify_that_differs(name: str, bytchk: int | None, told: bool, descriptor: bool) -> None:
    chosen = row(name)
    fields = {} if bytchk is None else {"bytchk": bytchk}
    cdb = chosen.build(**{chosen.length_field: 1}, **fields)
    sense = Sense(MISCOMPARE_DURING_VERIFY_OPERATION).data(descriptor)
    found = hot_miscompare(PARAMETERS, cdb, BLOCK, bytes(512), descriptor=descriptor)
    assert found == (sense if told else None)
