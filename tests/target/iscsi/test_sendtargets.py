"""SendTargets, portal addresses, and text exchanges."""

from __future__ import annotations

import struct

import pytest

from scsi2nvme.cli.config import portal_address
from scsi2nvme.target.iscsi.negotiation import NegotiationError, Pairs
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.sendtargets import reachable, send_targets
from scsi2nvme.target.iscsi.text import TextExchange, TextResponse
from scsi2nvme.target.portal_address import PortalAddress, SocketName
from tests.iscsi_pdu import Pdu, pairs_bytes

ME = "iqn.2026-11.test:me"
FIRST = TargetNode("iqn.2026-11.test:first", portal_group_tag=1)
SECOND = TargetNode("iqn.2026-11.test:second", portal_group_tag=2, acl={ME: AclEntry()})
HIDDEN = TargetNode("iqn.2026-11.test:hidden", acl={"iqn.2026-11.test:you": AclEntry()})
NODES = [FIRST, SECOND, HIDDEN]
ADDRESSES = [PortalAddress("192.0.2.1"), PortalAddress("2001:db8::1", 3261)]

FIRST_RECORDS = [
    ("TargetName", FIRST.iqn),
    ("TargetAddress", "192.0.2.1:3260,1"),
    ("TargetAddress", "[2001:db8::1]:3261,1"),
]
SECOND_RECORDS = [
    ("TargetName", SECOND.iqn),
    ("TargetAddress", "192.0.2.1:3260,2"),
    ("TargetAddress", "[2001:db8::1]:3261,2"),
]


@pytest.mark.parametrize(
    ("value", "own", "records"),
    [
        ("All", None, FIRST_RECORDS + SECOND_RECORDS),
        ("All", FIRST, FIRST_RECORDS),
        (FIRST.iqn, FIRST, FIRST_RECORDS),
        (SECOND.iqn, FIRST, []),
        (SECOND.iqn, None, SECOND_RECORDS),
        (SECOND.iqn.upper().replace("IQN", "iqn"), None, SECOND_RECORDS),
        ("", FIRST, FIRST_RECORDS),
        (HIDDEN.iqn, None, []),
        ("iqn.2026-11.test:nowhere", None, []),
    ],
)
def test_records(value: str, own: TargetNode | None, records: Pairs) -> None:
    assert send_targets(value, NODES, ME, ADDRESSES, own) == records


@pytest.mark.parametrize("value", ["", "Alle", "A", "all", "All ", "iqn", "iqn.a b"])
def test_refused_in_discovery(value: str) -> None:
    with pytest.raises(NegotiationError):
        send_targets(value, NODES, ME, ADDRESSES, None)


@pytest.mark.parametrize(
    ("name", "address", "for_peer"),
    [
        (("192.0.2.1", 3260), "192.0.2.1:3260", "192.0.2.1:3260"),
        (("::ffff:192.0.2.1", 3260, 0, 0), "192.0.2.1:3260", "192.0.2.1:3260"),
        (("fe80::1%lo", 3260, 0, 1), "[fe80::1%lo]:3260", "[fe80::1]:3260"),
        (("fe80::1", 3260, 0, 1), "[fe80::1%lo]:3260", "[fe80::1]:3260"),
        (("fe80::1", 3260, 0, 9999), "[fe80::1%9999]:3260", "[fe80::1]:3260"),
    ],
)
def test_socket_names(name: SocketName, address: str, for_peer: str) -> None:
    assert str(PortalAddress.of_socket(name)) == address
    assert str(PortalAddress.of_socket(name).for_peer) == for_peer


def test_a_link_local_address_is_bound_in_its_zone() -> None:
    assert PortalAddress("fe80::1%lo", 3260).socket_name[3:] == (1,)
    with pytest.raises(OSError, match="No such device"):
        _ = PortalAddress("fe80::1%nowhere", 3260).socket_name


@pytest.mark.parametrize(
    ("listening", "connected", "reported"),
    [
        (["0.0.0.0:3260"], "192.0.2.9:3260", ["192.0.2.9:3260"]),
        (["[::]:3260"], "[2001:db8::9]:3260", ["[2001:db8::9]:3260"]),
        (["[::]:3260", "0.0.0.0:3260"], "192.0.2.9:3260", ["192.0.2.9:3260"]),
        (["0.0.0.0:1", "[2001:db8::2]:2"], "[2001:db8::2]:2", ["[2001:db8::2]:2"]),
        (["0.0.0.0:1", "[2001:db8::2]:2"], "192.0.2.9:1", ["192.0.2.9:1", "[2001:db8::2]:2"]),
        (["0.0.0.0:1", "[::]:2"], "[2001:db8::9]:2", ["[2001:db8::9]:2"]),
        (["0.0.0.0:1", "0.0.0.0:2"], "192.0.2.9:1", ["192.0.2.9:1", "192.0.2.9:2"]),
        (["192.0.2.1", "[::1]:860", "127.0.0.1"], "192.0.2.1:3260", ["192.0.2.1:3260"]),
        (["192.0.2.1", "[::1]:860"], "127.0.0.1:3260", ["192.0.2.1:3260", "[::1]:860"]),
        (["0.0.0.0:1", "[::1]:2"], "[::1]:2", ["[::1]:2"]),
        (["[fe80::1%a]:1", "[fd00::1]:1"], "[fd00::1]:1", ["[fd00::1]:1"]),
        (["[fe80::1%a]:1", "[fe80::1%b]:2"], "[fe80::1%a]:1", ["[fe80::1]:1"]),
        (["[fe80::1%a]:1", "[fe80::2%a]:1"], "[fe80::1%a]:1", ["[fe80::1]:1", "[fe80::2]:1"]),
        (["[::]:1", "127.0.0.1:1"], "[fe80::1%a]:1", ["[fe80::1]:1"]),
        (["169.254.1.1:1", "192.0.2.1:1"], "192.0.2.1:1", ["192.0.2.1:1"]),
        (["169.254.1.1:1", "192.0.2.1:1"], "169.254.1.1:1", ["169.254.1.1:1", "192.0.2.1:1"]),
    ],
)
def test_reachable(listening: list[str], connected: str, reported: list[str]) -> None:
    addresses = [portal_address(text) for text in listening]
    found = reachable(addresses, portal_address(connected))
    assert [str(address) for address in found] == reported


