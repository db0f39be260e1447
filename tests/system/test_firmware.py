"""Firmware and buffers through the kernel's target, by sg3_utils."""

from __future__ import annotations

import re

import pytest

from scsi2nvme.drivers.emulated.firmware_image import Firmware, build
from tests.system.machine import Machine

NAA = "naa.5001405000000003"
FIRST, SECOND = Firmware("F2.0"), Firmware("F3.0")
BODY = bytes(range(256)) * 49  # no multiple of what is sent at a time
SCRIPT = f"""
modprobe tcm_loop
finish() {{
  clear_targets
  end_daemon
  rm -rf /tmp/state
}}
trap finish EXIT
start_daemon --controller emulated:memory,size=64M,slots=3,firmware=on --state-dir /tmp/state
targetcli_all <<END
/backstores/user:nvme create name=disk0 size=64M cfgstring=0/1
/loopback create {NAA}
/loopback/{NAA}/luns create /backstores/user:nvme/disk0
END
disk=$(loop_disk {NAA} 0)
revision() {{ sg_inq $disk | grep revision; }}
# READ BUFFER by sg_raw: sg_read_buffer of Debian 12 asks for no bytes, whatever --length says.
raw() {{ sg_raw --request=512 --outfile=/tmp/back $disk "$@" 2>/dev/null; }}
head --bytes=512 /dev/urandom >/tmp/data
sg_write_buffer --mode=data --in=/tmp/data --length=512 --offset=1024 $disk
raw 3c 02 00 00 04 00 00 02 00 00
cmp /tmp/back /tmp/data
sg_write_buffer --mode=echo --in=/tmp/data --length=512 $disk
raw 3c 0a 00 00 00 00 00 02 00 00
cmp /tmp/back /tmp/data
echo before; revision
sg_write_buffer --mode=dmc_offs_save --id=2 --in=/share/first.bin --bpw=4k $disk
echo after; revision
sg_write_buffer --mode=dmc_offs_defer --id=3 --in=/share/second.bin --bpw=4k $disk
echo deferred; revision
sg_write_buffer --mode=activate_mc $disk
echo activated; revision
if sg_write_buffer --mode=activate_mc $disk 2>/tmp/refusal; then exit 1; fi
scsi2nvme fw-log --state-dir /tmp/state
"""


@pytest.mark.timeout(600)
def test_tools_write_firmware_and_buffers(machine: Machine) -> None:
    (machine.share / "first.bin").write_bytes(build(FIRST, BODY))
    (machine.share / "second.bin").write_bytes(build(SECOND, BODY))
    output = machine.run(SCRIPT, timeout_s=300).output
    told = dict(re.findall(r"^(before|after|deferred|activated)\n.*?: (\S+)", output, re.MULTILINE))
    assert told["after"] == told["deferred"] == "F2.0"
    assert told["activated"] == "F3.0"
    assert told["before"] not in ("F2.0", "F3.0")
    assert re.search(r"^frs2 .*\(F2\.0    \)$", output, re.MULTILINE)
    assert re.search(r"^frs3 .*\(F3\.0    \)$", output, re.MULTILINE)
    assert "afi  : 0x3" in output
