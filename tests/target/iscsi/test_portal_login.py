"""Logging in to the portal over loopback sockets."""

from __future__ import annotations

import pytest

from scsi2nvme.target.iscsi.portal import PortalSettings
from tests.iscsi_chap import Chap
from tests.iscsi_pdu import ScsiResult, pairs_bytes
from tests.target.iscsi.portal_bench import (
    ALICE,
    DISK,
    INQUIRY,
    POWER_ON,
    SECRET,
    TEST_UNIT_READY,
    Bench,
    read10,
    ready,
    refused,
    serving,
)


def test_login_and_commands(bench: Bench) -> None:
    bench.model.fill(7, b"\xa5" * 1024)
    with bench.initiator() as one:
        one.login(DISK)
        ready(one)
        assert one.command(0, INQUIRY, data_in=96).data[8:16].strip()
        assert one.command(0, read10(7, 2), data_in=1024) == ScsiResult(0, b"\xa5" * 1024)
        assert one.keys["TargetPortalGroupTag"] == "1"
        assert one.keys["TargetAlias"] == "a disk"


@pytest.mark.parametrize("header", ["None", "CRC32C"])
@pytest.mark.parametrize("data", ["None", "CRC32C"])
def test_digests(bench: Bench, header: str, data: str) -> None:
    with bench.initiator() as one:
        one.login(DISK, {"HeaderDigest": header, "DataDigest": data})
        ready(one)
        assert one.command(0, INQUIRY, data_in=96).status == 0
        assert ("TargetName", DISK) in one.text({"SendTargets": ""})


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("algorithm", ["5", "6", "7", "8"])
def test_chap(bench: Bench, algorithm: str, mutual: bool) -> None:
    proof = {"target_name": "disk", "target_secret": b"the disk's secret"} if mutual else {}
    chap = Chap("alice", b"alice's own secret", algorithm, **proof)  # type: ignore[arg-type]
    with bench.initiator(name=ALICE) as one:
        one.login(SECRET, chap=chap)
        assert one.command(3, TEST_UNIT_READY).sense_triple == POWER_ON
        assert one.command(0, TEST_UNIT_READY).sense_triple == (5, 0x25, 0)


def test_guesses_of_an_address_hold_up_nobody_who_has_proved_himself_there() -> None:
    right, wrong = Chap("alice", b"alice's own secret"), Chap("alice", b"guess")
    with serving(PortalSettings(wrong_proof_pause=1000.0)) as bench:
        with bench.initiator(name=ALICE) as one:
            one.login(SECRET, chap=right)
        acl = bench.targets[SECRET].acl
        assert acl is not None
        acl["bob"] = acl[ALICE]
        refused(bench, SECRET, 0x0201, name="bob", chap=wrong)
        for _ in range(3):
            with bench.initiator(name=ALICE) as one:
                one.login(SECRET, chap=right)
        refused(bench, SECRET, 0x0201, name=ALICE, chap=wrong)
        for name in ("bob", ALICE):
            with bench.initiator(name=name, timeout=0.2) as one, pytest.raises(TimeoutError):
                one.login(SECRET, chap=right)


def test_only_the_proof_waits_for_its_turn() -> None:
    """A challenge guesses nothing."""
    with serving(PortalSettings(wrong_proof_pause=1000.0)) as bench:
        refused(bench, SECRET, 0x0201, name=ALICE, chap=Chap("alice", b"guess"))
        with bench.initiator(name=ALICE) as one:
            one.login_step({"InitiatorName": ALICE, "TargetName": SECRET, "AuthMethod": "CHAP"}, 0)
            assert "CHAP_C" in dict(one.login_step({"CHAP_A": "7"}, 0).pairs)


def test_refusals(bench: Bench) -> None:
    refused(bench, "iqn.2026-11.test:nowhere", 0x0203)
    refused(bench, SECRET, 0x0202)
    refused(bench, SECRET, 0x0201, name=ALICE)
    refused(bench, SECRET, 0x0201, name=ALICE, chap=Chap("alice", b"guess"))
    refused(bench, DISK, 0x020A, tsih=77)
    assert bench.sessions() == 0


def test_what_is_no_login_is_not_answered(bench: Bench) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n".ljust(48), bytes(48), b"\xff" * 48):
        with bench.initiator() as one:
            one.send_raw(garbage)
            assert one.closed_by_target()


def test_too_long_a_login_is_refused_before_its_data(bench: Bench) -> None:
    """The refusal reaches an initiator that is still sending."""
    with bench.initiator() as one:
        bhs = bytearray(one.login_bhs(1, 3, transit=True))
        bhs[5:8] = b"\xff\xff\xff"
        one.send_raw(bytes(bhs) + bytes(4 << 20))
        assert one.receive().login_status == 0x0200
        assert one.closed_by_target()


def test_a_login_may_arrive_byte_by_byte(bench: Bench) -> None:
    with bench.initiator() as one:
        data = pairs_bytes({"InitiatorName": one.name, "TargetName": DISK})
        wire = one.wire(one.login_bhs(1, 3, transit=True), data)
        for offset in range(len(wire)):
            one.send_raw(wire[offset : offset + 1])
        assert one.receive().flags == 0x87


def test_a_command_may_follow_the_login_at_once(bench: Bench) -> None:
    """What arrives behind the last Login Request belongs to the full feature phase."""
    with bench.initiator() as one:
        data = pairs_bytes({"InitiatorName": one.name, "TargetName": DISK})
        login = one.wire(one.login_bhs(1, 3, transit=True), data)
        command = one.command_bhs(0, TEST_UNIT_READY, itt=9)
        one.send_raw(login + one.wire(command))
        assert one.receive().flags == 0x87
        assert one.finish(9).sense_triple == POWER_ON
