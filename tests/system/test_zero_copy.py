"""Data that the disk moves straight from and to the rings of the kernel's target."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.units import IQN, NAA, UNITS, A, give_back, publish, serve

LIMIT = "/sys/module/target_core_user/parameters/global_max_data_area_mb"
FIRST, SECOND = UNITS[:2]  # of one controller

BEGIN = f"""
modprobe -a target_core_user tcm_loop
echo 2048 >{LIMIT}
trap 'leave_to_udev; {give_back((A,))}' EXIT
rings() {{
  echo "RINGS $(scsi2nvme list --state-dir /run/daemon --json | tr --delete '\\n')"
}}
# Work on a disk, until `unload` has it read everything back; nothing may be lost.
load() {{
  rm -f /tmp/count
  leave_fork acknowledged "$1" /tmp/count --blocks 131072
  load=$left
  eventually 60 test -e /tmp/count
}}
unload() {{
  kill $load
  eventually 120 test ! -e /proc/$load || {{ tell_hung; exit 1; }}
}}
"""


def rings(output: str) -> list[dict[str, dict[str, Any]]]:
    """Return what `scsi2nvme list` said of the rings each time, by backstore."""
    found = []
    for line in output.splitlines():
        word, _, text = line.partition(" ")
        if word == "RINGS":
            rows = json.loads(text)["Rings"]
            found.append({row["Backstore"].partition("/")[2]: row for row in rows})
    return found


def test_a_boot_file_is_read_by_one_command(machine: Machine) -> None:
    """It is more than is held at once: copied in portions, whatever could stay in place."""
    output = machine.run(
        BEGIN
        + serve((A,))
        + publish((FIRST,), portals=["127.0.0.1"])
        + f"""
        cd /opt/scsi2nvme
        python3 -m tests.system.boot_file 127.0.0.1 {IQN} 19200
        rings
        """,
        timeout_s=400,
    ).output
    assert "moved 19200 blocks" in output
    (row,) = rings(output)[0].values()
    assert row["Copied"] >= 2


@pytest.mark.parametrize("zero_copy", ["auto", "off"])
def test_either_way_moves_data_unharmed(machine: Machine, zero_copy: str) -> None:
    output = machine.run(
        BEGIN
        + serve((A,), f"--zero-copy {zero_copy}")
        + publish((FIRST, SECOND), loopback=True, portals=["127.0.0.1"])
        + f"""
        iscsi_login
        keep_from_udev $(loop_disk {NAA} 0) $(loop_disk {NAA} 1)
        keep_from_udev $(iscsi_disk {IQN} 0) $(iscsi_disk {IQN} 1)
        all_of() {{ # what finds a disk, of which target, options
          pids=
          for lun in 0 1; do
            fio_verify $($1 $2 $lun) 12M "${{@:3}}" >/dev/null &
            pids="$pids $!"
          done
          for pid in $pids; do wait $pid; done
        }}
        for way in "loop_disk {NAA}" "iscsi_disk {IQN}"; do
          all_of $way --bsrange=4k-256k
          rings
          all_of $way --bsrange=32k-256k --blockalign=32k
          rings
        done
        """,
        timeout_s=300,
    ).output
    said = rings(output)
    assert len(said) == 4
    for before, after in zip(said[::2], said[1::2], strict=True):
        for name, row in after.items():
            in_place, copied = (row[way] - before[name][way] for way in ("InPlace", "Copied"))
            if zero_copy == "off":
                assert row["InPlace"] == row["Pages"] == 0
                assert copied > 100
            else:
                # Each is large enough to stay in place; what the engine answers is copied.
                assert in_place > copied
                assert in_place > 100
                assert row["Pages"] > 0
                assert row["Withdrawals"] == 0


def test_lone_commands_are_served_where_they_come_from(machine: Machine) -> None:
    """And several at a time at home; it may take more than one load, as it leaves only at rest."""
    output = machine.run(
        BEGIN
        + serve((A,))
        + publish((FIRST,), portals=["127.0.0.1"])
        + f"""
        ring() {{
          scsi2nvme list --state-dir /run/daemon --json |
            python3 -c "import json, sys; print(json.load(sys.stdin)['Rings'][0]['$1'])"
        }}
        iscsi_login
        disk=$(iscsi_disk {IQN} 0)
        home=$(ring Reactor)
        keep_from_udev $disk
        until [ $(ring Moves) -gt 0 ]; do
          fio_verify $disk 12M --iodepth=1 --bsrange=4k-12k >/dev/null
        done
        rings
        fio_verify $disk 12M >/dev/null
        until [ $(ring Reactor) = $home ]; do
          fio_verify $disk 12M >/dev/null
        done
        rings
        """,
        timeout_s=300,
    ).output
    lone, crowd = (rows[FIRST.name] for rows in rings(output))
    assert lone["InPlace"] < lone["Copied"]  # each of them less than is worth a look
    assert crowd["Moves"] % 2 == 0


def test_pages_that_the_kernel_takes_back_are_not_used(machine: Machine) -> None:
    output = machine.run(
        BEGIN
        + serve((A,))
        + publish((FIRST, SECOND), loopback=True)
        + f"""
        said() {{ [ "$(grep --count "zero copy is $1" /run/daemon.log)" -ge $2 ]; }}
        size=$(echo /sys/kernel/config/target/core/user_*/{FIRST.name}/attrib/dev_size)
        disk=$(loop_disk {NAA} 0)
        # Use more pages than the load, and then again.
        widely() {{ dd if=$disk of=/dev/null bs=4M count=4 iflag=direct status=none; }}
        found() {{ widely; said off $1; }}
        load $disk
        for i in 1 2 3; do
          widely
          echo 1 >{LIMIT} # whatever is idle goes
          eventually 20 found $i
          echo 2048 >{LIMIT}
          cat $size >$size # a change, to have it looked at
          eventually 20 said on $i
        done
        unload
        rings
        """,
        timeout_s=200,
    ).output
    (rows,) = rings(output)
    assert rows[FIRST.name]["Withdrawals"] >= 3
    assert rows[FIRST.name]["InPlace"] > rows[FIRST.name]["Copied"]
    assert "the kernel has replaced pages of its ring" in output
    assert '"failed": 0' in output
    assert '"lost": []' in output


def test_other_rings_count_and_may_come_and_go(machine: Machine) -> None:
    core = "/sys/kernel/config/target/core/user_77"
    output = machine.run(
        BEGIN
        + serve((A,))
        + publish((FIRST, SECOND), loopback=True)
        + f"""
        other() {{
          mkdir -p {core}/other
          echo dev_config=another/one,dev_size=1048576,max_data_area_mb=2048 >{core}/other/control
          echo nl_reply_supported=-1 >{core}/other/control
          echo 1 >{core}/other/enable
        }}
        moves_in_place() {{
          before=$(count)
          dd if=$(loop_disk {NAA} 0) of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null
          [ $(count) -ge $((before + 8)) ]
        }}
        count() {{
          scsi2nvme list --state-dir /run/daemon --json \\
            | python3 -c 'import json, sys; print(json.load(sys.stdin)["Rings"][0]["InPlace"])'
        }}
        eventually 10 moves_in_place
        load $(loop_disk {NAA} 0)
        for i in 1 2 3; do
          targetcli_all <<END
          /loopback/{NAA}/luns delete lun1
          /backstores/user:nvme delete {SECOND.name}
          {SECOND.create()}
          /loopback/{NAA}/luns create /backstores/user:nvme/{SECOND.name}
END
        done
        unload
        rings
        other
        eventually 20 grep --quiet 'zero copy is off' /run/daemon.log
        ! moves_in_place
        rings
        rmdir {core}/other
        eventually 20 moves_in_place
        rmdir {core}
        """,
        timeout_s=300,
    ).output
    assert '"failed": 0' in output
    assert '"lost": []' in output
    loaded, copying = rings(output)
    assert loaded[FIRST.name]["InPlace"] > 500
    assert loaded[FIRST.name]["Withdrawals"] == 0
    assert set(loaded) == {FIRST.name, SECOND.name}
    assert copying[FIRST.name]["Pages"] == 0
