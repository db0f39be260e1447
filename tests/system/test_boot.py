"""The bench itself: what the kernel has, before any of our code runs in it."""

from __future__ import annotations

import json

import pytest

from tests.system.controllers import CONTROLLERS
from tests.system.machine import GuestPanic, GuestTimeout, JobFailed, Machine

IQN = "iqn.2026-11.io.github.scsi2nvme:lio"
NAA = "naa.5001405000000001"
A, B = CONTROLLERS
CLEAR = "trap clear_targets EXIT\n"


@pytest.mark.parametrize(
    "module",
    [
        *("target_core_user", "target_core_iblock", "tcm_loop", "iscsi_target_mod", "iscsi_tcp"),
        *("vfio-pci", "vfio_iommu_type1", "nvme"),
    ],
)
def test_modules_load(machine: Machine, module: str) -> None:
    machine.run(f"modprobe {module}\ntest -d /sys/module/{module.replace('-', '_')}")


def test_controllers_are_alone_in_their_iommu_groups(machine: Machine) -> None:
    for controller in CONTROLLERS:
        group = f"/sys/bus/pci/devices/{controller.address}/iommu_group/devices"
        assert machine.run(f"ls {group}").output.split() == [controller.address]


def test_namespaces_are_there(machine: Machine) -> None:
    found = json.loads(machine.run("nvme list --output-format=json").output)["Devices"]
    assert {
        (disk["SerialNumber"], disk["NameSpace"], disk["SectorSize"], disk["PhysicalSize"])
        for disk in found
    } == {
        (controller.serial, nsid, namespace.block_bytes, namespace.size_bytes)
        for controller in CONTROLLERS
        for nsid, namespace in enumerate(controller.namespaces, start=1)
    }


def test_the_program_is_there(machine: Machine) -> None:
    assert machine.run("command scsi2nvme --version").output.startswith("scsi2nvme ")


def test_a_forked_program_is_like_one_that_was_started(machine: Machine) -> None:
    """It has the descriptors, the directory and the words of who asks, and a status."""
    output = machine.run(
        """
        echo before
        scsi2nvme --version
        echo after
        said() { "$@" 2>&1 || echo "status $?"; }
        mkdir -p /tmp/here
        cd /tmp/here
        echo nonsense >here.toml
        for program in scsi2nvme "command scsi2nvme"; do
          said $program nothing "of two words" ""
          said $program serve --config here.toml
        done
        """,
        timeout_s=180,
    ).output
    before, version, after, *said = output.splitlines()
    assert (before, version.split()[0], after) == ("before", "scsi2nvme", "after")
    forked, started = said[: len(said) // 2], said[len(said) // 2 :]
    assert forked == started
    assert "here.toml" in forked[-2]
    assert forked[-1] == "status 2"


def test_a_forked_program_ends_with_who_waits(machine: Machine) -> None:
    job = machine.start(
        """
        disk=emulated:memory
        ask_for_fork wait scsi2nvme serve --controller $disk --state-dir /tmp/waits >/dev/null
        echo "$number"
        sleep infinity
        """
    )
    machine.run(f"eventually 60 test -s /share/jobs/{job.number}/output", 120)
    job.kill()
    job.wait(check=False)
    machine.run(f"eventually 20 test ! -e /proc/{int(job.output)}; rm -rf /tmp/waits")


@pytest.mark.parametrize("nsid", [1, 2])
def test_lio_exports_a_disk_over_loopback_and_iscsi(machine: Machine, nsid: int) -> None:
    job = machine.run(
        CLEAR
        + f"""
        targetcli_all <<END
        /backstores/block create name=lio dev=$(namespace {A.address} {nsid})
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/block/lio
        /iscsi create {IQN}
        /iscsi/{IQN}/tpg1/luns create /backstores/block/lio
        /iscsi/{IQN}/tpg1 set attribute generate_node_acls=1 demo_mode_write_protect=0
END
        fio_verify $(loop_disk {NAA} 0) 16M
        iscsi_login
        fio_verify $(iscsi_disk {IQN} 0) 16M
        sg_inq --id $(iscsi_disk {IQN} 0)
        """,
        timeout_s=180,
    )
    assert "LIO-ORG" in job.output


def test_tcmu_runner_exports_an_image(machine: Machine) -> None:
    """Its qcow handler wants a file system that can zero ranges, which tmpfs cannot."""
    machine.run(
        f"""
        clear() {{ clear_targets; stop_tcmu_runner; umount /mnt; }}
        trap clear EXIT
        mkfs.ext4 -q $(namespace {B.address} 1)
        mount $(namespace {B.address} 1) /mnt
        qemu-img create -f qcow2 /mnt/image 64M
        start_tcmu_runner
        targetcli_all <<END
        /backstores/user:qcow create name=image size=64M cfgstring=/mnt/image
        /loopback create {NAA}
        /loopback/{NAA}/luns create /backstores/user:qcow/image
END
        fio_verify $(loop_disk {NAA} 0) 8M --iodepth=8
        """,
        timeout_s=180,
    )


def test_a_controller_goes_and_comes_back(machine: Machine) -> None:
    machine.unplug(B)
    machine.run(f"eventually 20 test ! -e /sys/bus/pci/devices/{B.address}")
    machine.plug(B)
    machine.run(f"eventually 30 namespace {B.address} 2; namespace {A.address} 1")


def test_jobs_run_side_by_side(machine: Machine) -> None:
    first = machine.start("until [ -e /tmp/go ]; do sleep 0.1; done; echo first")
    machine.run("touch /tmp/go")
    assert first.wait().output == "first\n"
    endless = machine.start("sleep infinity")
    endless.kill()
    assert endless.wait(check=False).status == 128 + 9


def test_a_failing_job_is_told_apart(machine: Machine) -> None:
    with pytest.raises(JobFailed, match="exit status 7\nbefore"):
        machine.run("echo before; (exit 7); echo after")
    assert machine.run("true").status == 0


def test_a_job_that_hangs_is_told_apart(machine: Machine) -> None:
    with pytest.raises(GuestTimeout, match="runs on after 1 s\nwaiting"):
        machine.run("echo waiting; sleep infinity", timeout_s=1)
    assert not machine.alive


@pytest.mark.kernel_complains
def test_a_panic_is_told_apart(machine: Machine) -> None:
    with pytest.raises(GuestPanic, match="sysrq triggered crash"):
        machine.run("echo c >/proc/sysrq-trigger")
    assert not machine.alive
