"""Asymmetric namespace access of the emulated controller. Spec: NVMe Base 2.0c 8.1."""

from __future__ import annotations

import pytest

from scsi2nvme.drivers.emulated.capabilities.ana import SET_STATE
from scsi2nvme.nvme.ana import ANA_LOG, AnaState, group_states
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE
from tests.drivers.emulated.host import Host, admin, block, identify, log_page, on_host, set_feature

CHANGED = 2 | 3 << 8 | ANA_LOG << 16


@on_host(ana_state=AnaState.OPTIMIZED)
async def test_what_it_tells_of_itself(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (controller.cmic & 8, controller.oaes & 1 << 11) == (8, 1 << 11)
    assert (controller.anacap, controller.nanagrpid, controller.anagrpmax) == (0x5F, 1, 1)
    assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1))).anagrpid == 1
    with_namespaces = await host.ok(log_page(ANA_LOG, 52))
    assert group_states(with_namespaces) == {1: AnaState.OPTIMIZED}
    assert with_namespaces[48:] == bytes([1, 0, 0, 0])
    command = log_page(ANA_LOG, 52)
    only = admin(AdminOpcode.GET_LOG_PAGE, command.cdw10 | 1 << 8, data_in=52)
    assert (await host.ok(only))[20:24] == bytes(4)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (AnaState.NON_OPTIMIZED, 0),
        (AnaState.INACCESSIBLE, StatusCode.ANA_INACCESSIBLE),
        (AnaState.PERSISTENT_LOSS, StatusCode.ANA_PERSISTENT_LOSS),
        (AnaState.CHANGE, StatusCode.ANA_TRANSITION),
    ],
)
def test_a_state_that_changes_is_told_and_counts(state: AnaState, status: int) -> None:
    @on_host(ana_state=AnaState.OPTIMIZED)
    async def work(host: Host) -> None:
        await host.create_queue()
        await host.ok(set_feature(0x0B, 1 << 11))
        host.place(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        host.place(admin(SET_STATE, state))
        taken = [await host.take(), await host.take()]
        assert {each.dw0 for each in taken} == {0, CHANGED}
        assert group_states(await host.ok(log_page(ANA_LOG, 48))) == {1: state}
        ended = await host.execute(block(Opcode.READ, 0, 1, 512), 1)
        assert ended.status & 0x7FF == status
        namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 1)))
        assert bool(namespace.ncap) == bool(namespace.nvmcap) == (not status)
        await host.ok(admin(SET_STATE, AnaState.OPTIMIZED))
        assert (await host.execute(block(Opcode.READ, 0, 1, 512), 1)).status == 0

    work()


@on_host(ana_state=AnaState.OPTIMIZED)
async def test_other_states_are_refused(host: Host) -> None:
    ended = await host.execute(admin(SET_STATE, 5))
    assert ended.status & 0x7FF == StatusCode.INVALID_FIELD


@on_host()
async def test_others_have_none(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (controller.cmic, controller.anacap, controller.oaes & 1 << 11) == (0, 0, 0)
    ended = await host.execute(log_page(ANA_LOG, 48))
    assert ended.status & 0x7FF == StatusCode.INVALID_LOG_PAGE
