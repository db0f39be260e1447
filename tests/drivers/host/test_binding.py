"""Taking a disk from the kernel, and giving it back, on a machine made of files."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scsi2nvme.drivers.host import binding, binding_unit, libblkid
from scsi2nvme.drivers.host.binding import BindingError
from scsi2nvme.drivers.host.disk_users import users
from scsi2nvme.drivers.host.signatures import TABLE, Signature
from scsi2nvme.drivers.pci.sysfs import parse_address
from tests.drivers.machine import ADDRESS, MIB, NEIGHBOUR, FakeKernel, Machine, put

EFI_SYSTEM = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def kernel(machine: Machine, told: list[str]) -> FakeKernel:
    return FakeKernel(machine, told.append)


# ---- what is found ----


def test_disks_are_found_by_their_class(machine: Machine) -> None:
    machine.add_function(NEIGHBOUR, "e1000e", 0x020000)
    (disk,) = binding.disks(machine.system)
    assert (disk.function.address, disk.model, disk.serial) == (ADDRESS, "Model of disk", "S1")
    assert (disk.namespaces, disk.size_bytes) == (("nvme0n1",), 4 * MIB)
    with pytest.raises(BindingError, match=r"no NVMe controller .class 020000h"):
        binding.find(NEIGHBOUR, machine.system)
    with pytest.raises(BindingError, match=r"no PCI device 0000:99:00\.0"):
        binding.find("99:00.0", machine.system)
    with pytest.raises(BindingError, match="is not a PCI address"):
        binding.find("nvme0", machine.system)


@pytest.mark.parametrize(
    ("text", "address"),
    [("01:00.0", ADDRESS), ("0000:01:00.0", ADDRESS), ("10000:E1:1f.7", "10000:e1:1f.7")],
)
def test_addresses_are_completed(text: str, address: str) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "1:0.0", "0000:01:00.8", "0000:01:00.0 ", "../../x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a PCI address"):
        parse_address(text)


# ---- refusals ----

MOUNT = "36 25 {} / {} rw shared:1 - ext4 {} rw\n"


def mounted(number: str, where: str, source: str) -> Callable[[Machine], None]:
    return lambda machine: machine.add_process(9, "sh", MOUNT.format(number, where, source))


def partition_mounted(machine: Machine) -> None:
    machine.add_block("nvme0n1p2", "259:2", "nvme0n1")
    machine.add_process(9, "sh", MOUNT.format("259:2", "/boot/efi", "/dev/x"))


def volume_mounted(machine: Machine) -> None:
    machine.add_holder("nvme0n1", "dm-3", name="vg-root", uuid="LVM-abc")
    machine.add_process(9, "sh", MOUNT.format("254:3", "/", "/dev/mapper/vg-root"))


def btrfs_member(machine: Machine) -> None:
    put(machine.system.sys / "fs/btrfs/1234/devices/nvme0n1", "")


def swap(source: str) -> Callable[[Machine], None]:
    swaps = f"Filename Type Size Used Priority\n{source} partition 99 0 -2\n"
    return lambda machine: put(machine.system.proc / "swaps", swaps)


def raid_on_partition(machine: Machine) -> None:
    machine.add_block("nvme0n1p1", "259:1", "nvme0n1")
    machine.add_holder("nvme0n1p1", "md127")


def swap_on_volume(machine: Machine) -> None:
    machine.add_holder("nvme0n1", "dm-3", name="vg-swap", uuid="LVM-abc")
    swap("/dev/mapper/vg-swap")(machine)


def neighbour(machine: Machine) -> None:
    machine.add_function(NEIGHBOUR, "e1000e", 0x020000)


def no_iommu(machine: Machine) -> None:
    (machine.function.path / "iommu_group").unlink()


def other_driver(machine: Machine) -> None:
    machine.set_driver(machine.function, "uio_pci_generic")


LIVE: dict[str, tuple[Callable[[Machine], None], str]] = {
    "mounted": (mounted("259:0", "/srv", "/dev/nvme0n1"), "nvme0n1 is mounted on /srv"),
    "mounted, odd name": (mounted("259:0", r"/a\040b", "x"), "nvme0n1 is mounted on /a b"),
    "mounted btrfs": (mounted("0:51", "/srv", "/dev/nvme0n1"), "nvme0n1 is mounted on /srv"),
    "partition mounted": (partition_mounted, "nvme0n1p2 is mounted on /boot/efi"),
    "volume mounted": (volume_mounted, "dm-3 is mounted on /"),
    "LVM": (volume_mounted, "nvme0n1 belongs to LVM volume vg-root"),
    "dm-crypt": (
        lambda machine: machine.add_holder("nvme0n1", "dm-1", name="c", uuid="CRYPT-LUKS2-1"),
        "belongs to encrypted volume c",
    ),
    "dm": (
        lambda machine: machine.add_holder("nvme0n1", "dm-1", name="other", uuid=""),
        "belongs to device mapper volume other",
    ),
    "md": (raid_on_partition, "nvme0n1p1 belongs to RAID array md127"),
    "bcache": (
        lambda machine: machine.add_holder("nvme0n1", "bcache0"),
        "nvme0n1 belongs to cache bcache0",
    ),
    "btrfs member": (btrfs_member, "nvme0n1 belongs to the btrfs file system 1234"),
    "swap": (swap("/dev/nvme0n1"), "nvme0n1 is swap space"),
    "swap on a volume": (swap_on_volume, "dm-3 is swap space"),
    "open": (
        lambda machine: machine.add_process(9, "qemu", opened="/dev/nvme0n1"),
        r"nvme0n1 is open in process 9 \(qemu\)",
    ),
    "group": (neighbour, r"group 7 has devices .* 0000:01:00\.1 \(driver e1000e\)"),
    "no IOMMU": (no_iommu, "no IOMMU; .* intel_iommu=on"),
    "other driver": (other_driver, "bound to uio_pci_generic"),
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("arrange", "reason"), LIVE.values(), ids=list(LIVE))
def test_a_disk_in_use_is_refused_even_by_force(
    machine: Machine,
    kernel: FakeKernel,
    told: list[str],
    arrange: Callable[[Machine], None],
    reason: str,
    force: bool,
) -> None:
    arrange(machine)
    before = machine.function.driver
    with pytest.raises(BindingError, match=reason):
        binding.bind(machine.disk(), kernel, serial="S1", force=force)
    assert machine.function.driver == before
    assert told == []


def second_path(machine: Machine) -> None:
    (machine.controller / "nvme0n1").rmdir()
    (machine.controller / "nvme0c0n1").mkdir()
    (machine.system.sys / "class/nvme/nvme1/nvme0c1n1").mkdir(parents=True)


def esp(machine: Machine) -> None:
    machine.write("nvme0n1", 512, b"EFI PART")
    machine.write("nvme0n1", 1024 + 128, EFI_SYSTEM)


def unreadable(machine: Machine) -> None:
    (machine.system.dev / "nvme0n1").unlink()


def on_partition(machine: Machine) -> None:
    machine.add_block("nvme0n1p1", "259:1", "nvme0n1")
    machine.write("nvme0n1p1", 0, b"XFSB")


def signature(row: Signature) -> Callable[[Machine], None]:
    return lambda machine: machine.write("nvme0n1", row.offset, row.magic)


HOLDS: dict[str, tuple[Callable[[Machine], None], str]] = {
    **{
        f"{row.name} at {row.offset}": (signature(row), f"nvme0n1 holds: {row.name}")
        for row in TABLE
    },
    "EFI": (esp, "holds: EFI system partition"),
    "partition": (on_partition, "nvme0n1p1 holds: XFS"),
    "multipath": (second_path, "nvme0n1 has another path through nvme1"),
    "unreadable": (unreadable, "nvme0n1 cannot be read: No such file"),
}


@pytest.mark.parametrize(("arrange", "reason"), HOLDS.values(), ids=list(HOLDS))
def test_a_disk_that_holds_something_needs_its_serial(
    machine: Machine, kernel: FakeKernel, arrange: Callable[[Machine], None], reason: str
) -> None:
    arrange(machine)
    for serial, force, refusal in (
        ("", False, reason),
        ("S1", False, reason),
        ("", True, "forcing needs"),
        ("S2", True, "serial number is S1, not S2"),
    ):
        with pytest.raises(BindingError, match=refusal):
            binding.bind(machine.disk(), kernel, serial=serial, force=force)
        assert machine.function.driver == "nvme"
    if arrange is not unreadable:
        binding.bind(machine.disk(), kernel, serial="S1", force=True)
        assert machine.function.driver == "vfio-pci"


@pytest.mark.parametrize(
    ("offset", "data", "what"),
    [
        (32, b"ORCLDISK", "oracleasm"),
        (-1024, b"Intel Raid ISM Cfg Sig. 1.0.00", "isw_raid_member"),
        (-512, bytes.fromhex("de11de1100000000") + b"G" * 24 + b"01.02.00", "ddf_raid_member"),
        (0, b"dmvdo001", "vdo"),
        (0, b"\x28\xcd\x3d\x45", "cramfs"),
        (0x8000, b"\x01CD001", "ISO 9660 file system"),
    ],
)
def test_what_libblkid_knows_is_seen(
    machine: Machine, kernel: FakeKernel, offset: int, data: bytes, what: str
) -> None:
    machine.write("nvme0n1", offset, data)
    uses = [use.what for use in users(machine.disk()) if not use.live]
    assert uses == [f"nvme0n1 holds: {what}"]
    with pytest.raises(BindingError, match=what):
        binding.bind(machine.disk(), kernel)


def test_a_disk_that_cannot_be_judged_is_not_taken(
    machine: Machine, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libblkid, "_PATH", "/nonexistent")
    with pytest.raises(BindingError, match="wipefs is missing"):
        binding.bind(machine.disk(), kernel)


def test_an_unused_disk_has_no_users(machine: Machine) -> None:
    machine.add_process(9, "sh", MOUNT.format("8:1", "/", "/dev/sda1") + "odd line\n")
    assert users(machine.disk()) == []


# ---- binding and back ----


def test_bind_and_unbind(machine: Machine, kernel: FakeKernel, told: list[str]) -> None:
    binding.bind(machine.disk(), kernel)
    path, bus = machine.function.path, machine.system.pci
    assert machine.function.driver == "vfio-pci"
    assert kernel.claimed == [machine.system.dev / "nvme0n1"]
    assert told == [
        f"echo vfio-pci > {path}/driver_override",
        f"echo {ADDRESS} > {path}/driver/unbind",
        f"echo {ADDRESS} > {bus}/drivers_probe",
    ]
    binding.bind(machine.disk(), kernel)  # again: nothing to do
    assert len(told) == 3
    binding.unbind(machine.disk(), kernel)
    assert machine.function.driver == "nvme"
    assert (path / "driver_override").read_text() == "\n"
    binding.unbind(machine.disk(), kernel)
    assert len(told) == 6


@pytest.mark.parametrize("node", ["/dev/vfio/7", "/dev/vfio/devices/vfio3"])
def test_what_a_bound_disk_is_stays_known(machine: Machine, kernel: FakeKernel, node: str) -> None:
    (machine.function.path / "vfio-dev/vfio3").mkdir(parents=True)
    binding.bind(machine.disk(), kernel)
    disk = machine.disk()
    assert (disk.model, disk.serial, disk.size_bytes) == ("Model of disk", "S1", 4 * MIB)
    assert users(disk) == []
    machine.add_process(9, "scsi2nvme", opened=node)
    assert [use.what for use in users(disk)] == ["is in use by process 9 (scsi2nvme)"]
    (note,) = (machine.system.run / "scsi2nvme/disks").iterdir()
    for damage in ("{", "[1]", '{"colour": 1}'):
        note.write_text(damage)
        assert machine.disk().serial == ""
    shutil.rmtree(machine.system.proc / "9")
    binding.unbind(machine.disk(), kernel)
    assert not note.exists()


def test_a_disk_is_bound_though_it_cannot_be_noted(
    machine: Machine, kernel: FakeKernel, told: list[str]
) -> None:
    put(machine.system.run / "scsi2nvme", "in the way")
    binding.bind(machine.disk(), kernel)
    assert machine.function.driver == "vfio-pci"
    assert "will not know the disk's model" in told[-1]


def test_without_an_iommu_it_takes_the_kernels_word(machine: Machine, kernel: FakeKernel) -> None:
    no_iommu(machine)
    switch = machine.system.sys / "module/vfio/parameters/enable_unsafe_noiommu_mode"
    put(switch, "N\n")
    with pytest.raises(BindingError, match="there is no IOMMU"):
        binding.bind(machine.disk(), kernel)
    put(switch, "Y\n")
    binding.bind(machine.disk(), kernel)
    assert machine.function.driver == "vfio-pci"


def test_a_dry_run_touches_nothing(machine: Machine, told: list[str]) -> None:
    kernel = FakeKernel(machine, told.append, dry_run=True)
    (machine.system.pci / "drivers/vfio-pci").rmdir()
    binding.bind(machine.disk(), kernel)
    assert machine.function.driver == "nvme"
    assert (machine.function.path / "driver_override").read_text() == "(null)"
    assert told[0] == "modprobe vfio-pci"
    assert len(told) == 4


def test_a_missing_driver_is_loaded(machine: Machine, kernel: FakeKernel, told: list[str]) -> None:
    (machine.system.pci / "drivers/vfio-pci").rmdir()
    binding.bind(machine.disk(), kernel)
    assert told[0] == "modprobe vfio-pci"
    shutil.rmtree(machine.system.pci / "drivers/nvme")
    binding.unbind(machine.disk(), kernel)
    assert "modprobe nvme" in told


def test_a_disk_that_vfio_does_not_take_goes_back(machine: Machine, kernel: FakeKernel) -> None:
    kernel.refuses = ("vfio-pci",)
    with pytest.raises(BindingError, match="vfio-pci does not take it"):
        binding.bind(machine.disk(), kernel)
    assert machine.function.driver == "nvme"


def test_a_disk_that_nobody_takes_any_more_is_told_of(machine: Machine, kernel: FakeKernel) -> None:
    kernel.refuses = ("vfio-pci", "nvme")
    with pytest.raises(
        BindingError, match=r"does not take it.*nor can it be undone.*nvme does not"
    ):
        binding.bind(machine.disk(), kernel)


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EBUSY, "nvme0n1 is in use by the kernel"), (errno.EACCES, "Permission denied")],
)
def test_a_disk_that_cannot_be_claimed_is_refused(
    machine: Machine, kernel: FakeKernel, number: int, reason: str
) -> None:
    kernel.busy = OSError(number, "Permission denied")
    with pytest.raises(BindingError, match=reason):
        binding.bind(machine.disk(), kernel)
    assert machine.function.driver == "nvme"


def test_a_disk_that_a_daemon_uses_is_not_given_back(machine: Machine, kernel: FakeKernel) -> None:
    machine.set_driver(machine.function, "vfio-pci")
    machine.add_process(9, "scsi2nvme", opened="/dev/vfio/7")
    with pytest.raises(BindingError, match=r"in use by process 9 \(scsi2nvme\)"):
        binding.unbind(machine.disk(), kernel)
    assert machine.function.driver == "vfio-pci"


def test_what_another_driver_has_is_not_given_back(machine: Machine, kernel: FakeKernel) -> None:
    machine.set_driver(machine.function, "uio_pci_generic")
    with pytest.raises(BindingError, match="bound to uio_pci_generic"):
        binding.unbind(machine.disk(), kernel)


def test_a_function_with_virtual_ones_is_not_taken_from_under_them(
    machine: Machine, kernel: FakeKernel
) -> None:
    for number in (1, 0):
        (machine.function.path / f"virtfn{number}").symlink_to(f"../0000:01:00.{number + 4}")
    disk = binding.find(ADDRESS, machine.system)
    with pytest.raises(binding.BindingError) as caught:
        binding.bind(disk, kernel, serial="S1", force=True)
    words = "has virtual functions (0000:01:00.4, 0000:01:00.5), which go with it"
    assert words in str(caught.value)
    assert f"echo 0 > {machine.function.path}/sriov_numvfs" in str(caught.value)
    assert machine.function.driver == "nvme"


# ---- at boot ----


def test_binding_persists_until_it_is_forgotten(
    machine: Machine, kernel: FakeKernel, told: list[str]
) -> None:
    (machine.system.run / "systemd/system").mkdir(parents=True)
    command = ["/usr/bin/scsi2nvme", "bind", ADDRESS, "--serial", '5% "x" $1']
    binding_unit.persist(ADDRESS, "5%", command, machine.system, kernel)
    units = machine.system.etc / "systemd/system"
    (unit,) = units.glob("*.service")
    text = unit.read_text()
    assert r'"bind" "0000:01:00.0" "--serial" "5%% \"x\" $$1"' in text
    assert "disk 5%% at" in text
    (link,) = (units / "multi-user.target.wants").iterdir()
    assert link.resolve() == unit.resolve()
    assert told[-1] == "systemctl daemon-reload"
    binding_unit.persist(ADDRESS, "5%", command, machine.system, kernel)
    binding_unit.forget(ADDRESS, machine.system, kernel)
    assert not [*units.glob("*.service"), *(units / "multi-user.target.wants").iterdir()]
    count = len(told)
    binding_unit.forget(ADDRESS, machine.system, kernel)
    assert len(told) == count