# Text exchanges


def text_request(*, final: bool = True, more: bool = False, ttt: int = 0xFFFFFFFF) -> bytes:
    flags = final << 7 | more << 6
    return struct.pack(">BBxx4x8xIIII16x", 0x44, flags, 0x77, ttt, 10, 20)


def seen(response: TextResponse) -> tuple[int, int, bytes]:
    pdu = Pdu(response.bhs, response.data)
    assert pdu.opcode == 0x24
    assert pdu.itt == 0x77
    return pdu.flags, pdu.ttt, pdu.data


def echo(pairs: Pairs) -> Pairs:
    return [(key, value * 100) for key, value in pairs]


def test_one_request_one_response() -> None:
    exchange = TextExchange(echo)
    response = seen(exchange.feed(text_request(), b"A=1\0", 8192))
    assert response == (0x80, 0xFFFFFFFF, b"A=" + b"1" * 100 + b"\0")


@pytest.mark.parametrize("maximum", [50, 512, 1000])
def test_a_long_answer_is_continued(maximum: int) -> None:
    exchange = TextExchange(echo)
    keys = {f"K{number}": "x" for number in range(20)}
    flags, ttt, data = seen(exchange.feed(text_request(), pairs_bytes(keys), maximum))
    rounds = 1
    while flags != 0x80:
        assert flags == 0x40
        assert ttt != 0xFFFFFFFF
        flags, ttt, more = seen(exchange.feed(text_request(ttt=ttt), b"", maximum))
        assert 0 < len(more) <= maximum
        data += more
        rounds += 1
    assert ttt == 0xFFFFFFFF
    assert data == pairs_bytes(echo(list(keys.items())))
    assert rounds == -(-len(data) // maximum)


def test_no_data_segment_exceeds_8192() -> None:
    """Linux ends the connection over a longer one, whatever it declared."""
    exchange = TextExchange(echo)
    keys = pairs_bytes({f"K{number}": "x" for number in range(200)})
    assert len(exchange.feed(text_request(), keys, 262144).data) == 8192


def test_continued_keys() -> None:
    exchange = TextExchange(echo)
    flags, ttt, data = seen(exchange.feed(text_request(final=False, more=True), b"A", 8192))
    assert (flags, data) == (0, b"")
    flags, ttt, data = seen(exchange.feed(text_request(ttt=ttt), b"=1\0", 8192))
    assert (flags, ttt) == (0x80, 0xFFFFFFFF)
    assert data.startswith(b"A=1")


def test_an_unfinished_exchange_is_answered_without_f() -> None:
    exchange = TextExchange(echo)
    flags, ttt, data = seen(exchange.feed(text_request(final=False), b"A=1\0", 8192))
    assert flags == 0
    assert data
    assert seen(exchange.feed(text_request(ttt=ttt), b"", 8192)) == (0x80, 0xFFFFFFFF, b"")


def test_an_empty_request_with_c() -> None:
    exchange = TextExchange(echo)
    flags, ttt, data = seen(exchange.feed(text_request(final=False, more=True), b"", 8192))
    assert (flags, data) == (0, b"")
    assert seen(exchange.feed(text_request(ttt=ttt), b"", 8192))[2] == b""


def test_a_new_request_ends_an_old_exchange() -> None:
    exchange = TextExchange(echo)
    _, ttt, _ = seen(exchange.feed(text_request(final=False, more=True), b"A=1\0", 8192))
    assert seen(exchange.feed(text_request(), b"B=2\0", 8192))[2].startswith(b"B=")
    with pytest.raises(NegotiationError):
        exchange.feed(text_request(ttt=ttt), b"", 8192)


@pytest.mark.parametrize(
    ("bhs", "data"),
    [
        (text_request(more=True), b""),
        (text_request(ttt=5), b""),
        (text_request(), b"A"),
        (text_request(), b"A=" + b"1" * 9000 + b"\0"),
    ],
    ids=["F and C", "unknown TTT", "no pair", "too long"],
)
def test_refused(bhs: bytes, data: bytes) -> None:
    with pytest.raises(NegotiationError):
        TextExchange(echo).feed(bhs, data, 8192)
