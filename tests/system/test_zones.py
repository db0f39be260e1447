"""Zones in a real kernel: Linux's driver of zoned disks, its tools, and fio's.

The controller is emulated, a zone's capacity less than its size: Linux has to find both in gap
zones. Over iSCSI the initiator is open-iscsi.
"""

from __future__ import annotations

import re

import pytest

from tests.system.machine import Machine
from tests.system.units import IQN, NAA

pytestmark = pytest.mark.timeout(900)

SERVE = f"""
start_daemon --controller emulated:memory,size=96M,block=4096,serial=Z,zoned=8M,\\
zone-capacity=6M,max-open=4,max-active=6 --portal 127.0.0.1:3260 --iqn {IQN}
finish() {{ clear_targets; end_daemon; }}
trap finish EXIT
iscsi_login
disk=$(iscsi_disk {IQN} 0)
queue=/sys/block/${{disk##*/}}/queue
"""
# What is written at random is appended where fio finds the write pointers.
FIO = """
fio --name=zones --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --rw=write --bs=256k \\
  --zonemode=zbd --size=30M --verify=crc32c --do_verify=1 --verify_fatal=1
fio --name=random --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite \\
  --bs=64k --zonemode=zbd --max_open_zones=4 --size=96M --io_size=24M --verify=crc32c \\
  --verify_fatal=1
"""


def test_linux_has_a_host_managed_disk(machine: Machine) -> None:
    output = machine.run(
        SERVE
        + """
        for name in zoned nr_zones chunk_sectors max_open_zones; do
          echo "$name=$(cat $queue/$name)"
        done
        sg_inq $disk
        sg_vpd --page=0xb6 $disk
        sg_rep_zones --num=4 $disk
        blkzone report --count 2 $disk
        echo "--- written"
        head --bytes=131072 /dev/urandom >/tmp/data
        dd if=/tmp/data of=$disk bs=64k oflag=direct status=none
        cmp --bytes=131072 /tmp/data $disk
        blkzone report --count 1 $disk
        ! dd if=/tmp/data of=$disk bs=64k count=1 oflag=direct
        for change in close open finish; do
          blkzone $change --offset 0 --count 1 $disk
          blkzone report --count 1 $disk
        done
        blkzone reset $disk
        blkzone report --count 1 $disk
        echo "--- sg3_utils"
        sg_zone --open --zone=0 $disk
        sg_reset_wp --zone=0 $disk
        sg_reset_wp --all $disk
        """,
        timeout_s=300,
    ).output
    found, written = output.split("--- written")
    for line in ("zoned=host-managed", "nr_zones=12", "chunk_sectors=16384", "max_open_zones=4"):
        assert line in found
    assert "PDT=20" in found
    assert re.search(r"start: 0x0+, len 0x004000, cap 0x003000, wptr 0x000000", found)
    assert "wptr 0x000100" in written
    conditions = re.findall(r"zcond: *\d+\((..)\)", written)
    assert conditions == ["oi", "cl", "oe", "fu", "em"]


def test_fio_verifies_zones(machine: Machine) -> None:
    machine.run(SERVE + FIO, timeout_s=400)


def test_the_kernels_target_hands_zones_on(machine: Machine) -> None:
    """TCMU leaves INQUIRY and zones to us: tcm_loop's disk is a host-managed one."""
    control = "hw_block_size=4096,max_data_area_mb=64"
    output = machine.run(
        f"""
        modprobe tcm_loop
        start_daemon --controller emulated:memory,size=96M,block=4096,zoned=8M,zone-capacity=6M
        finish() {{ clear_targets; end_daemon; }}
        trap finish EXIT
        targetcli_all <<END
        /backstores/user:nvme create name=zoned size=96M cfgstring=0/1 control={control}
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/user:nvme/zoned
END
        disk=$(loop_disk {NAA} 0)
        eventually 20 grep --quiet host-managed /sys/block/${{disk##*/}}/queue/zoned
        dd if=/dev/urandom of=$disk bs=64k count=2 oflag=direct
        blkzone report --count 1 $disk
        """,
        timeout_s=200,
    ).output
    assert "cap 0x003000, wptr 0x000100" in output
