"""Sessions over loopback sockets: how they begin, what they are told, how they end."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from scsi2nvme.native.plane import PlaneNexus
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.service.events import Events
from scsi2nvme.target.iscsi.node import AclEntry
from scsi2nvme.target.iscsi.portal import PortalSettings
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.iscsi_client import Initiator, LoginError
from tests.iscsi_pdu import LOGOUT_RESPONSE, REJECT, TASK_MANAGEMENT_RESPONSE
from tests.model_controller import ModelExecutor
from tests.support import make_lu
from tests.target.iscsi.portal_bench import (
    ALICE,
    DISK,
    NEXUS_LOSS,
    RESET,
    TEST_UNIT_READY,
    Bench,
    attention,
    ready,
    serving,
)

OTHER = "iqn.2026-11.test:other"


def test_a_lost_session_is_a_lost_nexus(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
    bench.wait_for_the_end()
    with bench.initiator() as one:
        one.login(DISK)
        assert attention(one) == NEXUS_LOSS


def test_a_reset_connection_is_a_lost_nexus(bench: Bench) -> None:
    one = bench.initiator()
    one.login(DISK)
    ready(one)
    one.reset()
    bench.wait_for_the_end()
    with bench.initiator() as one:
        one.login(DISK)
        assert attention(one) == NEXUS_LOSS


def test_after_a_logout_nothing_is_lost(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
        response = one.logout()
        assert (response.opcode, response.response) == (LOGOUT_RESPONSE, 0)
        assert one.closed_by_target()
    bench.wait_for_the_end()
    with bench.initiator() as one:
        one.login(DISK)
        assert one.command(0, TEST_UNIT_READY).status == 0


def test_session_reinstatement(bench: Bench) -> None:
    with bench.initiator() as old, bench.initiator() as new:
        old.login(DISK)
        ready(old)
        new.login(DISK)
        assert new.tsih != old.tsih
        assert old.closed_by_target()
        assert attention(new) == NEXUS_LOSS
        assert new.command(0, TEST_UNIT_READY).status == 0
        assert bench.sessions() == 1


def test_another_isid_is_another_session(bench: Bench) -> None:
    with bench.initiator() as one, bench.initiator(isid=b"\x80\0\0\0\0\x02") as other:
        one.login(DISK)
        other.login(DISK)
        ready(one)
        ready(other)
        assert bench.sessions() == 2


def joined(bench: Bench, first: Initiator, cid: int, **options: Any) -> Initiator:
    second = bench.initiator(cid=cid, tsih=first.tsih, cmd_sn=first.cmd_sn, **options)
    second.login(DISK)
    return second


def test_a_login_costs_the_same_however_many_sessions_of_its_name_there_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        call = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return call(*arguments)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in ((PlaneNexus, "set_aside"), (LogicalUnit, "aside"), (Events, "drained")):
        count(owner, name)
    count(UnitParameters, "of")
    costs = []
    with ExitStack() as stack:
        for number in range(6):
            calls.clear()
            isid = bytes([0x80, 0, 0, 0, 0, number])
            one = stack.enter_context(bench.initiator(isid=isid))
            one.login(DISK)
            ready(one)
            costs.append(dict(calls))
    assert costs[1]["drained"] == 1  # whether the other session was left
    assert "of" not in costs[1]  # all commands are the engine's, whatever the hot path knows
    assert costs[1:] == costs[1:2] * 5


def test_further_connections(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"MaxConnections": "2"})
        ready(one)
        with joined(bench, one, 1) as two:
            assert two.tsih == one.tsih
            assert two.command(0, TEST_UNIT_READY).status == 0
            one.cmd_sn = two.cmd_sn
            assert one.command(0, TEST_UNIT_READY).status == 0
            with bench.initiator(cid=2, tsih=one.tsih) as three:
                with pytest.raises(LoginError) as caught:
                    three.login(DISK)
                assert caught.value.status == 0x0206
            two.cmd_sn = one.cmd_sn
            assert two.logout(reason=1).response == 0
            assert two.closed_by_target()
        assert one.command(0, TEST_UNIT_READY).status == 0
        assert bench.sessions() == 1


def test_one_connection_unless_more_are_negotiated(bench: Bench) -> None:
    with bench.initiator() as one, bench.initiator(cid=1) as two:
        one.login(DISK)
        two.tsih = one.tsih
        with pytest.raises(LoginError) as caught:
            two.login(DISK)
        assert caught.value.status == 0x0206


def test_the_loss_of_a_connection_ends_the_session(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"MaxConnections": "2"})
        ready(one)
        joined(bench, one, 1).reset()
        assert one.closed_by_target()
    bench.wait_for_the_end()
    assert bench.sessions() == 0


def test_connection_reinstatement(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
        with joined(bench, one, 0) as again:
            assert one.closed_by_target()
            assert again.tsih == one.tsih
            assert again.command(0, TEST_UNIT_READY).status == 0, "the nexus was not lost"
            assert bench.sessions() == 1


# Logout


@pytest.mark.parametrize(
    ("reason", "cid", "response"), [(1, 9, 1), (2, 0, 2)], ids=["unknown CID", "recovery"]
)
def test_logouts_that_end_nothing(bench: Bench, reason: int, cid: int, response: int) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        answer = one.logout(reason, cid)
        assert (answer.opcode, answer.response) == (LOGOUT_RESPONSE, response)
        assert one.logout(reason=3).opcode == REJECT
        ready(one)


def test_one_connection_logs_another_out(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"MaxConnections": "2"})
        ready(one)
        with joined(bench, one, 1) as two:
            assert one.logout(reason=1, cid=1).response == 0
            assert two.closed_by_target()
        assert one.command(0, TEST_UNIT_READY).status == 0


def test_a_session_logs_out_with_all_its_connections(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"MaxConnections": "2"})
        with joined(bench, one, 1) as two:
            assert two.logout(reason=0).response == 0
            assert two.closed_by_target()
            assert one.closed_by_target()
    bench.wait_for_the_end()


def test_a_logout_ends_a_reservation_before_it_is_answered(bench: Bench) -> None:
    reserve = bytes([0x16, 0, 0, 0, 0, 0])
    with bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        ready(one)
        ready(other)
        assert one.command(0, reserve).status == 0
        assert other.command(0, reserve).status == 0x18
        assert one.logout(reason=0).response == 0
        # The connection is still open: its socket was not closed by either side.
        assert other.command(0, reserve).status == 0


ABORT_TASK, LU_RESET, COLD_RESET, NEXUS_RESET, QUERY_EVENT = 1, 5, 7, 11, 12


# Task management


def test_abort_task(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
        done = one.task_management(ABORT_TASK, referenced=1, ref_cmd_sn=one.cmd_sn - 1)
        assert (done.opcode, done.response) == (TASK_MANAGEMENT_RESPONSE, 1)
        unseen = one.cmd_sn
        one.cmd_sn += 1
        assert one.task_management(ABORT_TASK, referenced=99, ref_cmd_sn=unseen).response == 0
        assert one.command(0, TEST_UNIT_READY).status == 0


def test_logical_unit_reset(bench: Bench) -> None:
    with bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        ready(one)
        ready(other)
        assert one.task_management(LU_RESET).response == 0
        assert one.task_management(LU_RESET, lun=9).response == 2
        assert attention(one) == RESET
        assert attention(other) == RESET


def test_cold_reset_drops_every_connection() -> None:
    settings = PortalSettings(cold_reset=True)
    with serving(settings) as bench, bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        assert one.task_management(COLD_RESET).response == 0
        assert one.closed_by_target()
        assert other.closed_by_target()
        bench.wait_for_the_end()


def test_cold_reset_is_refused_unless_configured(bench: Bench) -> None:
    with bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        ready(other)
        assert one.task_management(COLD_RESET).response == 6
        ready(one)
        assert other.command(0, TEST_UNIT_READY).status == 0


@pytest.mark.parametrize(("luns", "response"), [({}, 6), ({0: 0}, 0)], ids=["none", "some"])
def test_cold_reset_ends_no_session_that_sees_more(luns: dict[int, int], response: int) -> None:
    with serving(PortalSettings(cold_reset=True)) as bench:
        bench.run(second_unit(bench))
        bench.targets[DISK].acl = {ALICE: AclEntry(luns=luns), OTHER: AclEntry()}
        with bench.initiator(name=ALICE) as alice, bench.initiator(name=OTHER) as other:
            alice.login(DISK)
            other.login(DISK)
            assert alice.task_management(COLD_RESET).response == response
            assert not luns or alice.closed_by_target()
            assert other.text({"SendTargets": ""}), "its session goes on"


async def second_unit(bench: Bench) -> None:
    lu = make_lu()
    bench.service.add_unit(lu, ModelExecutor(bench.model), bench.controller)
    bench.targets[DISK].logical_units[1] = lu


def test_functions_of_rfc_7144(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"iSCSIProtocolLevel": "2"})
        pending = one.task_management(QUERY_EVENT)
        assert (pending.response, pending.bhs[8:11]) == (7, b"\x16\x29\x00")
        ready(one)
        assert one.task_management(QUERY_EVENT).response == 0
        assert one.task_management(NEXUS_RESET).response == 0
        assert attention(one) == NEXUS_LOSS


def test_functions_of_rfc_7144_by_default(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        assert one.task_management(QUERY_EVENT).response == 5
