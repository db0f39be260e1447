"""The front end in a real kernel: targetcli, loopback, iSCSI, crash and restart.

The controllers are emulated: what is judged is the way from the kernel to the data plane.
"""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system.machine import Machine

NAA, OTHER_NAA = "naa.5001405000000001", "naa.5001405000000002"
IQN = "iqn.2026-11.io.github.scsi2nvme:scsi2nvme-emulated-controller-s1"
BEGIN = f"""
modprobe tcm_loop
start() {{
  start_daemon --controller emulated:/tmp/disk,size=256M,namespaces=2,serial=S1 \\
    --controller emulated:/tmp/disk4k,size=128M,block=4096 --state-dir /tmp/state
}}
finish() {{
  clear_targets
  end_daemon
  rm -rf /tmp/state /tmp/disk*
}}
create() {{
  targetcli_all <<END
  /backstores/user:nvme create name=disk0 size=256M cfgstring=0/1
  /loopback create {NAA}
  /loopback/{NAA}/luns create /backstores/user:nvme/disk0
END
}}
trap finish EXIT
under_way() {{ # which disk: whether some hundred writes of it have ended
  local counted
  read -ra counted <"/sys/block/${{1##*/}}/stat"
  [ "${{counted[4]}}" -ge 100 ]
}}
start
"""

pytestmark = pytest.mark.timeout(1200)


def test_targetcli_alone_makes_a_disk(machine: Machine) -> None:
    output = machine.run(
        BEGIN
        + f"""
        create
        fio_verify $(loop_disk {NAA} 0) 32M
        cat /sys/kernel/config/target/core/user_*/disk0/attrib/cmd_time_out
        targetcli_all <<END
        /backstores/user:nvme create name=whole size=0 cfgstring=0/2
        /loopback/{NAA}/luns create /backstores/user:nvme/whole
        /backstores/user:nvme ls
END
        blockdev --getsize64 $(loop_disk {NAA} 1)
        fio_verify $(loop_disk {NAA} 1) 8M
        """,
        timeout_s=400,
    ).output
    assert re.search(r"^0$", output, re.MULTILINE)
    assert re.search(rf"^{256 << 20}$", output, re.MULTILINE)  # all of it, where 0 was given


REFUSED = {
    "size=256M cfgstring=0/7": "there is no namespace 7; there are: 1, 2",
    "size=256M cfgstring=5/1": "no controller '5'; there are: scsi2nvme-emulated-controller-s1, ",
    "size=256M cfgstring=disk": "CONTROLLER/NSID",
    "size=1G cfgstring=0/1": "size 1073741824 is more than the namespace's 268435456 bytes",
    "size=64M cfgstring=1/1": "control=hw_block_size=4096",
}


def test_what_cannot_be_is_refused(machine: Machine) -> None:
    """One after the other; nothing is left of any."""
    commands = "\n".join(
        f"/backstores/user:nvme create name=disk{number} {arguments}"
        for number, arguments in enumerate(REFUSED)
    )
    output = machine.run(
        BEGIN
        + f"""
        targetcli_all <<END || true
{commands}
END
        test ! -e /sys/class/uio/uio0
        """,
        timeout_s=300,
    ).output
    assert len(re.findall(r"creation failed|cfgstring invalid", output)) == len(REFUSED)
    for word in REFUSED.values():
        assert word in output


def test_export_makes_an_iscsi_target(machine: Machine) -> None:
    output = machine.run(
        BEGIN
        + f"""
        for i in 1 2; do scsi2nvme export 0 --state-dir /tmp/state; done
        iscsi_login
        fio_verify $(iscsi_disk {IQN} 0) 16M
        sg_inq $(iscsi_disk {IQN} 1)
        iscsi_logout
        for i in 1 2; do scsi2nvme unexport 0 --state-dir /tmp/state; done
        test -z "$(ls -d /sys/kernel/config/target/core/user_*/* 2>/dev/null | grep -v hba_)"
        """,
        timeout_s=400,
    ).output
    assert "scsi2nvme emulat" in output
    assert output.count(f"target {IQN}: gone") == output.count("there was none") == 1


