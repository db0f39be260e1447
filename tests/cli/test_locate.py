"""`locate`, on a machine whose sysfs is ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verbs.locate import locate
from tests.drivers.machine import ADDRESS, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def attribute(path: Path, text: str = "0\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_light_of_its_slot_blinks(machine: Machine) -> None:
    lights = {}
    for number, device in (("3", "0000:02:00"), ("4", ADDRESS[:-2])):
        slot = machine.system.pci / "slots" / number
        attribute(slot / "address", f"{device}\n")
        lights[number] = attribute(slot / "attention")
    locate(ADDRESS, lit=True, system=machine.system)
    assert (lights["3"].read_text(), lights["4"].read_text()) == ("0\n", "2")
    locate(f"pci:{ADDRESS},readonly=on", lit=False, system=machine.system)
    assert lights["4"].read_text() == "0"


@pytest.mark.parametrize("above", [False, True])
def test_the_light_of_its_enclosure_is_lit(machine: Machine, above: bool) -> None:
    device = (machine.system.pci / "devices" / ADDRESS).resolve()
    device = device.parent if above else device
    light = attribute(device / "leds" / f"{ADDRESS}:enclosure:locate" / "brightness")
    attribute(device / "leds" / f"{ADDRESS}:enclosure:fail" / "brightness")
    attribute(machine.system.pci / "slots/4/address", f"{ADDRESS[:-2]}\n")  # without a light
    locate(ADDRESS, lit=True, system=machine.system)
    assert light.read_text() == "1"


def test_without_a_light_it_says_so(machine: Machine) -> None:
    with pytest.raises(OperationError, match=f"knows of no light of {ADDRESS}: neither of a slot"):
        locate(ADDRESS, lit=True, system=machine.system)


def test_what_is_no_disk_has_none(machine: Machine) -> None:
    with pytest.raises(OperationError, match="there is no PCI device"):
        locate("0000:77:00.0", lit=True, system=machine.system)


def test_the_verb_takes_on_and_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["locate", "0000:77:00.0", "off"]) == 1
    assert "there is no PCI device 0000:77:00.0" in capsys.readouterr().err
