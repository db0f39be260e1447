"""Disks that hosts share: several paths joined by dm-multipath, and fencing by fence_scsi.

Of the machine's controllers B has another one plugged beside it, in the same subsystem. QEMU 7.2
has no reservations: whom fence_scsi fences is kept off by an emulated disk that has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.controllers import CONTROLLERS, SPARE
from tests.system.machine import Machine
from tests.system.units import empty

pytestmark = pytest.mark.timeout(600)

B = CONTROLLERS[1]
DISK = "iqn.2026-11.io.github.scsi2nvme:qemu-nvme-ctrl-s2n-b-"
SETTINGS = """defaults {
  find_multipaths yes
  path_grouping_policy group_by_prio
  polling_interval 1
  no_path_retry fail
}
"""
# A daemon beside the one that `start_daemon` starts, behind the portal 127.0.0.2.
LIBRARY = """
start_second() {
  mkdir -p /run/second
  : >/run/second.log
  set -- --state-dir /run/second --portal 127.0.0.2:3260 "$@"
  leave_fork scsi2nvme serve "$@" >>/run/second.log 2>&1
  echo "$left" >/run/second.pid
  eventually 100 second_ready
}
second_ready() {
  [[ $(</run/second.log) == *Ready* ]] && return
  [ -e "/proc/$(</run/second.pid)" ] || { cat /run/second.log >&2; exit 1; }
  return 1
}
end_second() { # by which signal
  local pid
  [ -e /run/second.pid ] || return 0
  pid=$(</run/second.pid)
  rm /run/second.pid
  kill -$1 "$pid"
  eventually 60 test ! -e "/proc/$pid"
}
login_to() { # portals
  iscsi_start
  local portal
  for portal; do iscsiadm --mode discovery --type sendtargets --portal $portal; done
  iscsiadm --mode node --op update --name node.session.timeo.replacement_timeout --value 1
  iscsiadm --mode node --login
  udevadm settle
}
finish() {
  if [ -e /run/multipathd.pid ]; then
    kill $(</run/multipathd.pid)
    eventually 20 test ! -e /run/multipathd.pid
    udevadm settle
    eventually 20 multipath -F
  fi
  clear_targets
  end_daemon
  end_second TERM
  rm -rf /run/second
  more_to_finish
}
more_to_finish() { :; }
trap finish EXIT
"""
JOINED = """
modprobe -a dm-multipath scsi_dh_alua
cp /share/multipath.conf /etc
multipath
multipathd
eventually 20 test -e /run/multipathd.pid
map() { # of which disk
  local holder
  for holder in /sys/block/${1##*/}/holders/*; do echo ${holder##*/}; done
}
dm=$(map $one)
[ $dm = "$(map $other)" ]
multipath -ll
written() { local counts; read -ra counts </sys/block/$dm/stat; echo ${counts[4]}; }
has_written() { [ "$(written)" -ge $1 ]; }
fio_verify /dev/$dm 16M >/tmp/fio 2>&1 &
fio=$!
eventually 60 has_written 60
[ -e /proc/$fio ]
"""
WAIT = """
wait $fio || { cat /tmp/fio; multipath -ll; exit 1; }
echo "after: $(multipath -ll)"
"""
TWO_DAEMONS = f"""
start_daemon --controller pci:{B.address} --portal 127.0.0.1:3260
start_second --controller pci:{SPARE.address}
login_to 127.0.0.1 127.0.0.2
one=$(iscsi_disk {DISK}0 0) other=$(iscsi_disk {DISK}1 0 127.0.0.2)
[ "$(sg_vpd --page=di_lu $one)" = "$(sg_vpd --page=di_lu $other)" ]
{JOINED}
end_second KILL
{WAIT}
"""
ONE_DAEMON = f"""
start_daemon --controller pci:{SPARE.address} --controller pci:{B.address} --portal 127.0.0.1:3260
login_to 127.0.0.1
one=$(iscsi_disk {DISK}0 0) other=$(iscsi_disk {DISK}1 0)
sg_rtpg --decode $one
{JOINED}
touch /share/going
eventually 60 test -e /share/pulled
{WAIT}
sg_rtpg --decode $one
"""

SHARED = "emulated:/tmp/shared,size=64M,serial=F,rescap=on,reservations=disk"
EMULATED = "iqn.2026-11.io.github.scsi2nvme:scsi2nvme-emulated-controller-f-"
CONFLICT, FENCED = 24, 2  # how sg3_utils and fence_scsi_check end
FENCING = f"""
more_to_finish() {{ rm -f /tmp/shared* /tmp/node?.*; }}
start_daemon --controller {SHARED},controller=1 --portal 127.0.0.1:3260
start_second --controller {SHARED},controller=2
login_to 127.0.0.1 127.0.0.2
one=$(iscsi_disk {EMULATED}1 0) two=$(iscsi_disk {EMULATED}2 0 127.0.0.2)
keep_from_udev $one $two
touch /run/cluster.{{key,dev}} /tmp/node{{1,2}}.{{key,dev}}
node() {{ # number, command: with the files of that node
  local own="mount --bind /tmp/node$1.key /run/cluster.key"
  own+="; mount --bind /tmp/node$1.dev /run/cluster.dev"
  unshare --mount sh -c "$own"'; exec "$@"' node "${{@:2}}"
}}
fails() {{ # with which status
  local status=0
  "${{@:2}}" || status=$?
  echo "$2 ends with $status"
  [ $status = $1 ]
}}
node 1 fence_scsi -o on -k 1 -d $one
node 2 fence_scsi -o on -k 2 -d $two
sg_persist --in --read-full-status $two
fio --name=load --filename=$two --size=1M --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite \
  --bs=4k --time_based --runtime=100 >/tmp/fio 2>&1 &
fio=$!
written() {{ local counts; read -ra counts </sys/block/${{two##*/}}/stat; echo ${{counts[4]}}; }}
has_written() {{ [ "$(written)" -ge $1 ]; }}
eventually 60 has_written 50
[ -e /proc/$fio ]
node 1 fence_scsi -o off -k 2 -d $one
head --bytes=1M /dev/urandom >/tmp/shared.data
dd if=/tmp/shared.data of=$one bs=64k oflag=direct status=none
fails 1 wait $fio
grep -m1 error= /tmp/fio
for disk in $one $two; do
  cmp /tmp/shared.data <(dd if=$disk bs=64k count=16 iflag=direct status=none)
done
write_one() {{ sg_write_same --lba=0 --num=1 --xferlen=512 --in=/tmp/shared.data $1; }}
sg_turs $two || true
fails {CONFLICT} write_one $two
fails {FENCED} node 2 /usr/share/cluster/fence_scsi_check
write_one $one
node 2 fence_scsi -o on -k 2 -d $two
write_one $two
"""


@contextmanager
def both_controllers(machine: Machine) -> Iterator[None]:
    """Have the two controllers of B's disk for daemons."""
    (machine.share / "multipath.conf").write_text(SETTINGS)
    machine.plug(SPARE)
    try:
        machine.run(
            f"""
            modprobe -a nvme vfio-pci
            {empty(B)}
            eventually 20 namespace {SPARE.address} 1
            bind_vfio {B.address}
            bind_vfio {SPARE.address}
            """
        )
        yield
    finally:
        if machine.alive:
            machine.run(f"unbind_vfio {B.address}")
            if not machine.run(f"test -e /sys/bus/pci/devices/{SPARE.address}", check=False).status:
                machine.unplug(SPARE)


def test_a_daemon_of_two_is_killed(machine: Machine) -> None:
    """Each has a controller of its own; dm-multipath takes the disks for one."""
    with both_controllers(machine):
        said = machine.run(LIBRARY + TWO_DAEMONS, timeout_s=300).output
    after = said.split("after: ")[1]
    assert len(re.findall("active ready +running", after)) == 2
    assert len(re.findall("failed faulty +running", after)) == 2


def test_a_controller_of_one_daemon_is_pulled_out(machine: Machine) -> None:
    """The daemon has both; the disk is in two target port groups, and goes on by the other one."""
    with both_controllers(machine):
        job = machine.start(LIBRARY + ONE_DAEMON)
        machine.run("eventually 100 test -e /share/going; rm /share/going", 120)
        machine.unplug(SPARE)
        (machine.share / "pulled").touch()
        said = job.wait(300).output
        (machine.share / "pulled").unlink()
    before, after = said.split("after: ")
    assert re.search(r"prio=50(.*\n)+.*prio=10", before)
    assert "failed" not in after


def test_a_node_is_fenced(machine: Machine) -> None:
    said = machine.run(LIBRARY + FENCING, timeout_s=300).output
    assert "Invalid exchange" in said
