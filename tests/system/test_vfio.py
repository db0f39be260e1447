"""Real disks, as far as this kernel can tell: bound, driven through VFIO, and given back."""

from __future__ import annotations

import re

import pytest

from tests.system.controllers import MIB, PRIMARY, Namespace, Nvme
from tests.system.machine import Machine
from tests.system.power import Power
from tests.system.units import A, B, given_back, serve

SHAPES = {(1, 512): "01", (1, 4096): "02", (2, 512): "03", (2, 4096): "04"}

# Use a disk, see it refused, and stop using it: what to do, what is said, what to undo.
USES = {
    "mount": (
        """mkfs.ext4 -q $disk
        unshare --mount sh -c "mount $disk /mnt; touch /tmp/ready; exec sleep infinity" &
        eventually 20 test -e /tmp/ready""",
        "is mounted on /mnt",
        "kill %1; rm /tmp/ready",
    ),
    "swap": ("mkswap $disk; swapon $disk", "is swap space", "swapoff $disk"),
    "LVM": (
        "modprobe dm-mod; vgcreate vg $disk; lvcreate --yes --size 16M --name lv vg",
        "belongs to LVM volume vg-lv",
        "vgremove --yes vg; pvremove $disk",
    ),
    "open": ("sleep infinity <$disk &", "is open in process", "kill %1"),
}


@pytest.mark.parametrize(("use", "reason", "stop"), USES.values(), ids=list(USES))
def test_a_disk_in_use_stays_with_the_kernel(
    machine: Machine, use: str, reason: str, stop: str
) -> None:
    job = machine.run(
        f"""
        modprobe nvme
        disk=$(namespace {B.address} 1)
        {use}
        ! scsi2nvme bind {B.address} --force --serial {B.serial}
        {stop}
        eventually 20 wipefs --quiet --all $disk
        """,
        timeout_s=120,
    )
    assert reason in job.output


def test_bind_and_unbind(machine: Machine) -> None:
    job = machine.run(
        f"""
        modprobe nvme
        disk=$(namespace {B.address} 1)
        mkswap $disk
        trap "scsi2nvme unbind {B.address}" EXIT
        ! scsi2nvme bind {B.address}
        ! scsi2nvme bind {B.address} --force --serial {A.serial}
        scsi2nvme bind {B.address} --force --serial {B.serial}
        scsi2nvme id-ctrl pci:{B.address}
        scsi2nvme unbind {B.address}
        eventually 20 namespace {B.address} 1
        wipefs --all $(namespace {B.address} 1)
        ! scsi2nvme id-ctrl pci:{B.address}
        """,
        timeout_s=180,
    )
    for words in (
        "holds: swap space",
        f"the serial number is {B.serial}, not {A.serial}",
        f"sn        : {B.serial}",
        f"is bound to nvme; run: scsi2nvme bind {B.address}",
    ):
        assert words in job.output


def test_interrupts_come_to_the_cpus_of_their_reactors(machine: Machine) -> None:
    with given_back(machine, (A,)):
        output = machine.run(
            f"""
            {serve((A,))}
            pattern='s/^ *\\([0-9]*\\):.*vfio-msix\\[[23]\\]({A.address})$/\\1/p'
            for number in $(sed --quiet "$pattern" /proc/interrupts); do
              echo "CPU $(cat /proc/irq/$number/smp_affinity_list)"
            done
            """
        ).output
    cpus = [line for line in output.splitlines() if line.startswith("CPU ")]
    assert sorted(cpus) == ["CPU 0", "CPU 1"], output


READ_BY_INTX = f"""
import asyncio
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.vfio.transport import VfioTransport
from scsi2nvme.nvme.command import NvmeCommand, Opcode

async def main():
    transport = VfioTransport("{B.address}", interrupts="intx")
    controller = await Controller.open(transport, io_queues=1, timing=Timing(watch_s=600))
    for _ in range(3):
        for _ in range(100):
            (ended,) = await controller.execute(NvmeCommand(Opcode.READ, 1, data_in=512))
            assert not ended.status
        await controller.commands.smart_log()
        await controller.reset()
    text = open("/proc/interrupts").read()
    print(transport.vectors, "vector,", text.count("vfio-intx({B.address})"), "line")
    await controller.close()

asyncio.run(asyncio.wait_for(main(), 60))
"""


