"""Namespaces that come, go and change their size below disks that a kernel uses.

Over iSCSI the initiator is open-iscsi; the kernel's own target has one of them, too.
"""

from __future__ import annotations

import pytest

from tests.system.machine import Machine
from tests.system.units import IQN, NAA

pytestmark = pytest.mark.timeout(600)

VERBS = """
import contextlib, sys
from scsi2nvme.__main__ import main
for line in sys.stdin:
    with contextlib.redirect_stdout(sys.stderr):
        status = main(line.split())
    print(status)
"""
SERVE = f"""
modprobe tcm_loop
start_daemon --controller emulated:memory,size=64M,namespaces=3,capacity=512M,serial=N \\
  --portal 127.0.0.1:3260 --iqn {IQN}
finish() {{
  ! mountpoint --quiet /mnt || umount /mnt
  leave_to_udev
  clear_targets
  end_daemon
}}
trap finish EXIT
# One process for all verbs: each start takes seconds here.
coproc verbs {{ python3 -u -c '{VERBS}'; }}
verb() {{
  local status
  echo "$* --state-dir /run/daemon" >&${{verbs[1]}}
  read -r status <&${{verbs[0]}}
  echo "$*: $status"
  [ "$status" = 0 ]
}}
resize() {{ verb admin-passthru -o 0xC8 -n $1 -4 $(($2 << 11)) --force; }} # to so many MiB
look_again() {{ iscsiadm --mode session --rescan >/dev/null; }}
has_size() {{ [ "$(blockdev --getsize64 $1)" = $(($2 << 20)) ]; }}
reads() {{ dd if=$1 of=/tmp/read bs=64k count=1 iflag=direct status=none; }}
head --bytes=65536 /dev/urandom >/tmp/data
"""
OVER_ISCSI = f"""
iscsi_login
disk=$(iscsi_disk {IQN} 0) other=$(iscsi_disk {IQN} 1)
fio --name=other --filename=$other --direct=1 --rw=randrw --bs=16k --size=8M --verify=crc32c \\
  --verify_fatal=1 --rate_iops=50 >/tmp/fio &
fio=$!
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $disk
mount $disk /mnt
cp /tmp/data /mnt/before
resize 1 128
look_again
eventually 20 has_size $disk 128
resize2fs $disk
head --bytes=$((70 << 20)) /dev/zero >/mnt/large
cmp /tmp/data /mnt/before

verb create-ns -S 32Mi
verb attach-ns -n 4
look_again
third=$(iscsi_disk {IQN} 3)
has_size $third 32
udevadm settle
dd if=/tmp/data of=$third bs=64k oflag=direct status=none
verb delete-ns -n 4 --force
sg_turs --verbose $third || true
! reads $third
sg_luns $disk
umount /mnt
fsck.ext4 -f -n $disk
wait $fio
"""
OVER_TCMU = f"""
targetcli_all <<END
/backstores/user:nvme create name=disk0 size=64M cfgstring=0/3
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/disk0
END
disk=$(loop_disk {NAA} 0)
udevadm settle
keep_from_udev $disk
dd if=/tmp/data of=$disk bs=64k oflag=direct status=none
resize 3 96
echo $((96 << 20)) >$(echo /sys/kernel/config/target/core/user_*/disk0/attrib/dev_size)
echo 1 >/sys/block/${{disk##*/}}/device/rescan
eventually 20 has_size $disk 96
verb detach-ns -n 3 --force
! reads $disk
verb attach-ns -n 3
eventually 20 reads $disk
cmp /tmp/read /tmp/data
verb delete-ns -n 3 --force
verb create-ns -S 64Mi
verb attach-ns -n 3
! reads $disk
"""


def test_they_come_and_go_below_a_kernel(machine: Machine) -> None:
    said = machine.run(SERVE + OVER_ISCSI + OVER_TCMU, timeout_s=400).output
    assert "Logical unit not supported" in said
    assert "Lun list length = 24 which imples 3 lun entries" in said
    assert "its namespace is another; remove it, and create it again" in said
