"""The machine and the kernel that the VFIO transport meets in tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.native.nvme import Registers
from tests.drivers.machine import Machine
from tests.drivers.vfio.fake_vfio import (
    FakeVfio,
    make_cdev,
    make_nodes,
)
from tests.drivers.vfio.rig import CDEV, GROUP


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.set_driver(machine.function, "vfio-pci")
    make_nodes(machine.system.dev)
    return machine


@pytest.fixture
def kernel(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[FakeVfio]:
    fake = FakeVfio()
    if getattr(request, "param", GROUP) == CDEV:
        make_cdev(machine.function, fake.device)
    monkeypatch.setattr(abi, "call", fake.call)
    Registers(fake.device, 0, PAGE).close()  # the first ones leave something behind for all
    before = len(os.listdir("/proc/self/fd"))
    yield fake
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    os.close(fake.device)
