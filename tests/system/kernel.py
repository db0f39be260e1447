"""A kernel as QEMU starts it at once, without the time that it takes to unpack itself there.

Spec: Linux Documentation/arch/x86/boot.rst (setup_sects, payload_offset, payload_length);
x86/PVH, by which QEMU enters an ELF file.
"""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

_SETUP_SECTORS, _PAYLOAD, _SECTOR = 0x1F1, 0x248, 512
_XZ, _ELF = b"\xfd7zXZ\0", b"\x7fELF"


def unpacked(image: bytes) -> bytes:
    """Return the ELF file in a bzImage, or the image where that is packed in another way than XZ.

    Software emulation unpacks tens of megabytes in seconds, at every boot.
    """
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    begin = (image[_SETUP_SECTORS] + 1) * _SECTOR + offset
    payload = image[begin : begin + length]
    if not payload.startswith(_XZ):
        return image
    elf = lzma.LZMADecompressor().decompress(payload)  # its length stands behind it
    return elf if elf.startswith(_ELF) else image


def build(directory: Path, packed: Path) -> None:
    """Leave the kernel in a directory, as `vmlinux`."""
    (directory / "vmlinux").write_bytes(unpacked(packed.read_bytes()))
