"""The portal over loopback sockets, with the data plane and the task service.

The logical unit is write protected, so that all of its commands take the cold
path and a model of a controller can answer them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from scsi2nvme.dataplane import Plane
from scsi2nvme.service import TaskService
from scsi2nvme.target.iscsi.chap import ChapAuthentication, Credentials
from scsi2nvme.target.iscsi.login import LoginSettings
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.portal import Portal, PortalSettings, receive_exactly
from scsi2nvme.target.iscsi.sendtargets import PortalAddress
from tests.iscsi_client import (
    ASYNC,
    DATA_IN,
    LOGOUT_RESPONSE,
    REJECT,
    RESERVED_TAG,
    TASK_MANAGEMENT_RESPONSE,
    Chap,
    Initiator,
    LoginError,
    ScsiResult,
    pairs_bytes,
)
from tests.model_controller import ModelController, ModelExecutor
from tests.support import make_lu

DISK = "iqn.2026-11.test:disk"
SECRET = "iqn.2026-11.test:secret"
ALICE = "iqn.2026-11.test:alice"
TEST_UNIT_READY = bytes(6)
INQUIRY = bytes([0x12, 0, 0, 0, 96, 0])
POWER_ON = (6, 0x29, 0x00)
RESET = (6, 0x29, 0x03)
NEXUS_LOSS = (6, 0x29, 0x07)
T = TypeVar("T")


def read10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


class Bench:
    """A portal in a thread of its own; `run` runs a coroutine there."""

    def __init__(self, settings: PortalSettings, addresses: list[str]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.lu = make_lu()
        self.lu.read_only = True
        self.model = ModelController(self.lu.facts)
        chap = ChapAuthentication(
            Credentials("alice", b"alice's own secret"), Credentials("disk", b"the disk's secret")
        )
        self.targets = {
            DISK: TargetNode(DISK, {0: self.lu, 1: self.lu}, alias="a disk"),
            SECRET: TargetNode(SECRET, {0: self.lu}, acl={ALICE: AclEntry(chap, {3: 0})}),
        }
        self.run(self._start(settings, addresses))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _start(self, settings: PortalSettings, addresses: list[str]) -> None:
        self.plane = Plane([min(os.sched_getaffinity(0))])
        self.plane.start()
        self.service = TaskService(self.plane)
        self.service.start()
        _, self.controller = self.service.add_controller(self._overdue, self._overdue)
        self.service.add_unit(self.lu, ModelExecutor(self.model), self.controller)
        self.portal = Portal(self.service, self.targets, settings)
        await self.portal.listen(PortalAddress.parse(text) for text in addresses)

    async def _overdue(self, qid: int, cid: int) -> None:
        raise AssertionError("there are no queues")

    async def _stop(self) -> None:
        await self.portal.close()
        await self.service.stop()
        self.plane.stop()
        self.service.close()
        self.controller.close()
        self.plane.close()

    def close(self) -> None:
        try:
            self.run(self._stop())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.portal.addresses[0].port

    def initiator(self, **options: Any) -> Initiator:
        return Initiator(self.address, **options)

    def sessions(self) -> int:
        async def count() -> int:
            return len(self.portal.sessions)

        return self.run(count())

    def wait_for_the_end(self) -> None:
        """Wait until every session has ended."""

        async def ended() -> None:
            for session in self.portal.sessions:
                await session.ended.wait()

        self.run(ended())


@contextmanager
def serving(
    settings: PortalSettings | None = None, addresses: tuple[str, ...] = ("127.0.0.1:0",)
) -> Iterator[Bench]:
    bench = Bench(settings or PortalSettings(), list(addresses))
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with serving() as bench:
        yield bench


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """The module's bench, without sessions and with nobody remembered."""
    shared.lu.unit_attentions.clear()
    yield shared
    shared.run(_kill_all(shared.portal))


async def _kill_all(portal: Portal) -> None:
    await asyncio.gather(*(session.kill() for session in portal.sessions))


def ready(initiator: Initiator) -> None:
    """Take the unit attention of a new nexus."""
    assert attention(initiator) == POWER_ON
    assert initiator.command(0, TEST_UNIT_READY).status == 0


def attention(initiator: Initiator) -> tuple[int, int, int]:
    result = initiator.command(0, TEST_UNIT_READY)
    assert result.status == 2
    return result.sense_triple


# Login


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


def refused(bench: Bench, target: str, status: int, **options: Any) -> None:
    chap = options.pop("chap", None)
    with bench.initiator(**options) as one:
        with pytest.raises(LoginError) as caught:
            one.login(target, chap=chap)
        assert caught.value.status == status
        assert one.closed_by_target()


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


# Limits


