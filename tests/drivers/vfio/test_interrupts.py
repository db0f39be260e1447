"""Whom interrupts come to."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from tests.drivers.machine import ADDRESS, Machine, put
from tests.drivers.vfio.fake_vfio import (
    FakeVfio,
)
from tests.drivers.vfio.rig import opened

INTERRUPTS = f"""\
            CPU0       CPU1
  0:         42          0  IR-IO-APIC    2-edge      timer
 37:         23          0  IR-PCI-MSI 524288-edge      vfio-msix[2](0000:07:00.0)
 38:        109          0  IR-PCI-MSI 1048576-edge      vfio-msix[0]({ADDRESS})
 40:          0     112877  IR-PCI-MSI 1048578-edge      vfio-msix[2]({ADDRESS})
141:          0          3  IR-PCI-MSI 1048579-edge      vfio-msix[3]({ADDRESS})
LOC:      45986      47291   Local timer interrupts
"""


def test_interrupts_come_to_the_cpus_they_are_steered_to(
    machine: Machine, kernel: FakeVfio
) -> None:
    proc = machine.system.proc
    put(proc / "interrupts", INTERRUPTS)
    lists = {number: proc / f"irq/{number}/smp_affinity_list" for number in (37, 38, 40, 141)}
    for path in lists.values():
        put(path, "0-1\n")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0, 3: 5, 99: 1})
        assert [path.read_text() for path in lists.values()] == ["0-1\n", "0-1\n", "0\n", "5\n"]
        asyncio.run(transport.let_go())
        put(proc / "interrupts", INTERRUPTS.replace("141:", " 38:"))
        assert asyncio.run(transport.take_back())
        assert lists[38].read_text() == "5\n"


def test_interrupts_that_cannot_be_steered_stay(
    machine: Machine, kernel: FakeVfio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0})
    assert "its interrupts stay where they are" in caplog.text
