"""Where a login belongs: ISID, TSIH and CID. Spec: RFC 7143 6.3.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from scsi2nvme import engine
from scsi2nvme.background import Background
from scsi2nvme.target.iscsi.login import LoginResult
from scsi2nvme.target.iscsi.negotiation import Negotiation
from scsi2nvme.target.iscsi.node import AclEntry, TargetNode
from scsi2nvme.target.iscsi.pdu import LoginStatus
from scsi2nvme.target.iscsi.sessions import (
    MAXIMUM_TSIH,
    Connection,
    Place,
    Session,
    SessionTable,
    nexus_of,
)
from tests.model_controller import ModelController
from tests.support import make_lu, row

NODE = TargetNode("iqn.2026-11.test:node")
LOGIN = LoginResult(
    initiator="iqn.2026-11.test:initiator",
    isid=bytes(6),
    tsih=0,
    cid=0,
    node=NODE,
    values=Negotiation({}).values | {"MaxConnections": 2},
    maximum_recv=8192,
    cmd_sn=1,
)
NOTHING = cast(Any, None)  # the table looks at no more than names and numbers


def enter(table: SessionTable, login: LoginResult = LOGIN, *, tsih: int = 5) -> Session:
    session = Session(tsih, login, nexus_of(login), NOTHING, NOTHING, NOTHING, table, Background())
    session.connections[login.cid] = Connection(session, login.cid, 8192)
    table.add(session)
    return session


@pytest.mark.parametrize(("level", "expected"), [(0, "d8"), (1, "d8"), (2, "dc07")])
def test_a_nexus_offers_what_the_protocol_level_has(level: int, expected: str) -> None:
    """As REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS tells it. Spec: RFC 7144 6."""
    lu = make_lu()
    node = TargetNode("iqn.2026-11.test:node", {0: lu})
    nexus = nexus_of(
        replace(LOGIN, node=node, values={**LOGIN.values, "iSCSIProtocolLevel": level})
    )
    lu.attach(nexus)
    lu.take_attention(nexus)
    cdb = row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS").build(allocation_length=4)
    result = ModelController(lu.facts).play(engine.run(engine.select(nexus, 0, cdb)))
    assert result.data_in.hex() == expected.ljust(8, "0")
    assert nexus.delivery.version_descriptor == 0x0960


@pytest.mark.parametrize("cid", [0, 1], ids=["CID known", "CID new"])
@pytest.mark.parametrize("tsih", [0, 5, 6], ids=["TSIH 0", "TSIH known", "TSIH unknown"])
@pytest.mark.parametrize("isid", [bytes(6), b"\1" * 6], ids=["ISID known", "ISID new"])
def test_place(isid: bytes, tsih: int, cid: int) -> None:
    table = SessionTable()
    session = enter(table)
    known = isid == LOGIN.isid
    expected: object = LoginStatus.SESSION_DOES_NOT_EXIST
    if tsih == 0:
        expected = (Place.REINSTATE_SESSION, session) if known else (Place.NEW_SESSION, None)
    elif tsih == 5 and known:
        expected = (Place.ADD_CONNECTION if cid else Place.REINSTATE_CONNECTION, session)
    assert table.place(replace(LOGIN, isid=isid, tsih=tsih, cid=cid)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"initiator": "iqn.2026-11.test:other"},
        {"node": TargetNode("iqn.2026-11.test:other")},
        {"node": TargetNode(NODE.iqn, portal_group_tag=2)},
        {"node": None},
    ],
)
def test_another_port_is_another_session(change: dict[str, Any]) -> None:
    table = SessionTable()
    enter(table)
    assert table.place(replace(LOGIN, **change)) == (Place.NEW_SESSION, None)
    joined = table.place(replace(LOGIN, tsih=5, cid=1, **change))
    assert joined is LoginStatus.SESSION_DOES_NOT_EXIST


def test_max_connections() -> None:
    table = SessionTable()
    session = enter(table)
    session.connections[1] = Connection(session, 1, 8192)
    assert table.place(replace(LOGIN, tsih=5, cid=2)) is LoginStatus.TOO_MANY_CONNECTIONS
    assert table.place(replace(LOGIN, tsih=5, cid=1)) == (Place.REINSTATE_CONNECTION, session)


def test_a_closing_session_takes_no_connection() -> None:
    table = SessionTable()
    session = enter(table)
    session.closing = True
    joined = table.place(replace(LOGIN, tsih=5, cid=1))
    assert joined is LoginStatus.SESSION_DOES_NOT_EXIST
    assert table.place(LOGIN) == (Place.REINSTATE_SESSION, session)


def test_a_session_that_has_ended_is_met_by_nobody() -> None:
    table = SessionTable()
    table.remove(enter(table))
    assert table.place(LOGIN) == (Place.NEW_SESSION, None)
    again = enter(table, tsih=6)
    assert table.place(LOGIN) == (Place.REINSTATE_SESSION, again)


def test_discovery_sessions_neither_clash_nor_grow() -> None:
    table = SessionTable()
    discovery = replace(LOGIN, node=None)
    enter(table, discovery)
    assert table.place(discovery) == (Place.NEW_SESSION, None)
    joined = table.place(replace(discovery, tsih=5, cid=1))
    assert joined is LoginStatus.SESSION_DOES_NOT_EXIST


def test_tsihs_are_not_reused_while_in_use() -> None:
    table = SessionTable()
    sessions = [enter(table, tsih=cast(int, table.free_tsih())) for _ in range(3)]
    assert [session.tsih for session in sessions] == [1, 2, 3]
    table.remove(sessions[0])
    assert table.free_tsih() == 4
    assert len(table) == 2


def test_there_is_an_end_of_tsihs() -> None:
    table = SessionTable()
    one = enter(table, tsih=1)
    for tsih in range(2, MAXIMUM_TSIH + 1):
        one.tsih = tsih
        table.add(one)
    assert table.free_tsih() is None


def test_joined_values() -> None:
    session = enter(SessionTable())
    values = Negotiation({}).values | {"MaxBurstLength": 512, "DataDigest": "CRC32C"}
    joined = session.joined_values(replace(LOGIN, values=values))
    assert joined["MaxBurstLength"] == 262144
    assert joined["MaxConnections"] == 2
    assert joined["DataDigest"] == "CRC32C"


def test_a_nexus_holds_what_the_initiator_may_see() -> None:
    first, second = make_lu(), make_lu()
    node = TargetNode(
        NODE.iqn,
        {0: first, 1: second},
        acl={
            LOGIN.initiator: AclEntry(luns={0: 1, 7: 3}),
            "iqn.2026-11.test:other": AclEntry(),
        },
    )
    assert nexus_of(replace(LOGIN, node=node)).luns == {0: second}
    other = replace(LOGIN, node=node, initiator="iqn.2026-11.test:other")
    assert nexus_of(other).luns == {0: first, 1: second}
    assert nexus_of(replace(LOGIN, node=None)).luns == {}
