"""Resets and removal of a device that vfio-pci has."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import Request
from scsi2nvme.drivers.vfio.transport import VfioTransport
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64, Register
from tests.drivers.machine import Machine
from tests.drivers.vfio.fake_vfio import (
    FakeVfio,
)
from tests.drivers.vfio.rig import either_way, opened


def test_a_reset_leaves_the_device_enabled(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abi, "PAUSE_S", 0.0)
    with closing(opened(machine)) as transport:
        kernel.fails[Request.DEVICE_RESET] = [errno.EAGAIN] * 3
        asyncio.run(transport.reset())
        assert kernel.command() == 0x406
        kernel.fails[Request.DEVICE_RESET] = [errno.EINVAL]
        with pytest.raises(TransportError, match="reset: Invalid"):
            asyncio.run(transport.reset())


@either_way
def test_a_device_that_is_cut_off_reaches_no_memory(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        transport.cut_off()
        assert kernel.command() == 0x402
        asyncio.run(transport.reset())
        assert kernel.command() == 0x406
        transport.cut_off()
        asyncio.run(transport.let_go())
        transport.cut_off()
        assert asyncio.run(transport.take_back())
        assert kernel.command() == 0x406


def test_a_device_that_cannot_be_cut_off_is_told_of(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with closing(opened(machine)) as transport:
        with monkeypatch.context() as patch:
            patch.setattr(transport, "write_configuration", refuses)
            with pytest.raises(TransportError, match="bus mastering stays"):
                transport.cut_off()
        asyncio.run(transport.reset())  # it holds nothing that others wait for


@either_way
def test_nobody_else_waits_for_a_reset_of_the_kernels(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_run = threading.Event()

    def device_reset(_: int) -> None:
        assert others_run.wait(10)
        assert kernel.command() == 0x406  # it was not closed in the midst of it

    async def other() -> None:
        others_run.set()

    async def scenario(transport: VfioTransport) -> None:
        await asyncio.gather(transport.reset(), transport.let_go(), other())

    monkeypatch.setattr(kernel, "device_reset", device_reset)
    with closing(opened(machine)) as transport:
        asyncio.run(scenario(transport))
        assert transport.read32(Register.CSTS) == ALL_ONES_32


@either_way
def test_a_device_that_was_let_go_reads_as_gone(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        memory = transport.allocate(PAGE)
        asyncio.run(transport.let_go())
        asyncio.run(transport.let_go())
        assert transport.read64(Register.CAP) == ALL_ONES_64
        assert transport.read32(Register.CSTS) == ALL_ONES_32
        memory.view()[:1] = b"x"  # still there
        for use in (lambda: asyncio.run(transport.reset()), lambda: transport.allocate(1)):
            with pytest.raises(TransportError, match="is gone"):
                use()


@either_way
def test_a_device_that_comes_back_is_as_it_was(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        memory = transport.allocate(PAGE)
        assert not asyncio.run(transport.take_back())  # it was never let go
        before = dict(kernel.mapped), dict(kernel.eventfds)
        asyncio.run(transport.let_go())
        kernel.mapped.clear()
        kernel.eventfds.clear()
        machine.set_driver(machine.function, "nvme")
        assert not asyncio.run(transport.take_back())
        machine.set_driver(machine.function, "vfio-pci")
        assert asyncio.run(transport.take_back())
        assert before == (kernel.mapped, kernel.eventfds)
        assert kernel.command() == 0x406
        kernel.put(Register.CSTS, 1)
        assert transport.read32(Register.CSTS) == 1
        asyncio.run(transport.reset())
        memory.view()[:1] = b"x"
        asyncio.run(transport.let_go())
        assert transport.read32(Register.CSTS) == ALL_ONES_32


@pytest.mark.parametrize(
    "request_kind", [Request.GROUP_GET_DEVICE_FD, Request.IOMMU_MAP_DMA, Request.DEVICE_SET_IRQS]
)
def test_a_device_that_cannot_be_had_again_stays_away(
    machine: Machine, kernel: FakeVfio, request_kind: Request
) -> None:
    with closing(opened(machine)) as transport:
        transport.allocate(PAGE)
        asyncio.run(transport.let_go())
        kernel.fails[request_kind] = [errno.EIO]
        assert not asyncio.run(transport.take_back())
        assert transport.read64(Register.CAP) == ALL_ONES_64
        assert asyncio.run(transport.take_back())
        assert transport.read64(Register.CAP) != ALL_ONES_64


def all_ones(transport: VfioTransport) -> None:
    transport.write_configuration(8, 4, ALL_ONES_32)


def no_answer(transport: VfioTransport) -> None:
    def read(offset: int, width: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    transport.read_configuration = read  # type: ignore[method-assign]


@pytest.mark.parametrize("answer", [all_ones, no_answer])
def test_a_device_that_was_torn_out_is_not_reset(
    machine: Machine, kernel: FakeVfio, answer: Callable[[VfioTransport], None]
) -> None:
    """Nothing answers on the bus; some machines read zeroes where its memory was."""
    with closing(opened(machine)) as transport:
        kernel.put(Register.CSTS, 0)
        assert transport.read32(Register.CSTS) == 0
        answer(transport)
        assert transport.read32(Register.CSTS) == ALL_ONES_32
        assert transport.read64(Register.ASQ) == ALL_ONES_64
        with pytest.raises(TransportError, match="does not answer any more"):
            asyncio.run(transport.reset())
    assert Request.DEVICE_RESET not in kernel.requests
