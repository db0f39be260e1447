"""The records of transports, and the names that people give controllers by them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scsi2nvme.cli.daemon.privileges import KEPT, Capability
from scsi2nvme.cli.spec import parse, spelled
from scsi2nvme.drivers.transports import SCHEMES, every_option


def test_each_folder_with_a_record_is_a_transport() -> None:
    assert list(SCHEMES) == ["emulated", "pci", "qemu"]


@pytest.mark.parametrize("name", SCHEMES)
def test_no_two_options_of_a_transport_are_one_argument(name: str) -> None:
    keywords = [option.keyword for option in SCHEMES[name].options() if option.keyword]
    assert len(set(keywords)) == len(keywords)


def test_who_serves_a_real_disk_loads_no_other_controller() -> None:
    script = (
        "import sys; from scsi2nvme.cli.spec import parse; "
        "parse('pci:0000:01:00.0,readonly=on').given(); "
        "print([name for name in sys.modules if name.startswith('scsi2nvme.drivers.emulated.')])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_option_is_of_some_transport() -> None:
    offered = {option.name for scheme in SCHEMES.values() for option in scheme.options()}
    assert offered == set(every_option())


def test_what_has_an_address_has_a_lasting_name_in_either_spelling() -> None:
    spec = parse("pci:0000:0A:00.0")
    assert spec.names(3) == ("0000_0a_00.0", "3")
    assert spelled("0000:0a:00.0") in spec.names(3)
    assert spec.pci_address == "0000:0a:00.0"


@pytest.mark.parametrize("text", ["emulated:disk.img", "qemu:"])
def test_what_has_none_is_a_number(text: str) -> None:
    assert parse(text).names(3) == ("3",)
    assert parse(text).pci_address == ""


def test_only_work_without_an_iommu_wants_powers() -> None:
    assert parse("pci:01:00.0").capabilities == frozenset()
    wanted = parse("pci:01:00.0,noiommu=on").capabilities
    assert wanted == {"SYS_RAWIO", "SYS_ADMIN"}
    assert {Capability[name] for name in wanted}.isdisjoint(KEPT)
