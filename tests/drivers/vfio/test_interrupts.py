"""Which kind interrupts are of, and whom they come to."""

from __future__ import annotations

import asyncio
import errno
from contextlib import closing

import pytest

from scsi2nvme.drivers.vfio.abi import IrqIndex, Request
from tests.drivers.machine import ADDRESS, Machine, put
from tests.drivers.vfio.fake_vfio import (
    FakeVfio,
)
from tests.drivers.vfio.rig import opened

COMMAND, WITH_INTX_OFF = 0x006, 0x406


@pytest.mark.parametrize(
    ("there", "best", "kind", "vectors"),
    [
        ((5, 32, 1), "msix", IrqIndex.MSIX, 5),
        ((5, 32, 1), "msi", IrqIndex.MSI, 32),
        ((0, 4, 1), "msix", IrqIndex.MSI, 4),
        ((5, 0, 1), "msi", IrqIndex.INTX, 1),
        ((0, 0, 1), "msix", IrqIndex.INTX, 1),
        ((0, 0, 0), "msix", None, 0),
        ((5, 32, 1), "off", None, 0),
        ((5, 32, 0), "intx", None, 0),
    ],
)
def test_the_best_kind_that_there_is(
    machine: Machine,
    kernel: FakeVfio,
    caplog: pytest.LogCaptureFixture,
    there: tuple[int, int, int],
    best: str,
    kind: IrqIndex | None,
    vectors: int,
) -> None:
    kernel.vectors = kernel.granted = there[0]
    kernel.messages, kernel.has_intx = there[1], bool(there[2])
    with closing(opened(machine, interrupts=best)) as transport:
        assert transport.vectors == vectors
        alarms = {IrqIndex.ERROR, IrqIndex.REQUEST}
        assert kernel.eventfds.keys() - alarms == ({kind} if kind is not None else set())
        if kind is not None:
            assert [transport.interrupt(n) for n in range(vectors)] == kernel.eventfds[kind]
        intx = kind is IrqIndex.INTX
        assert kernel.command() == (COMMAND if intx else WITH_INTX_OFF)
    told = [line for line in caplog.messages if "interrupts" in line]
    if kind is None:
        assert ["it is polled" in line for line in told] == [True] * (best != "off")
    else:
        name = "intx" if intx else kind.name.lower()
        assert ["is the best kind" in line for line in told] == [True] * (name != best)


def test_an_interrupt_that_is_a_level_comes_again_when_it_is_asked_to(
    machine: Machine, kernel: FakeVfio
) -> None:
    kernel.has_intx = True
    with closing(opened(machine, interrupts="intx")) as transport:
        transport.rearm()
        assert kernel.unmasked == 1
        asyncio.run(transport.reset())
        assert (kernel.unmasked, kernel.command()) == (2, COMMAND)
        asyncio.run(transport.let_go())
        transport.rearm()
        assert kernel.unmasked == 2
        assert asyncio.run(transport.take_back())
        assert kernel.command() == COMMAND
        assert kernel.eventfds[IrqIndex.INTX] == [transport.interrupt(0)]


def test_messages_come_again_by_themselves(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        transport.rearm()
        assert kernel.unmasked == 0


def test_interrupts_that_others_have_are_done_without(
    machine: Machine, kernel: FakeVfio, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.has_intx = True
    kernel.fails[Request.DEVICE_SET_IRQS] = [errno.EBUSY]
    with closing(opened(machine, interrupts="intx")) as transport:
        assert (transport.vectors, kernel.command()) == (0, WITH_INTX_OFF)
    assert "its intx cannot be used: Device or resource busy" in caplog.text
    assert "there are no interrupts; it is polled" in caplog.text


INTERRUPTS = f"""\
            CPU0       CPU1
  0:         42          0  IR-IO-APIC    2-edge      timer
 37:         23          0  IR-PCI-MSI 524288-edge      vfio-msix[2](0000:07:00.0)
 38:        109          0  IR-PCI-MSI 1048576-edge      vfio-msix[0]({ADDRESS})
 40:          0     112877  IR-PCI-MSI 1048578-edge      vfio-msix[2]({ADDRESS})
141:          0          3  IR-PCI-MSI 1048579-edge      vfio-msix[3]({ADDRESS})
LOC:      45986      47291   Local timer interrupts
"""


@pytest.mark.parametrize("name", ["vfio-msix", "vfio-msi"])
def test_interrupts_come_to_the_cpus_they_are_steered_to(
    machine: Machine, kernel: FakeVfio, name: str
) -> None:
    proc = machine.system.proc
    interrupts = INTERRUPTS.replace("vfio-msix", name)
    put(proc / "interrupts", interrupts)
    lists = {number: proc / f"irq/{number}/smp_affinity_list" for number in (37, 38, 40, 141)}
    for path in lists.values():
        put(path, "0-1\n")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0, 3: 5, 99: 1})
        assert [path.read_text() for path in lists.values()] == ["0-1\n", "0-1\n", "0\n", "5\n"]
        asyncio.run(transport.let_go())
        put(proc / "interrupts", interrupts.replace("141:", " 38:"))
        assert asyncio.run(transport.take_back())
        assert lists[38].read_text() == "5\n"


def test_interrupts_that_cannot_be_steered_stay(
    machine: Machine, kernel: FakeVfio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0})
    assert "its interrupts stay where they are" in caplog.text