def test_our_shell_makes_a_target_and_counts_what_fio_counts(machine: Machine) -> None:
    """From the tree alone; and what Prometheus is told is what the initiator's own program did."""
    output = machine.run(
        BEGIN.replace("--state-dir", "--metrics 127.0.0.1:9465 --state-dir")
        + f"""
        our() {{ scsi2nvme shell --state-dir /tmp/state "$@"; }}
        metrics() {{
          exec {{asked}}<>/dev/tcp/127.0.0.1/9465
          printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&$asked
          sed '1,/^\\r$/d' <&$asked
          exec {{asked}}<&-
        }}
        ! our /kernel unexport 0
        our --yes <<END
        /kernel ls
        /kernel export 0 nsids=1
        /kernel ls
END
        iscsi_login
        disk=$(iscsi_disk {IQN} 0)
        keep_from_udev $disk
        echo 2 >/sys/block/${{disk##*/}}/queue/nomerges
        echo "--- before"; metrics; echo "--- fio"
        fio --name=count --filename=$disk --size=64M --direct=1 --ioengine=libaio --iodepth=16 \\
          --rw=randrw --bs=4k --number_ios=3000 --output-format=json
        echo "--- after"; metrics; echo "---"
        leave_to_udev
        iscsi_logout
        our --yes /kernel unexport 0
        our /kernel ls
        """,
        timeout_s=400,
    ).output
    assert "give --yes if that is meant" in output
    assert f"target {IQN} on 127.0.0.1:3260" in output
    assert f"target {IQN}: gone" in output
    uses = re.findall(r"s1-1 \.* \[256\.00 MiB, (\w+) backstore\]", output)
    assert uses == ["no", "a", "no"]
    before, fio, after = (
        output.split(f"--- {each}\n")[1].split("\n---")[0] for each in ("before", "fio", "after")
    )
    (job,) = json.loads(fio[fio.index("{") :])["jobs"]
    for kind in ("read", "write"):
        for name, own in (
            ("command_duration_seconds_count", "total_ios"),
            ("bytes_total", "io_bytes"),
        ):
            counted = _counted(after, name, kind) - _counted(before, name, kind)
            assert counted == pytest.approx(job[kind][own], rel=0.01), (kind, name)


def _counted(text: str, name: str, kind: str) -> float:
    """Return the sum of a metric's samples of a kind of commands."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"scsi2nvme_{name}" and sample.labels["kind"] == kind
    )


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_restart_is_a_pause(machine: Machine, signal: str) -> None:
    machine.run(
        BEGIN
        + f"""
        create
        disk=$(loop_disk {NAA} 0)
        # No second round over the same blocks: fio would take it for an error of the disk.
        fio_verify $disk 48M --rate_iops=150 --verify_state_save=0 &
        fio=$!
        eventually 60 under_way $disk
        end_daemon {signal}
        start
        wait $fio
        """,
        timeout_s=600,
    )


def test_a_change_of_size_is_told(machine: Machine) -> None:
    output = machine.run(
        BEGIN
        + f"""
        create
        disk=$(loop_disk {NAA} 0)
        size=$(echo /sys/kernel/config/target/core/user_*/disk0/attrib/dev_size)
        echo $((128 << 20)) >$size
        sg_turs --number=2 $disk || true
        sg_readcap $disk
        if echo $((512 << 20)) >$size; then exit 1; fi
        """,
        timeout_s=300,
    ).output
    assert "Device size: 134217728 bytes" in output


def test_who_is_fenced_changes_nothing(machine: Machine) -> None:
    """Two initiators, of which one registers, reserves and preempts the other."""
    machine.run(
        BEGIN
        + f"""
        create
        targetcli_all <<END
        /loopback create {OTHER_NAA}
        /loopback/{OTHER_NAA}/luns create /backstores/user:nvme/disk0
END
        mkdir --parents "$(cat /sys/kernel/config/target/dbroot)/pr"
        disk=$(loop_disk {NAA} 0)
        fenced=$(loop_disk {OTHER_NAA} 0)
        trap "leave_to_udev; finish" EXIT
        keep_from_udev $disk $fenced
        conflicts() {{
          local status=0
          "$@" || status=$?
          test $status = 24
        }}
        head --bytes=64K /dev/urandom >/tmp/random
        dd if=/tmp/random of=$disk bs=64K oflag=direct
        sg_persist --out --register --param-sark=1 $disk
        sg_persist --out --register --param-sark=2 $fenced
        sg_persist --out --reserve --param-rk=1 --prout-type=5 $disk
        sg_persist --out --preempt --param-rk=1 --param-sark=2 --prout-type=5 $disk
        sg_turs --number=2 $fenced || true
        conflicts sg_write_same --16 --ndob --lba=0 --num=8 $fenced
        conflicts sg_raw $fenced 04 00 00 00 00 00 # FORMAT UNIT without a parameter list
        conflicts sg_start --stop $fenced
        sg_turs $disk
        dd if=$disk bs=64K count=1 iflag=direct | cmp - /tmp/random
        # Who sends is not told: what may be the fenced one's nobody may, but all may flush.
        conflicts sg_start --stop $disk
        sg_sync $disk
        sg_persist --out --clear --param-rk=1 $disk
        sg_start --stop $disk
        sg_start --start $disk
        """,
        timeout_s=300,
    )


def test_a_long_pause_hangs_nobody(machine: Machine) -> None:
    output = machine.run(
        BEGIN
        + f"""
        create
        disk=$(loop_disk {NAA} 0)
        echo 8 >/sys/block/${{disk##*/}}/device/timeout
        end_daemon
        dd if=$disk of=/dev/null bs=4k count=1 iflag=direct &
        reader=$!
        sleep 12 # longer than its initiator waits for an answer
        start
        wait $reader
        # What the kernel says of it is said more or less loud, by its version.
        echo "ABORTED $(cat /sys/kernel/config/target/core/user_*/disk0/statistics/*/aborts_*)"
        """,
        timeout_s=400,
    ).output
    assert output.split("ABORTED ")[1].split()[:2] == ["0", "0"]
