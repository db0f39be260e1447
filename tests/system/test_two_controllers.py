"""Two controllers of one disk below a kernel's initiator, of which one is lost under load."""

from __future__ import annotations

import json

import pytest

from tests.system.machine import Machine

pytestmark = pytest.mark.timeout(600)

NAME = "iqn.2026-11.io.github.scsi2nvme:scsi2nvme-emulated-controller-d1"
# With one reactor it has two I/O queue pairs: after that it cannot be reset.
BROKEN = "fault=create-cq:status=0/06:after=2"
SCRIPT = f"""
disk=emulated:/tmp/twins,size=64M,serial=D1
start_daemon --reactors 1 --portal 127.0.0.1:3260 \\
  --controller $disk,controller=1,{BROKEN} --controller $disk,controller=2
finish() {{
  clear_targets
  end_daemon
  rm -f /tmp/twins*
}}
trap finish EXIT
modprobe scsi_dh_alua
iscsi_login
one=$(iscsi_disk {NAME}-1 0) other=$(iscsi_disk {NAME}-2 0)
access() {{ echo "$1: $(</sys/block/${{2##*/}}/device/access_state)"; }}
is() {{ [ "$(</sys/block/${{2##*/}}/device/access_state)" = "$1" ]; }}
[ "$(sg_vpd --page=di_lu $one)" = "$(sg_vpd --page=di_lu $other)" ]
access before-one $one
access before-other $other
sg_rtpg --decode $one
sg_stpg --tp=3 --state=ao $other
sg_turs --verbose $one || true # it is told
sg_rtpg --decode $one
sg_stpg --tp=2 --state=ao $other
leave_fork acknowledged $one /tmp/twins.count >/tmp/twins.outcome 2>/tmp/twins.errors
load=$left
done_so_far() {{ cat /tmp/twins.count 2>/dev/null || echo 0; }}
reached() {{ [ $(done_so_far) -ge $1 ]; }}
eventually 60 reached 50
scsi2nvme reset 0 --state-dir /run/daemon || true
eventually 60 reached $(($(done_so_far) + 200))
kill $load
eventually 120 test ! -e /proc/$load
echo "outcome: $(</tmp/twins.outcome)"
cat /tmp/twins.errors
sg_turs $other || true
sg_rtpg --decode $other
eventually 60 is active/optimized $other
access after-one $one
access after-other $other
"""


def test_the_load_goes_on_by_the_other_one(machine: Machine) -> None:
    said = machine.run(SCRIPT, timeout_s=400).output
    assert "before-one: active/optimized\nbefore-other: active/non-optimized" in said
    assert "after-one: active/non-optimized\nafter-other: active/optimized" in said
    outcome = json.loads(said.split("outcome: ")[1].splitlines()[0])
    assert (outcome["failed"], outcome["lost"]) == (0, [])
    assert "is reached by controller" in said
