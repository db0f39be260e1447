"""The kernel that machines start is the one that Debian packs, unpacked where that can be."""

from __future__ import annotations

import lzma
import struct

import pytest

from tests.system.kernel import unpacked

ELF = b"\x7fELF" + bytes(range(256)) * 9


def image(payload: bytes, *, setup_sectors: int = 3, offset: int = 0x2CC) -> bytes:
    """Return a bzImage around a payload, as the boot protocol lays it out."""
    setup = bytearray((setup_sectors + 1) * 512)
    setup[0x1F1] = setup_sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", setup, 0x248, offset, len(payload))
    return bytes(setup) + bytes(offset) + payload + b"what follows"


@pytest.mark.parametrize("setup_sectors", [1, 39])
def test_what_is_packed_with_xz_is_unpacked(setup_sectors: int) -> None:
    payload = lzma.compress(ELF) + struct.pack("<I", len(ELF))
    assert unpacked(image(payload, setup_sectors=setup_sectors)) == ELF


@pytest.mark.parametrize("payload", [b"\x28\xb5\x2f\xfd of zstd", lzma.compress(b"no ELF file")])
def test_what_is_not_known_stays_packed(payload: bytes) -> None:
    packed = image(payload)
    assert unpacked(packed) == packed
