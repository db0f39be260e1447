"""Ways of writing that sg3_utils alone ask for, below the kernel's initiator.

Streams, ranges in one command, a whole or nothing, what is made unreadable, application tags.
"""

from __future__ import annotations

import pytest

from tests.system.machine import Machine
from tests.system.units import IQN

pytestmark = pytest.mark.timeout(600)

ILLEGAL_REQUEST, NO_SUCH_COMMAND, MEDIUM_ERROR_AT, PROTECTION = 5, 9, 18, 40  # how sg3_utils end
NAME = f"{IQN}:scsi2nvme-emulated-controller"
SERVE = f"""
modprobe sg
start_daemon --controller \\
  emulated:memory,size=32M,streams=64,atomic=64K,uncorrectable=on,removable=on,serial=WAYS \\
  --controller emulated:memory,size=32M,metadata=8,protection=2,extended=on,serial=TAGS \\
  --portal 127.0.0.1:3260 --iqn {IQN}
finish() {{
  leave_to_udev
  clear_targets
  end_daemon
  rm -f /tmp/write.*
}}
trap finish EXIT
iscsi_login
disk=$(iscsi_disk {NAME}-ways 0) tagged=$(iscsi_disk {NAME}-tags 0)
keep_from_udev $disk $tagged
head --bytes=64K /dev/urandom >/tmp/write.data
ends() {{ # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  "$@" || status=$?
  [ $status = $wanted ] || {{ echo "ends with $status, not $wanted: $*"; return 1; }}
}}
is() {{ # the block, how many, of which block of the data
  cmp <(dd if=$disk bs=512 skip=$1 count=$2 iflag=direct status=none) \\
    <(dd if=/tmp/write.data bs=512 skip=$3 count=$2 status=none)
}}
write() {{ sg_write_x --in=/tmp/write.data --quiet "$@"; }}
"""
# Those of the five groups, and of none, are always open. sg_stream_ctl 1.46 tells how many there
# are, but takes the list for four bytes shorter than it is.
STREAMS = f"""
one=$(sg_stream_ctl --open --brief $disk) two=$(sg_stream_ctl --open --brief $disk)
write --stream=$two --lba=0 --num=16 $disk
write --stream=1 --lba=16 --num=16 --offset=8192 $disk
is 0 32 0
open() {{ sg_stream_ctl --get $disk | grep "^Number of open streams: $1$"; }}
open 8
sg_stream_ctl --close --id=$two $disk
open 7
ends {ILLEGAL_REQUEST} write --stream=$two --lba=0 --num=16 $disk
ends {ILLEGAL_REQUEST} sg_stream_ctl --close --id=$two $disk
"""
# What sg_write_x 1.46 makes of --lba and --num has ranges, but zeroes for data.
RANGES = f"""
at() {{ dd of=/tmp/write.ranges bs=1 seek=$1 conv=notrunc status=none; }}
{{
  printf "%0512d" 0 | tr 0 "\\0"
  head --bytes=$((9 * 512)) /tmp/write.data
}} >/tmp/write.ranges
printf "\\3\\xe8\\0\\0\\0\\2" | at 38
printf "\\xc8\\0\\0\\0\\3" | at 71
printf "\\1\\xf4\\0\\0\\0\\4" | at 102
sg_write_x --scattered=3 --combined=1 --in=/tmp/write.ranges --quiet $disk
is 1000 2 0 && is 200 3 2 && is 500 4 5
write --atomic=0 --lba=128 --num=128 $disk
is 128 128 0
ends {ILLEGAL_REQUEST} write --atomic=0 --lba=128 --num=129 --bs=512 --in=/dev/zero $disk
is 128 128 0
sg_write_same --lba=600 --num=8 --in=/dev/zero --xferlen=512 $disk
write --or --lba=600 --num=8 $disk
is 600 8 0
head --bytes=2048 /tmp/write.data >/tmp/write.four
sg_write_verify --16 --bytchk=1 --lba=700 --num=4 --in=/tmp/write.four $disk
is 700 4 0
"""
UNREADABLE = f"""
sg_write_long --16 --wr_uncor --lba=701 $disk
ends {MEDIUM_ERROR_AT} sg_verify --lba=700 --count=4 $disk
is 700 1 0
write --normal --lba=700 --num=4 $disk
is 700 4 0
ends {NO_SUCH_COMMAND} sg_read_long --lba=700 $disk
"""
OTHERS = f"""
sg_copy_results --params $disk
sg_test_rwbuf --size=1024 --times=2 $disk
sg_prevent $disk
ends {ILLEGAL_REQUEST} sg_start --eject $disk
sg_prevent --allow $disk
sg_start --eject $disk
sg_start --load $disk
is 700 4 0
"""
# A block of zeroes, whose guard is zero, with a tag.
TAGS = f"""
tags() {{ # APPLICATION TAG in \\x
  head --bytes=512 /dev/zero
  printf "\\0\\0$1\\0\\0\\0\\5"
}}
tags '\\x12\\x34' >/tmp/write.tagged
sg_wr_mode --page=a --contents=a,a,0,0,0,80,0,0,0,0,0,0 \\
  --mask=0,0,0,0,0,80,0,0,0,0,0,0 $tagged
write_tagged() {{
  sg_write_x --32 --normal --wrprotect=1 --lba=5 --num=1 --ref-tag=5 --in=/tmp/write.tagged "$@" \\
    $tagged
}}
write_tagged --app-tag=0x1234
ends {PROTECTION} write_tagged --app-tag=0x4321
write_tagged --app-tag=0x4321 --tag-mask=0
sg_raw --request=520 --outfile=/tmp/write.read $tagged \\
  7f 0 0 0 0 0 0 18 0 9 20 0 0 0 0 0 0 0 0 5 0 0 0 5 12 34 ff ff 0 0 0 1
cmp /tmp/write.read /tmp/write.tagged
! sg_raw --request=520 --outfile=/tmp/write.read $tagged \\
  7f 0 0 0 0 0 0 18 0 9 20 0 0 0 0 0 0 0 0 5 0 0 0 5 12 35 ff ff 0 0 0 1
"""


def test_what_sg3_utils_write_is_there(machine: Machine) -> None:
    said = machine.run(SERVE + STREAMS + RANGES + UNREADABLE + OTHERS + TAGS, timeout_s=300).output
    assert "Data segment granularity: 512 bytes" in said
    assert "ogical block application tag check failed" in said
