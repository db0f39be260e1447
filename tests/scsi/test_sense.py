"""The table of additional sense codes, and the two formats of sense data."""

from __future__ import annotations

import pytest

from scsi2nvme.scsi import sense
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    UNRECOVERED_READ_ERROR,
    FieldPointer,
    Sense,
    SenseCode,
)

CODES = {name: value for name, value in vars(sense).items() if isinstance(value, SenseCode)}


def test_every_code_stands_once() -> None:
    codes = [(code.key, code.asc, code.ascq) for code in CODES.values()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        (FieldPointer(1, 7), "cf0001"),
        (FieldPointer(0x102), "c00102"),
        (FieldPointer(2, 0, in_cdb=False), "880002"),
    ],
)
def test_field_pointer(pointer: FieldPointer, expected: str) -> None:
    told = Sense(INVALID_FIELD_IN_CDB, pointer=pointer)
    assert told.fixed().hex() == "70000500000000" + "0a" + "00000000" + "2400" + "00" + expected
    assert told.descriptor().hex() == "7205240000000008" + "02060000" + expected + "00"


def test_information_in_both_formats() -> None:
    told = Sense(UNRECOVERED_READ_ERROR, information=0x12345678)
    assert told.fixed()[:7].hex() == "f0000312345678"
    assert told.descriptor().hex() == "720311000000000c" + "000a8000" + "0000000012345678"


def test_information_beyond_32_bits_needs_the_descriptor_format() -> None:
    told = Sense(UNRECOVERED_READ_ERROR, information=1 << 32)
    assert told.fixed()[:7].hex() == "70000300000000"
    assert told.descriptor()[12:].hex() == "0000000100000000"


def test_progress_and_deferred_errors() -> None:
    told = Sense(LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS, progress=65536, deferred=True)
    assert told.fixed()[0] == 0x71
    assert told.fixed()[15:18].hex() == "80ffff"
    assert told.descriptor()[0] == 0x73
