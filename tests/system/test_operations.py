"""Operators' commands on real disks: export with its options, list, refusals, and company."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.system.conftest import watched
from tests.system.controllers import GIB, Nvme
from tests.system.machine import Machine
from tests.system.power import Power
from tests.system.units import NAA, UNITS, A, B, empty, give_back, publish, serve

IQN = "iqn.2026-11.org.example:exported"
PORTAL = "127.0.0.2:3261"
CHAP = """
cat >/run/chap.toml <<END
[chap]
name = "host"
secret = "a long enough secret"
END
chmod 600 /run/chap.toml
"""
FIRST = UNITS[0]


def end(*controllers: Nvme) -> str:
    """Return what a script does in the end, whatever happens."""
    return f"finish() {{\n{give_back(controllers)}\n}}\ntrap finish EXIT\n"


# ---- export ----


def test_export_with_every_option(machine: Machine) -> None:
    """CHAP, an ACL and a portal of its own: who may log in does, and nobody else."""
    output = machine.run(
        f"""
        {end(A)}
        {serve([A])}
        {CHAP}
        name=$(sed -n s/^InitiatorName=//p /etc/iscsi/initiatorname.iscsi)
        export_to() {{
          scsi2nvme export {A.address} --state-dir /run/daemon --iqn {IQN} --portal {PORTAL} \\
            --chap /run/chap.toml --namespace-id 1 --initiator "$1"
        }}
        node() {{ iscsiadm --mode node --targetname {IQN} --portal {PORTAL} "$@"; }}
        set_node() {{ node --op update --name "node.session.auth.$1" --value "$2"; }}
        for i in 1 2; do export_to "$name"; done
        iscsi_start
        iscsiadm --mode discovery --type sendtargets --portal {PORTAL}
        echo no secret
        ! node --login
        set_node authmethod CHAP
        set_node username host
        set_node password 'another long secret'
        echo wrong secret
        ! node --login
        set_node password 'a long enough secret'
        node --login
        udevadm settle
        disk=$(readlink -e /dev/disk/by-path/ip-{PORTAL}-iscsi-{IQN}-lun-0)
        test ! -e /dev/disk/by-path/ip-{PORTAL}-iscsi-{IQN}-lun-1
        fio_verify $disk 8M
        iscsi_logout --targetname {IQN} --portal {PORTAL}
        export_to iqn.2026-11.org.example:somebody
        echo another initiator
        ! node --login
        for i in 1 2; do scsi2nvme unexport {A.address} --iqn {IQN}; done
        test -z "$(ls -d /sys/kernel/config/target/core/user_*/nvme-* 2>/dev/null)"
        """,
        timeout_s=240,
    ).output
    refused = output.split("no secret")[1]
    assert refused.count("authorization failure") == 3
    assert output.count(f"target {IQN}: gone") == output.count("there was none") == 1


def test_all_paths_tell_one_identity(machine: Machine) -> None:
    """Unit serial number and designators are the disk's; the kernel's own record is one of them."""
    machine.run(
        f"""
        {end(A)}
        {serve([A])}
        scsi2nvme export {A.address} --state-dir /run/daemon --iqn {IQN}
        targetcli_all <<END
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/user:nvme/nvme-{A.address.replace(":", "_")}-1
END
        iscsi_login
        here=$(loop_disk {NAA} 0)
        there=$(iscsi_disk {IQN} 0)
        for page in 0x80 0x83; do
          sg_vpd --page=$page $there >/tmp/there
          sg_vpd --page=$page $here | diff - /tmp/there
        done
        serial=$(sed "s/.*: //" /sys/kernel/config/target/core/user_*/nvme-*-1/wwn/vpd_unit_serial)
        sg_vpd --page=0x83 $here | tr --delete - | grep --ignore-case "$serial"
        """,
        timeout_s=180,
    )


# ---- check, list, bind ----


def test_a_machine_that_can_serve_passes(machine: Machine) -> None:
    """What `check` calls wrong elsewhere is well here, but for a disk that the kernel still has."""
    output = machine.run(
        f"""
        {end(A)}
        printf '[tcmu]\n[[controllers]]\nspec = "pci:{A.address}"\n' >/run/check.toml
        check() {{ scsi2nvme check --config /run/check.toml --state-dir /run/daemon; }}
        ! check
        echo "--- served"
        {serve([A])}
        check
        """,
        timeout_s=120,
    ).output
    before, served = output.split("--- served")
    (disk,) = re.findall("^wrong +disks +(.*)$", before, re.M)
    assert disk.endswith(f"run: scsi2nvme bind {A.address}")
    well = re.findall(r"^ok +(\S+) ", served, re.M)
    for name in ("vfio-pci", "target_core_user", "configfs", "D-Bus", "daemon", "health"):
        assert name in well


def test_list_knows_a_bound_disk_with_and_without_the_daemon(machine: Machine) -> None:
    def shown(when: str) -> dict[str, object]:
        text = output.split(f"--- {when}\n")[1].split("\n---")[0]
        disks = json.loads(text[text.index("{") :])["Disks"]
        return next(disk for disk in disks if disk["Address"] == A.address)

    output = machine.run(
        f"""
        {end(A)}
        {empty(A)}
        scsi2nvme bind {A.address} --dry-run
        test "$(basename $(readlink /sys/bus/pci/devices/{A.address}/driver))" = nvme
        scsi2nvme bind {A.address}
        echo "--- bound"; scsi2nvme list --json; echo "---"
        start_daemon --controller pci:{A.address}
        ! scsi2nvme unbind {A.address}
        rm -r /run/scsi2nvme
        echo "--- served"; scsi2nvme list --json --state-dir /run/daemon; echo "---"
        """,
        timeout_s=120,
    ).output
    bound, served = shown("bound"), shown("served")
    for disk in (bound, served):
        assert disk["SerialNumber"] == A.serial
        assert disk["ModelNumber"] == "QEMU NVMe Ctrl"
        assert disk["PhysicalSize"] == 2 * GIB
        assert disk["Driver"] == "vfio-pci"
    assert bound["Users"] == []
    assert "is in use by process" in str(served["Users"])
    assert f"{A.address} is in use by process" in output


def test_an_efi_partition_stays_with_the_kernel(machine: Machine) -> None:
    output = machine.run(
        f"""
        modprobe nvme
        disk=$(namespace {B.address} 1)
        sfdisk --quiet $disk <<<"label: gpt
        type=uefi"
        udevadm settle
        mkfs.vfat ${{disk}}p1
        ! scsi2nvme bind {B.address}
        mkdir -p /boot/efi
        mount ${{disk}}p1 /boot/efi
        trap "umount /boot/efi; wipefs --quiet --all --force ${{disk}}p1 $disk" EXIT
        ! scsi2nvme bind {B.address} --force --serial {B.serial}
        """,
    ).output
    assert "holds: EFI system partition" in output
    assert "p1 is mounted on /boot/efi" in output


# ---- refusals ----


def test_a_user_is_told_what_is_missing(machine: Machine) -> None:
    output = machine.run(
        f"""
        trap "scsi2nvme unbind {B.address}" EXIT
        as_user() {{ setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }}
        ! as_user scsi2nvme bind {B.address}
        scsi2nvme bind {B.address}
        ! as_user scsi2nvme id-ctrl pci:{B.address}
        chown nobody /dev/vfio/[0-9]*
        ulimit -l 64
        ! as_user scsi2nvme id-ctrl pci:{B.address}
        ! as_user scsi2nvme daemon --controller emulated:memory --state-dir /tmp/nobody
        """,
        timeout_s=120,
    ).output
    assert "cannot be read: Permission denied" in output
    assert "no permission; run as root, or make your user the owner of this file" in output
    assert "limit of locked memory, 64 KiB; set LimitMEMLOCK=infinity" in output
    assert "run: ulimit -l unlimited" in output
    assert "Traceback" not in output


def test_missing_modules_are_named(machine: Machine) -> None:
    output = machine.run(
        f"""
        hidden=/etc/modprobe.d/hidden.conf
        trap "rm $hidden; scsi2nvme unbind {B.address}; modprobe vfio_iommu_type1" EXIT
        modprobe -r vfio_pci vfio_iommu_type1 target_core_user || true
        echo "install vfio_pci /bin/false" >$hidden
        ! scsi2nvme bind {B.address}
        echo "install vfio_iommu_type1 /bin/false" >$hidden
        scsi2nvme bind {B.address}
        modprobe -r vfio_iommu_type1
        ! scsi2nvme id-ctrl pci:{B.address}
        ! scsi2nvme daemon --controller emulated:memory,size=16M --state-dir /run/daemon
        """,
        timeout_s=120,
    ).output
    lines = output.splitlines()
    assert any(line.startswith("scsi2nvme: modprobe vfio-pci: ") for line in lines)
    assert "the module vfio_iommu_type1 is missing; run: modprobe vfio_iommu_type1" in output
    assert "user backstore is not loaded; run: modprobe target_core_user" in output


def test_a_second_daemon_is_refused(machine: Machine) -> None:
    output = machine.run(
        f"""
        {end(A)}
        {serve([A])}
        ! scsi2nvme serve --controller emulated:memory --state-dir /run/daemon
        ! scsi2nvme serve --controller pci:{A.address} --state-dir /run/second
        ! scsi2nvme daemon --controller emulated:memory --state-dir /run/second
        """,
        timeout_s=120,
    ).output
    for words in (
        "state directory /run/daemon: in use by another scsi2nvme (process ",
        "the device is in use by another process",
        "the kernel's user backstore is served by another scsi2nvme; stop that first",
    ):
        assert words in output
    assert "Traceback" not in output


@pytest.fixture
def small(power: Power, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine without an IOMMU whose only disk is the one that it has started from."""
    power.off()
    with Machine(files=power.files, nvme_root=True, iommu=False) as machine:
        yield from watched(machine, request)


def test_the_boot_disk_stays_and_an_iommu_is_missed(small: Machine) -> None:
    output = small.run(
        """
        address=$(basename $(readlink -f /sys/class/nvme/nvme0/device))
        ! scsi2nvme bind $address --force --serial root
        ! scsi2nvme id-ctrl pci:$address,noiommu=on
        modprobe vfio
        ! scsi2nvme id-ctrl pci:$address,noiommu=on
        scsi2nvme list
        """,
    ).output
    first = output.splitlines()[0]
    assert "there is no IOMMU; enable VT-d or AMD-Vi in the firmware" in first
    assert "with intel_iommu=on" in first
    assert "nvme0n1 is mounted on /" in first
    assert output.count("this kernel has no mode without an IOMMU (CONFIG_VFIO_NOIOMMU)") == 2
    assert output.count("the device can reach all memory") == 2


def test_whoever_shares_the_group_is_named(power: Power, request: pytest.FixtureRequest) -> None:
    """Two functions of one device, which nothing keeps apart."""
    pair = (Nvme("one", "0000:01:00.0"), Nvme("two", "0000:01:00.1", beside="one"))
    power.off()
    with Machine(pair, files=power.files) as machine:
        output = machine.run(
            """
            ! scsi2nvme bind 01:00.0
            modprobe vfio-pci
            bind_vfio 0000:01:00.0
            ! scsi2nvme id-ctrl pci:01:00.0
            bind_vfio 0000:01:00.1
            scsi2nvme id-ctrl pci:01:00.0
            """,
        ).output
    refusal = "devices that others use: 0000:01:00.1 (driver nvme); bind these to vfio-pci too"
    assert output.count(refusal) == 2
    assert "sn        : S2N-one" in output


# ---- beside tcmu-runner ----


RUNNER = f"""
mkfs.ext4 -q $(namespace {B.address} 1)
mount $(namespace {B.address} 1) /mnt
qemu-img create -q -f qcow2 /mnt/image 64M
"""


def test_beside_a_tcmu_runner_that_was_there_first(machine: Machine) -> None:
    """Each serves its own; ours must be created so that the kernel does not wait."""
    output = machine.run(
        f"""
        finish() {{
          {give_back([A])}
          stop_tcmu_runner
          umount /mnt
        }}
        trap finish EXIT
        {RUNNER}
        start_tcmu_runner
        {serve([A])}
        grep "beside tcmu-runner" /run/daemon.log
        targetcli_all <<<"{FIRST.create()}" || true
        test ! -e /sys/class/uio/uio0
        targetcli_all <<<"/backstores/user:nvme create name=x size=1G cfgstring=7/1" || true
        targetcli_all <<END
        {FIRST.create()},nl_reply_supported=-1
        /backstores/user:qcow create name=image size=64M cfgstring=/mnt/image
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/user:nvme/{FIRST.name}
        /loopback/{NAA}/luns create /backstores/user:qcow/image
END
        fio_verify $(loop_disk {NAA} 0) 16M
        fio_verify $(loop_disk {NAA} 1) 8M --iodepth=8
        scsi2nvme export {A.address} --state-dir /run/daemon
        targetcli_all <<<"/backstores/user:nvme ls"
        end_daemon
        start_daemon --controller pci:{A.address}
        fio_verify $(loop_disk {NAA} 0) 16M
        """,
        timeout_s=360,
    ).output
    assert "creation failed" in output
    assert "beside tcmu-runner, create it with control=nl_reply_supported=-1" in output
    assert "there is no controller '7'" in output


def test_a_tcmu_runner_that_comes_later_disturbs_nobody(machine: Machine) -> None:
    output = machine.run(
        f"""
        finish() {{
          {give_back([A])}
          stop_tcmu_runner
        }}
        trap finish EXIT
        {serve([A])}
        {publish([FIRST], loopback=True)}
        disk=$(loop_disk {NAA} 0)
        fio_verify $disk 64M --rate_iops=150 --verify_state_save=0 &
        fio=$!
        start_tcmu_runner
        targetcli_all <<<"{UNITS[1].create()},nl_reply_supported=-1"
        wait $fio
        end_daemon
        start_daemon --controller pci:{A.address}
        grep "beside tcmu-runner" /run/daemon.log
        fio_verify $disk 16M
        """,
        timeout_s=360,
    ).output
    assert "Traceback" not in output
