"""File systems and LVM on disks that went the whole way: VFIO, the kernel's target, tcm_loop."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.system.controllers import CONTROLLERS, MIB
from tests.system.machine import Machine
from tests.system.power import Power
from tests.system.units import NAA, UNITS, give_back, publish, serve

EXT4, XFS, STRIPED = UNITS[0], UNITS[1], (UNITS[0], UNITS[2])
LARGE_BYTES = 64 * MIB
JOURNAL_BYTES = MIB  # at most, that a file system has come to use meanwhile

# By file system: its disk, how to make it, how to check it.
FILESYSTEMS = {
    "ext4": (EXT4, "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0", "fsck.ext4 -f -n"),
    "xfs": (XFS, "mkfs.xfs -q -f", "xfs_repair -n"),
}
FILES = f"""
for directory in a b c; do
  mkdir -p /mnt/small/$directory
  for i in $(seq 20); do
    head --bytes=$((i * i * 700)) /dev/urandom >/mnt/small/$directory/$i
  done
done
dd if=/dev/urandom of=/mnt/kept bs=1M count=16 conv=fsync status=none
dd if=/dev/urandom of=/mnt/large bs=1M count={LARGE_BYTES // MIB} conv=fsync status=none
(cd /mnt && find . -type f -print0 | xargs --null sha256sum) >/tmp/sums
"""
CHECK = "(cd /mnt && sha256sum --quiet --check /tmp/sums)"


@pytest.fixture(scope="module")
def disks(power: Power) -> Iterator[None]:
    """Have every namespace be a LUN of a loopback target."""
    machine = power.machine()
    with machine.quiet():
        machine.run(serve(CONTROLLERS) + publish(UNITS, loopback=True), timeout_s=200)
        yield
        machine.run(give_back(CONTROLLERS), timeout_s=100)


def test_the_kernels_own_driver_finds_the_files(power: Power) -> None:
    """What was written through us is where it belongs on the disk itself.

    The first test: those that follow keep the disks.
    """
    machine, unit = power.machine(), EXT4
    controllers = (unit.controller,)
    with machine.quiet():
        machine.run(
            f"""
            {serve(controllers)}
            {publish((unit,), loopback=True)}
            mkfs.ext4 -q $(loop_disk {NAA} 0)
            mount $(loop_disk {NAA} 0) /mnt
            {FILES}
            umount /mnt
            {give_back(controllers)}
            eventually 20 namespace {unit.controller.address} {unit.nsid}
            disk=$(namespace {unit.controller.address} {unit.nsid})
            fsck.ext4 -f -n $disk
            mount $disk /mnt
            {CHECK}
            umount /mnt
            """,
            timeout_s=300,
        )


@pytest.mark.parametrize("kind", FILESYSTEMS)
def test_files(machine: Machine, disks: None, kind: str) -> None:
    """What is written is read again, the file system is sound, and what is deleted is trimmed."""
    unit, make, check = FILESYSTEMS[kind]
    find = f"disk=$(loop_disk {NAA} {UNITS.index(unit)})\n"
    before = machine.allocated(unit.controller, unit.nsid)
    machine.run(
        f"""{find}
        {make} $disk
        mount $disk /mnt
        {FILES}
        umount /mnt
        {check} $disk
        mount $disk /mnt
        {CHECK}
        """,
        timeout_s=200,
    )
    full = machine.allocated(unit.controller, unit.nsid)
    assert full - before >= LARGE_BYTES
    job = machine.run(
        f"""{find}
        rm /mnt/large
        sync
        fstrim --verbose /mnt
        sed --in-place '/large$/d' /tmp/sums
        {CHECK}
        umount /mnt
        {check} $disk
        wipefs --quiet --all $disk
        """,
        timeout_s=200,
    )
    trimmed = re.search(r"\((\d+) bytes\) trimmed", job.output)
    assert trimmed
    assert int(trimmed[1]) >= LARGE_BYTES
    given_back = full - machine.allocated(unit.controller, unit.nsid)
    assert given_back >= LARGE_BYTES - JOURNAL_BYTES


def test_lvm(machine: Machine, disks: None) -> None:
    """A volume over two controllers grows and shrinks with its file system."""
    luns = " ".join(f"$(loop_disk {NAA} {UNITS.index(unit)})" for unit in STRIPED)
    machine.run(
        f"""
        modprobe dm-mod
        pvcreate --yes {luns}
        vgcreate volumes {luns}
        lvcreate --yes --stripes 2 --size 256M --name files volumes
        mkfs.ext4 -q /dev/volumes/files
        mount /dev/volumes/files /mnt
        {FILES}
        lvextend --resizefs --size +512M volumes/files
        {CHECK}
        umount /mnt
        lvreduce --yes --resizefs --size 384M volumes/files
        vgchange --activate n volumes
        vgchange --activate y volumes
        fsck.ext4 -f -n /dev/volumes/files
        mount /dev/volumes/files /mnt
        {CHECK}
        test "$(blockdev --getsize64 /dev/volumes/files)" -eq $((384 << 20))
        umount /mnt
        vgremove --yes volumes
        pvremove {luns}
        """,
        timeout_s=300,
    )
