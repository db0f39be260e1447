"""Registers as integers and as fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.fields import Structure
from scsi2nvme.nvme.registers import (
    AQA,
    CAP,
    CC,
    CMBLOC,
    CMBSZ,
    CRTO,
    CSTS,
    VS,
    decode,
    encode,
    update,
)


@given(st.sampled_from([CAP, VS, CC, CSTS, AQA, CMBLOC, CMBSZ, CRTO]), st.data())
def test_fields_go_there_and_back(structure: Structure, data: st.DataObject) -> None:
    fields = {
        field.name: data.draw(st.integers(0, field.maximum), field.name)
        for field in structure.fields
    }
    assert dict(decode(structure, encode(structure, **fields))) == fields


@pytest.mark.parametrize(
    ("structure", "value", "fields"),
    [
        # QEMU 7.2's controller, and a drive's usual configuration.
        (CAP, 0x004018200F0107FF, {"mqes": 0x7FF, "cqr": 1, "to": 15, "css": 0xC1, "mpsmax": 4}),
        (VS, 0x00010400, {"mjr": 1, "mnr": 4}),
        (CC, 0x00460061, {"en": 1, "css": 6, "iosqes": 6, "iocqes": 4}),
        (AQA, 0x001F001F, {"asqs": 31, "acqs": 31}),
    ],
)
def test_values_seen(structure: Structure, value: int, fields: dict[str, int]) -> None:
    decoded = {name: number for name, number in decode(structure, value).items() if number}
    known = {name: number for name, number in decoded.items() if name in fields}
    assert known == fields


def test_update_leaves_the_rest() -> None:
    assert update(CC, 0x00460061, en=0, shn=1) == 0x00464060
