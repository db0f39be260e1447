"""`bind`, `unbind`, the disks in `list`, and SPECs of real disks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.spec import parse
from scsi2nvme.cli.verbs.bind import binding
from scsi2nvme.cli.verbs.list import disks
from tests.drivers.machine import ADDRESS, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_pci_spec_names_an_address() -> None:
    spec = parse(f"pci:{ADDRESS},readonly=on")
    assert (spec.scheme.name, spec.path, spec.given()) == ("pci", ADDRESS, {})
    assert parse("pci:01:00.0,noiommu=on").given() == {"noiommu": True}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("pci:", "PATH: '' is not a PCI address"),
        ("pci:nvme0", "is not a PCI address"),
        ("pci:01:00.0,size=1G", "size: a pci controller has its own"),
        ("pci:01:00.0,serial=X", "serial: a pci controller has its own"),
        ("pci:01:00.0,noiommu=yes", "is not on or off"),
        ("emulated:memory,noiommu=on", "noiommu: only pci controllers"),
    ],
)
def test_a_pci_spec_that_makes_no_sense_is_refused(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        parse(text)


def test_disks_are_shown_with_their_users(machine: Machine) -> None:
    machine.write("nvme0n1", 0, b"XFSB")
    shown = disks.of_machine(machine.system)
    (disk,) = shown["Disks"]
    assert json.loads(json.dumps(disk)) == {
        "Address": ADDRESS,
        "ModelNumber": "Model of disk",
        "SerialNumber": "S1",
        "PhysicalSize": 4 << 20,
        "Driver": "nvme",
        "IommuGroup": "7",
        "PhysicalFunction": "",
        "NameSpaces": ["nvme0n1"],
        "Users": ["nvme0n1 holds: XFS file system"],
    }
    head, row, use = disks.table(shown).splitlines()
    assert head.split() == ["Address", "Driver", "Serial", "Model", "Size", "Block", "devices"]
    assert row.split()[:3] == [ADDRESS, "nvme", "S1"]
    assert use.strip() == "nvme0n1 holds: XFS file system"
    assert "no NVMe disk" in disks.table({"Disks": []})


def test_a_virtual_function_is_shown_with_its_physical_one(machine: Machine) -> None:
    (machine.function.path / "physfn").symlink_to("../0000:01:00.7")
    lines = disks.table(disks.of_machine(machine.system)).splitlines()
    assert lines[2] == "    is a virtual function of 0000:01:00.7"


def test_the_daemon_tells_of_the_disks_that_it_serves() -> None:
    disk = {"Address": ADDRESS, "ModelNumber": "", "SerialNumber": "", "PhysicalSize": 0}
    row = {"ModelNumber": "M", "SerialNumber": "S", "PhysicalSize": 5}
    shown = {
        "Disks": [disk, {**disk, "Address": "0000:02:00.0"}],
        "Devices": [
            {**row, "DevicePath": "pci:01:00.0,readonly=on"},
            {**row, "DevicePath": f"pci:{ADDRESS}"},
            {**row, "DevicePath": "emulated:memory"},
        ],
    }
    disks.complete(shown)
    first, second = shown["Disks"]
    assert (first["ModelNumber"], first["SerialNumber"], first["PhysicalSize"]) == ("M", "S", 10)
    assert second["SerialNumber"] == ""


def bound(machine: Machine, **arguments: object) -> list[str]:
    """Try to bind; return what was told."""
    told: list[str] = []
    defaults = {"serial": "", "force": False, "persist": False, "dry_run": True}
    binding.bind("01:00.0", **defaults | arguments, system=machine.system, report=told.append)  # type: ignore[arg-type]
    return told


def test_a_dry_run_says_what_would_be_done(machine: Machine) -> None:
    told = bound(machine, persist=True)
    assert told[0] == f"echo vfio-pci > {machine.function.path}/driver_override"
    assert told[-1].startswith(f"install {machine.system.etc}/systemd/system/scsi2nvme-bind-")
    assert machine.function.driver == "nvme"
    assert not (machine.system.etc / "systemd").exists()


def test_a_disk_that_came_just_now_is_let_go_of_by_udev_first(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_process(9, "(udev-worker)", opened="/dev/nvme0n1")
    with pytest.raises(OperationError, match="open in process 9"):
        bound(machine)
    settle = tmp_path / "bin/udevadm"
    settle.parent.mkdir()
    settle.write_text(f'#!/bin/sh\n[ "$1" = settle ] && exec rm -r {machine.system.proc}/9\n')
    settle.chmod(0o755)
    monkeypatch.setenv("PATH", str(settle.parent), prepend=":")
    assert bound(machine)


def test_force_and_persistence_need_a_serial(machine: Machine) -> None:
    with pytest.raises(UsageError, match="--force needs --serial"):
        bound(machine, force=True)
    machine.set_driver(machine.function, "vfio-pci")
    for name in ("model", "serial"):
        (machine.controller / name).unlink()
    with pytest.raises(UsageError, match="--persist needs --serial"):
        bound(machine, persist=True)
    assert bound(machine) == [f"{ADDRESS} is bound to vfio-pci already"]


def test_a_disk_in_use_is_refused_in_one_line(machine: Machine) -> None:
    machine.add_holder("nvme0n1", "md0")
    machine.write("nvme0n1", 0, b"XFSB")
    with pytest.raises(OperationError, match="belongs to RAID array md0; nvme0n1 holds: XFS"):
        bound(machine)


@pytest.mark.parametrize("persist", [False, True])
def test_a_disk_that_holds_something_is_refused_with_the_way_to_take_it(
    machine: Machine, persist: bool
) -> None:
    machine.write("nvme0n1", 0, b"XFSB")
    with pytest.raises(OperationError, match="holds: XFS") as caught:
        bound(machine, persist=persist)
    words = shlex.split(str(caught.value).partition("may be lost: ")[2])
    usual = ["scsi2nvme", "bind", ADDRESS, "--force", "--serial", "S1"]
    assert words == usual + ["--persist"] * persist
    assert bound(machine, force=True, serial="S1")  # which then works
    machine.add_holder("nvme0n1", "md0")
    with pytest.raises(OperationError, match="belongs to RAID array") as caught:
        bound(machine)
    assert "--force" not in str(caught.value)


def test_what_would_be_done_is_told_from_what_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scsi2nvme.drivers.pci.sysfs.System", lambda: machine.system)
    assert main(["bind", ADDRESS, "--dry-run"]) == 0
    would = capsys.readouterr().out.splitlines()
    assert would
    assert all(line.startswith("would do: ") for line in would)


def test_unbind_forgets_and_gives_back(machine: Machine) -> None:
    machine.set_driver(machine.function, "vfio-pci")
    told: list[str] = []
    binding.unbind(ADDRESS, dry_run=True, system=machine.system, report=told.append)
    assert told[-1] == f"echo {ADDRESS} > {machine.system.pci}/drivers_probe"


@pytest.mark.parametrize("verb", ["bind", "unbind"])
def test_nonsense_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "nvme0"]) == 2
    assert "is not a PCI address" in capsys.readouterr().err
