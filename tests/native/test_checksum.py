"""CRC32C."""

from __future__ import annotations

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.native.checksum import crc32c


def test_the_check_value() -> None:
    """RFC 7143 appendix: the CRC of "123456789"."""
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_examples_of_rfc_3720(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


# Around these the implementation changes its way: words, blocks, three lanes at a time.
EDGES = sorted(
    length + change
    for length in (0, 8, 64, 255, 256, 512, 768, 1024, 1536, 3072, 4096, 6144, 8192, 12288, 24576)
    for change in (-1, 0, 1, 7)
    if length + change >= 0
)
PATTERN = bytes((index * 167 + (index >> 8) * 13) & 0xFF for index in range(EDGES[-1] + 16))


@pytest.mark.parametrize("length", EDGES)
def test_every_length_and_alignment(length: int) -> None:
    for offset in (0, 1, 3, 8):
        data = PATTERN[offset : offset + length]
        view = memoryview(bytearray(PATTERN))[offset : offset + length]
        assert crc32c(view) == google_crc32c.value(data)


def test_a_megabyte() -> None:
    data = PATTERN * 40
    assert crc32c(data) == google_crc32c.value(data)


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_a_crc_goes_on(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == google_crc32c.value(first + second)
