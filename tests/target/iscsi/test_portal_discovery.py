"""Discovery and text requests over loopback sockets."""

from __future__ import annotations

import pytest

from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.portal import PortalSettings
from tests.iscsi_chap import Chap
from tests.iscsi_pdu import DATA_IN, REJECT, RESERVED_TAG, pairs_bytes
from tests.target.iscsi.portal_bench import (
    ALICE,
    DISK,
    SECRET,
    TEST_UNIT_READY,
    Bench,
    read10,
    ready,
    refused,
    serving,
)


def test_discovery(bench: Bench) -> None:
    address = f"127.0.0.1:{bench.address[1]},1"
    with bench.initiator() as one:
        one.login()
        records = [("TargetName", DISK), ("TargetAddress", address)]
        assert one.text({"SendTargets": "All"}) == records
        assert one.text({"SendTargets": DISK}) == records
        assert one.text({"SendTargets": SECRET}) == []
        assert one.logout().response == 0
        assert one.closed_by_target()
    with bench.initiator(name=ALICE) as alice:
        alice.login()
        assert ("TargetName", SECRET) in alice.text({"SendTargets": "All"})


@pytest.mark.parametrize("value", ["All", DISK, ""])
def test_a_normal_session_is_told_of_its_own_target(bench: Bench, value: str) -> None:
    with bench.initiator(name=ALICE) as alice:
        alice.login(DISK)
        records = alice.text({"SendTargets": value})
        assert [name for key, name in records if key == "TargetName"] == [DISK]
        assert alice.text({"SendTargets": SECRET}) == []


def test_a_long_list_is_continued(bench: Bench) -> None:
    names = {f"iqn.2026-11.test:{number:0200}" for number in range(60)}
    bench.targets.update({name: TargetNode(name) for name in names})
    try:
        with bench.initiator() as one:
            one.login(keys={"MaxRecvDataSegmentLength": "512"})
            records = one.text({"SendTargets": "All"})
    finally:
        for name in names:
            del bench.targets[name]
    assert {value for key, value in records if key == "TargetName"} == names | {DISK}


def test_a_discovery_session_does_nothing_else(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login()
        one.send(one.command_bhs(0, TEST_UNIT_READY, itt=1))
        assert one.receive().opcode == REJECT
        assert one.task_management(5).opcode == REJECT
        assert one.logout(reason=1).opcode == REJECT
        assert one.text({"SendTargets": "All"})


def test_discovery_authentication() -> None:
    chap = ChapAuthentication(Credentials("finder", b"the finder's secret"))
    with serving(PortalSettings(LoginSettings(discovery_chap=chap))) as bench:
        refused(bench, "", 0x0201)
        with bench.initiator() as one:
            one.login(chap=Chap("finder", b"the finder's secret", "7"))
            assert one.text({"SendTargets": "All"})


@pytest.mark.parametrize("value", ["Alle", "A", "all"])
def test_a_wrong_send_targets_is_rejected(bench: Bench, value: str) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        bhs = one.text_bhs()
        one.send(bhs, pairs_bytes({"SendTargets": value}))
        reject = one.receive()
        assert (reject.opcode, reject.response) == (REJECT, 4)
        assert reject.itt == RESERVED_TAG
        assert reject.data[16:20] == bhs[16:20]
        assert ("TargetName", DISK) in one.text({"SendTargets": "All"})


@pytest.mark.parametrize("key", ["sENDtARGETS", "SendTargetsPlease"])
def test_unknown_keys_are_answered(bench: Bench, key: str) -> None:
    with bench.initiator() as one:
        one.login(DISK)
        assert one.text({key: "All"}) == [(key, "NotUnderstood")]


def test_max_recv_data_segment_length_is_negotiated_again(bench: Bench) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"MaxRecvDataSegmentLength": "4096"})
        ready(one)

        def segments() -> list[int]:
            itt = one.next_itt()
            one.send(one.command_bhs(0, read10(0, 8), itt=itt, edtl=4096, read=True))
            lengths: list[int] = []
            while sum(lengths) < 4096:
                pdu = one.receive()
                assert pdu.opcode == DATA_IN
                lengths.append(len(pdu.data))
            return lengths

        assert segments() == [4096]
        assert one.text({"MaxRecvDataSegmentLength": "1024"}) == []
        assert segments() == [1024] * 4
