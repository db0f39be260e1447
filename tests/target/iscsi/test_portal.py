"""The portal's addresses, its limits and its end, over loopback sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from scsi2nvme.target.iscsi.admission import HalfOpen, Limits
from scsi2nvme.target.iscsi.login_socket import receive_exactly
from scsi2nvme.target.iscsi.portal import Peer, Portal, PortalSettings
from scsi2nvme.target.portal_address import PortalAddress
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ASYNC, RESERVED_TAG
from tests.target.iscsi.portal_bench import ALICE, DISK, Bench, ready, refused, serving


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


def test_a_wildcard_is_told_with_its_own_port() -> None:
    with serving(addresses=("0.0.0.0:0", "[::1]:0")) as bench:
        wild, six = bench.portal.addresses
        told = {}
        for host, port in (("127.0.0.2", wild.port), ("::1", six.port)):
            with Initiator((host, port)) as one:
                one.login()
                told[host] = [value for _, value in one.text({"SendTargets": DISK})[1:]]
        assert told["127.0.0.2"] == [f"127.0.0.2:{wild.port},1", f"[::1]:{six.port},1"]
        assert told["::1"] == [f"[::1]:{six.port},1"]


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


def test_slow_peers_do_not_stall_others() -> None:
    settings = PortalSettings(limits=Limits(half_open_per_address=4))
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


def test_who_has_closed_before_he_is_accepted_costs_no_login(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Peer] = []
    serve = Portal._serve

    def counted(self: Portal, peer: Peer, half_open: HalfOpen) -> Coroutine[Any, Any, None]:
        begun.append(peer)
        return serve(self, peer, half_open)

    monkeypatch.setattr(Portal, "_serve", counted)
    go_on = threading.Event()
    bench.loop.call_soon_threadsafe(go_on.wait, 20)
    for number in range(20):
        one = bench.initiator()
        one.reset() if number % 2 else one.close()
    with bench.initiator() as other:
        go_on.set()
        other.login(DISK)
        ready(other)
    assert len(begun) == 1


CROWDED = pytest.mark.parametrize(
    "limits",
    [Limits(half_open=2), Limits(half_open_per_address=2)],
    ids=["in all", "of one address"],
)


@CROWDED
def test_the_oldest_silent_connection_makes_room(limits: Limits) -> None:
    with serving(PortalSettings(limits=limits)) as bench:
        waiting = [bench.initiator() for _ in range(2)]
        with bench.initiator(name=ALICE) as third:
            third.login()
        assert waiting[0].closed_by_target()
        waiting[1].login(DISK)
        ready(waiting[1])
        for one in waiting:
            one.close()


@CROWDED
def test_who_has_begun_a_login_is_not_dropped_for_his_own(limits: Limits) -> None:
    with serving(PortalSettings(limits=limits)) as bench:
        waiting = [bench.initiator() for _ in range(2)]
        for one in waiting:
            begin(one)
        with bench.initiator() as third:
            assert third.closed_by_target()
        waiting[0].login(DISK)  # it no longer counts
        with bench.initiator(name=ALICE) as third:
            third.login()
        for one in waiting:
            one.close()


def test_who_holds_most_makes_room_for_others() -> None:
    with serving(PortalSettings(limits=Limits(half_open=4)), ("0.0.0.0:0",)) as bench:
        waiting = [bench.initiator() for _ in range(4)]
        for one in waiting:
            begin(one)
        with Initiator(("127.0.0.2", bench.address[1]), source="127.0.0.2") as other:
            other.login(DISK)
            ready(other)
        assert waiting[0].closed_by_target()
        for one in waiting:
            one.close()


def begin(one: Initiator) -> None:
    """Begin a login, and say that there is more to come."""
    one.login_step(b"", 1, more=True)


def test_silence_is_not_waited_for_as_long_as_a_login() -> None:
    settings = PortalSettings(first_pdu_timeout=1.0)
    with serving(settings) as bench, bench.initiator() as silent, bench.initiator() as slow:
        begin(slow)
        silent.send_raw(b"\x43")
        assert silent.closed_by_target()
        slow.login(DISK)
        ready(slow)


def test_connections_are_capped() -> None:
    with serving(PortalSettings(limits=Limits(maximum=2))) as bench:
        with bench.initiator() as one, bench.initiator(name=ALICE) as two:
            one.login(DISK)
            two.login(DISK)
            refused(bench, DISK, 0x0302, isid=b"\x80\0\0\0\0\x03")
            with bench.initiator() as again:  # in place of the first
                again.login(DISK)
                assert one.closed_by_target()
            two.logout()
            assert two.closed_by_target()
        bench.wait_for_the_end()
        with bench.initiator() as third:
            third.login(DISK)


def test_discovery_sessions_take_no_place_of_others() -> None:
    limits = Limits(discovery=2, maximum=1)
    with serving(PortalSettings(limits=limits), ("0.0.0.0:0",)) as bench, ExitStack() as stack:
        address = bench.address
        other = stack.enter_context(Initiator(address, source="127.0.0.2"))
        other.login()
        for _ in range(4):
            last = stack.enter_context(bench.initiator())
            last.login()
        assert last.text({"SendTargets": DISK})
        assert other.text({"SendTargets": DISK}), "who has most makes room"
        with bench.initiator() as one:
            one.login(DISK)
            ready(one)


def test_a_login_takes_no_longer_than_allowed() -> None:
    settings = PortalSettings(login_timeout=0.1)
    with serving(settings) as bench, bench.initiator() as one:
        one.send_raw(b"\x43")
        assert one.closed_by_target()


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
