"""What copies between two logical units, below a kernel's initiator: sg_xcopy, ddpt, pvmove."""

from __future__ import annotations

import re

import pytest

from tests.system.machine import Machine

pytestmark = pytest.mark.timeout(600)

# ddpt 0.97 has 256 bytes for page 83h, and overruns them: there is room for a short name.
IQN = "iqn.2026-11.a:b"
SERVE = f"""
modprobe -a sg dm-mod dm-mirror
start_daemon --controller emulated:memory,size=32M,namespaces=2,capacity=256M,serial=COPY \\
  --portal 127.0.0.1:3260 --iqn {IQN}
finish() {{
  ! mountpoint --quiet /mnt || umount /mnt
  if [ -e /dev/volumes ]; then vgremove --quiet --yes volumes; fi
  leave_to_udev
  clear_targets
  end_daemon
  rm -f /tmp/copy.*
}}
trap finish EXIT
iscsi_login
one=$(iscsi_disk {IQN} 0) two=$(iscsi_disk {IQN} 1)
generic() {{ echo /dev/$(ls /sys/block/${{1##*/}}/device/scsi_generic); }}
"""
# ddpt 0.97 lays out ranges for tokens a byte too early: the first block is the first, but of 64
# blocks it makes 64 << 8, here 8 MiB, and others of all else.
OFFLOADED = """
keep_from_udev $one $two
from=$(generic $one) to=$(generic $two)
head --bytes=16M /dev/urandom >/tmp/copy.data
dd if=/tmp/copy.data of=$one bs=1M oflag=direct status=none
copied() { # from which MiB of the data, to which one of the disk
  cmp <(dd if=$two bs=1M skip=$2 count=8 iflag=direct status=none) \
    <(dd if=/tmp/copy.data bs=1M skip=$1 count=8 status=none)
}
range="bs=512 count=16384"
sg_xcopy if=$from of=$to $range skip=2048 seek=4096
copied 1 2
ddpt --xcopy if=$from of=$to $range skip=4096 seek=2048
copied 2 1
sg_vpd --page=tpc $from
ddptctl --pt=0,64 --rtf=/tmp/copy.token $from
ddptctl --all_toks $from
ddptctl --wut=0,64 --rtf=/tmp/copy.token $to
copied 0 0
dd if=/tmp/copy.data of=$one bs=512 count=1 oflag=direct status=none
! ddptctl --wut=0,64 --rtf=/tmp/copy.token $to
leave_to_udev
"""
# A live resize, of which a volume group makes use, and is moved to the other disk.
MOVED = """
has_size() { [ "$(blockdev --getsize64 $1)" = $(($2 << 20)) ]; }
pvcreate --quiet --yes $one
vgcreate --quiet volumes $one
lvcreate --quiet --yes --size 24M --name files volumes
mkfs.ext4 -q /dev/volumes/files
mount /dev/volumes/files /mnt
cp /tmp/copy.data /mnt/before
for nsid in 1 2; do # to so many MiB
  scsi2nvme admin-passthru -o 0xC8 -n $nsid -4 $((96 << 11)) --force --state-dir /run/daemon
done
iscsiadm --mode session --rescan >/dev/null
for disk in $one $two; do eventually 20 has_size $disk 96; done
pvresize --quiet $one
lvextend --quiet --resizefs --size 64M volumes/files
pvcreate --quiet --yes $two
vgextend --quiet volumes $two
pvmove --interval 1 $one $two
vgreduce --quiet volumes $one
cp /tmp/copy.data /mnt/after
sync
cmp /mnt/before /tmp/copy.data
umount /mnt
fsck.ext4 -f -n /dev/volumes/files
mount /dev/volumes/files /mnt
cmp /mnt/after /tmp/copy.data
"""


def test_disks_copy_for_their_initiator(machine: Machine) -> None:
    said = machine.run(SERVE + OFFLOADED + MOVED, timeout_s=400).output
    assert re.search("point in time copy - change vulnerable.*\n.*\n.*Token in: yes", said)
    assert "transfer count of 16384" in said
    assert "token revoked" in said
