"""SANITIZE as an initiator's tool asks for it, through the kernel's target."""

from __future__ import annotations

import re

from tests.system.machine import Machine

NAA = "naa.5001405000000001"
UNKNOWN, NOT_READY = 9, 2  # how sg3_utils end
SPEC = "emulated:memory,size=64M,sanicap=block+crypto+overwrite"
DISKS = f"""
modprobe tcm_loop
finish() {{
  leave_to_udev
  clear_targets
  end_daemon
}}
start_daemon --controller {SPEC},namespaces=2,sanitize=on,sanitize_s=8 --controller {SPEC}
trap finish EXIT
targetcli_all <<END
/backstores/user:nvme create name=disk0 size=64M cfgstring=0/1
/backstores/user:nvme create name=disk1 size=64M cfgstring=0/2
/backstores/user:nvme create name=disk2 size=64M cfgstring=1/1
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/disk0
/loopback/{NAA}/luns create /backstores/user:nvme/disk1
/loopback/{NAA}/luns create /backstores/user:nvme/disk2
END
disk=$(loop_disk {NAA} 0) other=$(loop_disk {NAA} 1) plain=$(loop_disk {NAA} 2)
udevadm settle
keep_from_udev $disk $other $plain
first() {{ dd if=$1 bs=4096 count=1 iflag=direct status=none; }}
ends() {{ # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  "$@" || status=$?
  [ $status = $wanted ]
}}
"""
ERASED = f"""
for one in $disk $other; do
  head --bytes=4096 /dev/urandom | dd of=$one bs=4096 oflag=direct status=none
done
ends {UNKNOWN} sg_sanitize --block --quick --wait $plain
sg_sanitize --crypto --quick --early $disk
ends {NOT_READY} sg_turs $other
sg_requests --progress $other
ends {NOT_READY} sg_start --start $disk
eventually 100 sg_turs $disk
sg_turs $other
for one in $disk $other; do
  cmp <(first $one) <(head --bytes=4096 /dev/zero)
done
"""
OVERWRITTEN = r"""
printf "abc\\n%.0s" {1..1024} >/tmp/block
head --bytes=512 /tmp/block >/tmp/pattern
sg_sanitize --overwrite --pattern=/tmp/pattern --quick --wait $disk
cmp <(first $other) /tmp/block
"""


def test_a_disk_is_erased_with_its_neighbour_and_no_other(machine: Machine) -> None:
    said = machine.run(DISKS + ERASED + OVERWRITTEN, timeout_s=300).output
    assert re.search(r"Progress indication: \d+\.\d+% done", said)
    assert said.count("a sanitize operation has ended") == 2
