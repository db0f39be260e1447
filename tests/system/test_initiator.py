"""What Linux's own initiator says of its writes, where the disk says that it listens.

Lifetimes of data (F_SET_RW_HINT) become GROUP NUMBERs, and so streams, from Linux 6.10 on; writes
that are whole or not at all (RWF_ATOMIC) become WRITE ATOMIC (16) from 6.11 on. Kernels that do
neither are to write as ever: a test asks the kernel what it has, not which it is.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.system.machine import Machine
from tests.system.units import IQN, NAA

pytestmark = pytest.mark.timeout(600)

# What says in Linux's driver of SCSI disks that it has looked for permanent streams.
LOOKS_FOR_STREAMS = "permanent stream count"
LIFETIMES = range(6)  # not set, none, short, medium, long, extreme
WRITE_10, WRITE_16, WRITE_ATOMIC_16 = 0x2A, 0x8A, 0x9C
# Where GROUP NUMBER is, of how many bits. Spec: SBC-4 5.39, 5.40.
GROUP = {WRITE_10: (6, 0x1F), WRITE_16: (14, 0x3F)}

BEGIN = """
has_tracing() { [ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; }
trace() { # COMMAND…: the CDBs that the kernel's initiators send meanwhile
  local tracing=/sys/kernel/tracing
  echo >$tracing/trace
  echo 1 >$tracing/events/scsi/scsi_dispatch_cmd_start/enable
  "$@"
  echo 0 >$tracing/events/scsi/scsi_dispatch_cmd_start/enable
  sed --quiet 's/.*\\(raw=[0-9a-f ]*\\).*/\\1/p' $tracing/trace
}
finish() {
  leave_to_udev
  clear_targets
  end_daemon
}
trap finish EXIT
has_tracing
"""
BY_PORTAL = f"""
start_daemon --controller emulated:memory,size=64M,block=4096,serial=W,OPTIONS \\
  --portal 127.0.0.1:3260 --iqn {IQN}
iscsi_login
disk=$(iscsi_disk {IQN} 0)
"""
BY_LOOPBACK = f"""
modprobe tcm_loop
start_daemon --controller emulated:memory,size=64M,block=4096,serial=W,OPTIONS
targetcli_all <<END
/backstores/user:nvme create name=w size=64M cfgstring=0/1 control=hw_block_size=4096
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/w
END
disk=$(loop_disk {NAA} 0)
"""
WAYS = {"portal": BY_PORTAL, "loopback": BY_LOOPBACK}

WRITE = """
keep_from_udev $disk
cat >/tmp/write.py <<END
import fcntl, mmap, os, sys
F_SET_RW_HINT = 1036
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
for number, lifetime in enumerate(map(int, sys.argv[2:])):
    block[:] = bytes([0xA0 + lifetime]) * 4096
    fcntl.fcntl(fd, F_SET_RW_HINT, lifetime.to_bytes(8, "little"))
    os.pwritev(fd, [block], number * 4096)
    os.preadv(fd, [block], number * 4096)
    assert block[:] == bytes([0xA0 + lifetime]) * 4096
END
"""
OPENED = """
scsi2nvme admin-passthru 0 --state-dir /run/daemon -o 0x1a -n 1 --cdw11=0x0102 --cdw10=15 \\
  -r -l 64 -b --force >/share/opened
"""


def cdbs(output: str) -> list[bytes]:
    """Return the CDBs that a trace holds."""
    return [bytes.fromhex(raw) for raw in re.findall(r"raw=([0-9a-f ]*)", output)]


def knows_streams(machine: Machine) -> bool:
    """Whether the kernel's driver of SCSI disks has what looks for permanent streams."""
    script = f"""
python3 - "$(modinfo -n sd_mod)" <<END
import lzma, sys
module = open(sys.argv[1], "rb").read()
if sys.argv[1].endswith(".xz"):
    module = lzma.decompress(module)
print("YES" if b"{LOOKS_FOR_STREAMS}" in module else "NO")
END
"""
    return "YES" in machine.run(script).output


@pytest.mark.parametrize(("way", "streams"), [("portal", 7), ("loopback", 3)])
def test_lifetimes_are_streams(machine: Machine, way: str, streams: int) -> None:
    """Linux counts stream 0 among the permanent ones, so that the last group may be of none."""
    knows = knows_streams(machine)
    output = machine.run(
        BEGIN
        + WAYS[way].replace("OPTIONS", f"streams={streams}")
        + WRITE
        + f"trace python3 /tmp/write.py $disk {' '.join(map(str, LIFETIMES))}\n"
        + OPENED
        + f"dmesg | sed --quiet 's/.*\\({LOOKS_FOR_STREAMS}\\)/\\1/p' | tail --lines=1\n",
        timeout_s=200,
    ).output
    groups = [
        cdb[at] & mask for cdb in cdbs(output) for at, mask in [GROUP.get(cdb[0], (0, 0))] if mask
    ]
    count, *found = memory(machine, "opened")
    permanent = min(streams, 5)
    if knows:
        assert f"{LOOKS_FOR_STREAMS} = {permanent + 1}\n" in output
        assert groups == [min(lifetime, permanent + 1) for lifetime in LIFETIMES]
        assert found[:count] == list(range(1, permanent + 1))
    else:
        assert groups == [0] * len(LIFETIMES)
        assert not count


def memory(machine: Machine, name: str) -> list[int]:
    """Return the words of a file that a job has left."""
    raw = (machine.share / name).read_bytes()
    return [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


ATOMIC = """
keep_from_udev $disk
sys=/sys/block/${disk##*/}/queue
for name in max_bytes unit_min_bytes unit_max_bytes boundary_bytes; do
  [ ! -e $sys/atomic_write_$name ] || echo "$name=$(<$sys/atomic_write_$name)"
done
cat >/tmp/write.py <<END
import mmap, os, sys
RWF_ATOMIC = 0x40
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
for size in (4096, 16384, 65536, 131072):
    data = mmap.mmap(-1, size)
    data[:] = bytes([size >> 12]) * size
    try:
        os.pwritev(fd, [data], 0, RWF_ATOMIC)
        print(f"{size} written")
    except OSError as error:
        print(f"{size} {os.strerror(error.errno)}")
END
trace python3 /tmp/write.py $disk
"""


@pytest.mark.parametrize("way", WAYS)
def test_atomic_writes(machine: Machine, way: str) -> None:
    output = machine.run(
        BEGIN + WAYS[way].replace("OPTIONS", "atomic=64K") + ATOMIC, timeout_s=200
    ).output
    told = {name: int(value) for name, value in re.findall(r"^(\w+_bytes)=(\d+)$", output, re.M)}
    sent = [int.from_bytes(cdb[12:14], "big") for cdb in cdbs(output) if cdb[0] == WRITE_ATOMIC_16]
    written = [int(size) for size in re.findall(r"^(\d+) written$", output, re.M)]
    if told:
        assert told["unit_max_bytes"] == 65536, json.dumps(told)
        assert written == [4096, 16384, 65536]
    else:
        assert not written
    assert sent == [size // 4096 for size in written]