def test_one_interrupt_for_all_is_enough(machine: Machine) -> None:
    """INTx: nothing else tells of completions, as nobody looks by time."""
    job = machine.run(
        "\n".join(
            (
                "modprobe -a nvme vfio-pci",
                f"bind_vfio {B.address}",
                f"trap 'unbind_vfio {B.address}' EXIT",
                f"python3 - <<END{READ_BY_INTX}END",
                "",
            )
        ),
        timeout_s=120,
    )
    assert "1 vector, 1 line" in job.output
    assert "intx is the best kind" not in job.output


VIRTUAL = "0000:03:00.1"
TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d"


def test_a_virtual_function_is_a_controller(machine: Machine) -> None:
    """Of a primary controller that a daemon has through VFIO; its secondary is brought online."""
    pci = "/sys/bus/pci/devices"
    machine.plug(PRIMARY)
    try:
        job = machine.run(
            rf"""
            modprobe -a nvme vfio-pci
            echo Y >/sys/module/vfio_pci/parameters/enable_sriov
            eventually 60 test -e {pci}/{PRIMARY.address}/driver
            bind_vfio {PRIMARY.address}
            (umask 077; echo {TOKEN} >/run/token)
            number=$(scsi2nvme id-ctrl pci:{PRIMARY.address} | sed --quiet 's/^cntlid *: *//p')
            for kind in 0 1; do
              scsi2nvme virt-mgmt pci:{PRIMARY.address} -c $number -a 1 -r $kind -n 0
            done
            start_daemon --controller pci:{PRIMARY.address},vf_token=/run/token
            trap 'end_daemon; unbind_vfio {PRIMARY.address}' EXIT
            scsi2nvme primary-ctrl-caps 0 --state-dir /run/daemon
            echo 1 >{pci}/{PRIMARY.address}/sriov_numvfs
            eventually 20 test {pci}/{VIRTUAL}/driver -ef /sys/bus/pci/drivers/vfio-pci
            virtual=pci:{VIRTUAL},vf_token=/run/token
            ! scsi2nvme list pci:{VIRTUAL}
            ! scsi2nvme list $virtual
            second=$(scsi2nvme list-secondary 0 --state-dir /run/daemon |
              sed --quiet 's/.*:\(0x[0-9a-f]*\) Offline.*/\1/p')
            manage() {{
              scsi2nvme virt-mgmt 0 --force --state-dir /run/daemon -c $second "$@"
            }}
            manage -a 8 -r 1 -n 1
            manage -a 8 -r 0 -n 2
            manage -a 9
            scsi2nvme list-secondary 0 --state-dir /run/daemon
            scsi2nvme list $virtual
            scsi2nvme smart-log $virtual
            scsi2nvme read $virtual -c 0 -d /run/block
            echo "$(wc --bytes </run/block) bytes were read"
            """,
            timeout_s=200,
        )
    finally:
        machine.unplug(PRIMARY)
    for words in (
        "a VF token, which is missing or another",
        f"its secondary controller is offline: .* by its primary controller, {PRIMARY.address}",
        "Online, of primary .*, virtual function 1, 2 queues, 1 interrupts",
        rf"pci:{VIRTUAL},vf_token=/run/token +1 .*\n.* 2 ",
        "critical_warning",
        "512 bytes were read",
    ):
        assert re.search(words, job.output), (words, job.output)
    assert TOKEN not in job.output + machine.console.read_text()


@pytest.mark.timeout(1800)
def test_the_driver_over_vfio(power: Power) -> None:
    """The suite that runs over every controller, over four disks."""
    power.off()
    disks = {
        shape: Nvme(f"v{bus}", f"0000:{bus}:00.0", (Namespace(16 * MIB, shape[1]),) * shape[0])
        for shape, bus in SHAPES.items()
    }
    named = " ".join(f"{n}x{block}={disk.address}" for (n, block), disk in disks.items())
    with Machine(tuple(disks.values()), files=power.files) as machine:
        job = machine.run(
            f"""
            modprobe vfio-pci
            for disk in {" ".join(disk.address for disk in disks.values())}; do
                scsi2nvme bind $disk
            done
            cd /opt/scsi2nvme
            export SCSI2NVME_TEST_DISKS="{named}"
            python3 -m pytest -q -p no:cacheprovider tests/integration/test_driver.py
            """,
            timeout_s=1200,
        )
    assert " passed" in job.output
    assert "skipped" not in job.output