def test_slow_peers_do_not_stall_others() -> None:
    settings = PortalSettings(half_open_per_address=4)
    with serving(settings) as bench:
        slow = [bench.initiator() for _ in range(3)]
        for one in slow:
            one.send_raw(b"\x43\x87")
        with bench.initiator() as one:
            one.login(DISK)
            ready(one)
        for one in slow:
            one.close()


def test_a_flood_does_not_stall_others() -> None:
    """Others get their turn between any two PDUs, even when the next one is there already."""

    async def receive_flood() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        sender, receiver = socket.socketpair()
        with sender, receiver:
            receiver.setblocking(False)
            sender.sendall(bytes(48 * 100))
            task = asyncio.create_task(other())
            for _ in range(100):
                assert await receive_exactly(receiver, 48) == bytes(48)
            task.cancel()
        return turns

    assert asyncio.run(receive_flood()) >= 99


@pytest.mark.parametrize(
    "settings",
    [PortalSettings(half_open=2), PortalSettings(half_open_per_address=2)],
    ids=["in all", "of one address"],
)
def test_half_open_connections_are_capped(settings: PortalSettings) -> None:
    with serving(settings) as bench:
        waiting = [bench.initiator() for _ in range(2)]
        with bench.initiator() as third:
            assert third.closed_by_target()
        waiting[0].login(DISK)  # it no longer counts
        with bench.initiator(name=ALICE) as third:
            third.login()
        for one in waiting:
            one.close()


def test_connections_are_capped() -> None:
    with serving(PortalSettings(maximum_connections=2)) as bench:
        with bench.initiator() as one, bench.initiator(name=ALICE) as two:
            one.login(DISK)
            two.login()
            with bench.initiator() as third:
                assert third.closed_by_target()
            two.logout()
            assert two.closed_by_target()
        bench.wait_for_the_end()
        with bench.initiator() as third:
            third.login(DISK)


def test_a_login_takes_no_longer_than_allowed() -> None:
    settings = PortalSettings(login_timeout=0.1)
    with serving(settings) as bench, bench.initiator() as one:
        one.send_raw(b"\x43")
        assert one.closed_by_target()


# Sessions


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


# Discovery and text


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


def test_wildcard_and_ipv6() -> None:
    with serving(addresses=("[::]:0",)) as bench:
        port = bench.portal.addresses[0].port
        for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
            with Initiator((host, port)) as one:
                one.login()
                records = one.text({"SendTargets": DISK})
                assert records[1:] == [("TargetAddress", f"{shown}:{port},1")]


def test_several_addresses() -> None:
    with serving(addresses=("127.0.0.1:0", "[::1]:0")) as bench:
        shown = {f"{address},1" for address in bench.portal.addresses}
        for address in bench.portal.addresses:
            with Initiator((address.host, address.port)) as one:
                one.login()
                records = one.text({"SendTargets": DISK})
                assert {value for key, value in records if key == "TargetAddress"} == shown


def test_an_address_in_use(bench: Bench) -> None:
    async def listen() -> None:
        portal = Portal(bench.service, {})
        taken = PortalAddress(*bench.address)
        try:
            with pytest.raises(OSError, match="in use"):
                await portal.listen([PortalAddress("127.0.0.1", 0), taken])
            assert portal.addresses == []
        finally:
            await portal.close()

    bench.run(listen())


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


# Task management

ABORT_TASK, LU_RESET, COLD_RESET, NEXUS_RESET, QUERY_EVENT = 1, 5, 7, 11, 12


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


def test_cold_reset_drops_every_connection(bench: Bench) -> None:
    with bench.initiator() as one, bench.initiator(name=ALICE) as other:
        one.login(DISK)
        other.login(DISK)
        assert one.task_management(COLD_RESET).response == 0
        assert one.closed_by_target()
        assert other.closed_by_target()
    bench.wait_for_the_end()


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


# The end


def test_drain_asks_for_a_logout() -> None:
    with serving() as bench, bench.initiator() as one:
        one.login(DISK)
        ready(one)
        draining = asyncio.run_coroutine_threadsafe(bench.portal.drain(30), bench.loop)
        message = one.receive()
        assert (message.opcode, message.itt) == (ASYNC, RESERVED_TAG)
        assert (message.bhs[36], message.word16(42)) == (1, 30)
        assert one.logout().response == 0
        assert one.closed_by_target()
        one.close()
        draining.result(10)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(one.address)
        assert bench.sessions() == 0


def test_drain_does_not_wait_for_ever() -> None:
    with serving() as bench, bench.initiator() as one, bench.initiator() as silent:
        one.login(DISK)
        silent.send_raw(b"\x43")
        bench.run(bench.portal.drain(0.05))
        assert one.receive().opcode == ASYNC
        assert one.closed_by_target()
        assert silent.closed_by_target()
