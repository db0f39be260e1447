"""What is on a disk or partition, by libblkid, and by a table for what that does not know.

The table goes by less: a damaged file system may be worth as much as a sound one.
"""

from __future__ import annotations

import os
from pathlib import Path

from scsi2nvme.drivers.host import libblkid
from scsi2nvme.records import dataclass

_KIB = 1 << 10


@dataclass(frozen=True, slots=True)
class Signature:
    """Bytes at an offset, from the end where that is negative."""

    name: str
    offset: int
    magic: bytes


TABLE = (
    Signature("GPT partition table", 512, b"EFI PART"),
    Signature("GPT partition table", 4096, b"EFI PART"),
    Signature("boot sector or MBR partition table", 510, b"\x55\xaa"),
    *(Signature("LVM physical volume", 512 * n, b"LABELONE") for n in range(4)),
    Signature("LUKS encryption", 0, b"LUKS\xba\xbe"),
    Signature("swap space", 4096 - 10, b"SWAPSPACE2"),
    Signature("hibernation image", 4096 - 10, b"S1SUSPEND"),
    Signature("md RAID member", 0, b"\xfc\x4e\x2b\xa9"),
    Signature("md RAID member", 4 * _KIB, b"\xfc\x4e\x2b\xa9"),
    Signature("md RAID member", -8 * _KIB, b"\xfc\x4e\x2b\xa9"),
    Signature("md RAID member", -64 * _KIB, b"\xfc\x4e\x2b\xa9"),
    Signature("bcache device", 4 * _KIB + 24, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    Signature("ZFS pool member", 16 * _KIB + 24, b"version\0"),
    Signature("ext file system", 1080, b"\x53\xef"),
    Signature("XFS file system", 0, b"XFSB"),
    Signature("btrfs file system", 64 * _KIB + 64, b"_BHRfS_M"),
    Signature("F2FS file system", 1024, b"\x10\x20\xf5\xf2"),
    Signature("NTFS file system", 3, b"NTFS    "),
    Signature("exFAT file system", 3, b"EXFAT   "),
    Signature("FAT file system", 54, b"FAT1"),
    Signature("FAT file system", 82, b"FAT32   "),
    Signature("ISO 9660 file system", 32 * _KIB + 1, b"CD001"),
    Signature("VMFS file system", 1 << 20, bytes.fromhex("0dd001c0")),
    Signature("Ceph BlueStore device", 0, b"bluestore block device"),
    Signature("GFS2 file system", 64 * _KIB, b"\x01\x16\x19\x70"),
    Signature("OCFS2 file system", 8 * _KIB, b"OCFSV2"),
)

# What libblkid calls the same.
_ALIASES = {
    "gpt": "GPT partition table",
    "dos": "boot sector or MBR partition table",
    "PMBR": "boot sector or MBR partition table",
    "LVM2_member": "LVM physical volume",
    "crypto_LUKS": "LUKS encryption",
    "swap": "swap space",
    "swsuspend": "hibernation image",
    "linux_raid_member": "md RAID member",
    "bcache": "bcache device",
    "zfs_member": "ZFS pool member",
    **dict.fromkeys(("ext2", "ext3", "ext4", "ext4dev", "jbd"), "ext file system"),
    "xfs": "XFS file system",
    "btrfs": "btrfs file system",
    "f2fs": "F2FS file system",
    "ntfs": "NTFS file system",
    "exfat": "exFAT file system",
    "vfat": "FAT file system",
    "iso9660": "ISO 9660 file system",
    **dict.fromkeys(("VMFS", "VMFS_volume_member"), "VMFS file system"),
    "ceph_bluestore": "Ceph BlueStore device",
    "gfs2": "GFS2 file system",
    "ocfs2": "OCFS2 file system",
}

_ESP = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")  # C12A7328-F81F-11D2-BA4B-00A0C93EC93B
_GPT_ENTRIES_AT, _GPT_ENTRY_BYTES, _GPT_ENTRIES = 2, 128, 128  # from block 2 on, by custom


def contents(path: Path) -> list[str]:
    """Return what is recognised on a block device or file, each once. OSError if unreadable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        found = {row.name: None for row in TABLE if _at(fd, row, size)}
        if any(_holds_esp(fd, block) for block in (512, 4096)):
            found["EFI system partition"] = None
    finally:
        os.close(fd)
    return list(dict.fromkeys([*found, *(_ALIASES.get(one, one) for one in libblkid.types(path))]))


def _at(fd: int, row: Signature, size: int) -> bool:
    if row.offset >= 0:
        offsets = [row.offset]
    else:  # counted from the end, rounded down to a page or to the distance itself
        step = -row.offset
        offsets = [(size - step) // 4096 * 4096, size // step * step - step]
    return any(
        offset >= 0 and os.pread(fd, len(row.magic), offset) == row.magic for offset in offsets
    )


def _holds_esp(fd: int, block: int) -> bool:
    if os.pread(fd, 8, block) != b"EFI PART":
        return False
    entries = os.pread(fd, _GPT_ENTRIES * _GPT_ENTRY_BYTES, _GPT_ENTRIES_AT * block)
    types = (entries[at : at + 16] for at in range(0, len(entries), _GPT_ENTRY_BYTES))
    return any(raw == _ESP for raw in types)
