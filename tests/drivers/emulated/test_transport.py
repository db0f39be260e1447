"""The emulated controller's registers."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.nvme.registers import AQA, CC, Register, encode
from tests.drivers.emulated.host import (
    EN,
    SHUTDOWN,
    Host,
    identify,
    on_host,
)


@on_host()
async def test_enable_and_disable_follow_cc(host: Host) -> None:
    assert host.csts.rdy == 1
    host.transport.write64(Register.ASQ, 0)  # read-only while enabled
    assert host.transport.read64(Register.ASQ) == host.admin.sq_iova
    host.disable()
    assert host.csts.rdy == 0
    host.enable()
    await host.ok(identify(1))


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Register.ASQ, 0x1000),  # no DMA memory
        (Register.ASQ, 1 << 32 | 0x800),  # not page aligned
        (Register.AQA, 0),
        (Register.CC, encode(CC, en=1, css=6)),
        (Register.CC, encode(CC, en=1, mps=1)),
    ],
)
def test_a_bad_configuration_is_fatal(register: Register, value: int) -> None:
    async def main() -> None:
        host = Host()
        size = host.depth - 1
        host.transport.write32(Register.AQA, encode(AQA, asqs=size, acqs=size))
        host.transport.write64(Register.ASQ, host.admin.sq_iova)
        host.transport.write64(Register.ACQ, host.admin.cq_iova)
        if register == Register.CC:
            host.transport.write32(register, value)
        else:
            host.transport.write64(register, value)
            host.transport.write32(Register.CC, EN)
        assert (host.csts.rdy, host.csts.cfs) == (0, 1)
        host.disable()
        host.enable()
        assert (host.csts.rdy, host.csts.cfs) == (1, 0)
        host.close()

    asyncio.run(main())


@on_host()
async def test_shutdown_is_reported_until_the_next_reset(host: Host) -> None:
    host.transport.write32(Register.CC, SHUTDOWN)
    assert host.csts.shst == 2
    host.disable()
    assert host.csts.shst == 0


@on_host()
async def test_function_reset_restores_defaults(host: Host) -> None:
    await host.transport.reset()
    assert host.csts.raw == bytes(4)
    assert host.transport.read64(Register.ASQ) == 0


@on_host()
async def test_a_removed_controller_reads_all_ones(host: Host) -> None:
    host.transport.remove()
    assert host.transport.read32(Register.CSTS) == 0xFFFFFFFF
    assert host.transport.read64(Register.CAP) == 0xFFFFFFFFFFFFFFFF
