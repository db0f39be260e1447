"""Sense data that are read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.scsi import sense as codes
from scsi2nvme.scsi.sense import FieldPointer, Sense, SenseCode, SenseKey
from scsi2nvme.scsi.sense_data import decode, has_code

CODES = [each for each in vars(codes).values() if isinstance(each, SenseCode)]
COUNTS = st.integers(0, 0xFFFF)
POINTERS = st.builds(FieldPointer, COUNTS, st.none() | st.integers(0, 7), st.booleans())


@st.composite
def senses(draw: st.DrawFn, information: int) -> Sense:
    """Return sense whose key-specific bytes are what its key has there."""
    code = draw(st.sampled_from(CODES))
    specific: dict[str, FieldPointer | int | None] = {}
    if code.key is SenseKey.ILLEGAL_REQUEST:
        specific["pointer"] = draw(st.none() | POINTERS)
    elif code.key in (SenseKey.NO_SENSE, SenseKey.NOT_READY):
        specific["progress"] = draw(st.none() | COUNTS)
    elif code.key in (SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR):
        specific["retries"] = draw(st.none() | COUNTS)
    return Sense(
        code,
        information=draw(st.none() | st.integers(0, information)),
        command_specific=draw(st.none() | st.integers(1, 0xFFFFFFFF)),
        deferred=draw(st.booleans()),
        **specific,  # type: ignore[arg-type]
    )


@given(senses((1 << 32) - 1))
def test_fixed_format(sense: Sense) -> None:
    assert decode(sense.fixed()) == sense


@given(senses((1 << 64) - 1))
def test_descriptor_format(sense: Sense) -> None:
    assert decode(sense.descriptor()) == sense


@pytest.mark.parametrize("data", [b"", b"\0", b"\x6f", b"\x74" * 18, b"\x7f" * 18])
def test_what_is_neither_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="response code"):
        decode(data)


@given(st.sampled_from([0x70, 0x71, 0x72, 0x73, 0xF0]), st.binary(max_size=260))
def test_any_other_bytes_are_read_to_their_end(response: int, rest: bytes) -> None:
    data = bytes([response]) + rest
    try:
        decode(data)
    except ValueError as error:
        # 9h, Dh and Fh are no keys.
        assert ("no sense key" in str(error)) == (len(data) >= 8)  # noqa: PT017
    else:
        assert len(data) >= 8
        has_code(data)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ("70 00 02 00 00 00 00 0a", False),
        ("70 00 02 00 00 00 00 0a 00 00 00 00 3a", False),
        ("70 00 02 00 00 00 00 00 00 00 00 00 3a 01", False),  # they are announced to be eight
        ("70 00 02 00 00 00 00 0a 00 00 00 00 3a 01", True),
        ("72 02 3a 01 00 00 00 00", True),
    ],
)
def test_data_that_were_cut_tell_what_they_have(data: str, known: bool) -> None:
    raw = bytes.fromhex(data)
    assert decode(raw).key is SenseKey.NOT_READY
    assert has_code(raw) == known
    if known:
        assert (decode(raw).code.asc, decode(raw).code.ascq) == (0x3A, 1)


def test_data_without_their_header_are_none() -> None:
    with pytest.raises(ValueError, match="7 of their 8 bytes"):
        decode(bytes.fromhex("70 00 02 00 00 00 00"))
