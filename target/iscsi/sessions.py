"""iSCSI sessions, their connections, and where a login belongs. Spec: RFC 7143 6.3.1, 7.

A session is one I_T nexus. At ErrorRecoveryLevel 0 the loss of any of its
connections ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from scsi2nvme.background import Background
from scsi2nvme.happenings import tell
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.target.iscsi import task_management
from scsi2nvme.target.iscsi.admission import source_of
from scsi2nvme.target.iscsi.keys import BY_NAME, Value
from scsi2nvme.target.iscsi.login import LoginResult
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.pdu import LoginStatus
from scsi2nvme.target.task_service import TaskService
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.ports import PortName

if TYPE_CHECKING:
    from scsi2nvme.native.iscsi import PlaneConnection, PlaneSession
    from scsi2nvme.native.plane import PlaneNexus

log = logging.getLogger(__name__)

MAXIMUM_TSIH = 0xFFFF
VERSION_DESCRIPTOR = 0x0960  # iSCSI (no version claimed). Spec: SPC-4 6.6.2
# NormACA is zero, so that ACA is refused; untagged commands are SIMPLE ones.
ATTRIBUTES = frozenset({TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE})


@dataclass(eq=False)
class Connection:
    """A connection in full feature phase.

    `cookie` is 0 and `plane` None until the data plane has the socket.
    """

    session: Session
    cid: int
    maximum_send: int
    cookie: int = 0
    plane: PlaneConnection | None = None
    logged_out: bool = False  # its end was asked for
    replaced: bool = False  # a login reinstates it
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, bhs: bytes, data: bytes = b"") -> None:
        """Send a PDU, unless the connection has ended meanwhile."""
        if self.plane is not None:
            self.plane.send(bhs, data)

    def disconnect(self, *, graceful: bool) -> None:
        """End the connection; `closed` tells when that is done."""
        if self.plane is not None:
            self.plane.disconnect(graceful=graceful)


class Session:
    """One session; `end` is run in `background` once its last connection closed."""

    def __init__(
        self,
        tsih: int,
        login: LoginResult,
        nexus: Nexus,
        plane_nexus: PlaneNexus,
        plane_session: PlaneSession,
        service: TaskService,
        table: SessionTable,
        background: Background,
    ) -> None:
        self.tsih = tsih
        self.initiator = login.initiator
        self.isid = login.isid
        self.node: TargetNode | None = login.node
        self.values: Mapping[str, Value] = login.values
        self.nexus = nexus
        self.plane_nexus = plane_nexus
        self.plane_session = plane_session
        self.connections: dict[int, Connection] = {}
        self.lost = False
        self.closing = False  # no connection may join any more
        self.ended = asyncio.Event()
        self._service = service
        self._table = table
        self._background = background
        self._end_begun = False

    @property
    def discovery(self) -> bool:
        """Whether it is a discovery session."""
        return self.node is None

    @property
    def source(self) -> str:
        """Where its first connection came from, as it is counted."""
        return source_of(self.nexus.address)

    def joined_values(self, login: LoginResult) -> dict[str, Value]:
        """Return the keys of a further connection: its own, and the session's."""
        return {
            name: self.values[name] if BY_NAME[name].leading else value
            for name, value in login.values.items()
        }

    def log_out(self) -> None:
        """End every connection, as the initiator asks."""
        self.closing = True
        for connection in list(self.connections.values()):
            connection.logged_out = True
            connection.disconnect(graceful=True)

    def drop(self, *, graceful: bool) -> None:
        """End every connection, and with the last one the session: an I_T nexus loss."""
        self.closing = True
        self.lost = True
        for connection in list(self.connections.values()):
            connection.disconnect(graceful=graceful)
        self.end_if_empty()

    @property
    def has_left(self) -> bool:
        """Whether its initiator has left it, as `close_if_left` found out, so that it ends."""
        if not self.connections:
            return self.closing
        return any(one.plane is None or one.plane.left for one in self.connections.values())

    async def kill(self) -> None:
        """Drop the session; returns when it has ended."""
        self.drop(graceful=False)
        await self.ended.wait()

    def connection_closed(self, connection: Connection) -> None:
        """Take note that the data plane has closed a connection."""
        self._service.release(connection.cookie)
        if connection.plane is not None:
            connection.plane.close()
            connection.plane = None
        if self.connections.get(connection.cid) is connection:
            del self.connections[connection.cid]
        connection.closed.set()
        if connection.replaced and not self.closing:
            return  # the login that does so goes on with the session
        if connection.logged_out:
            self.end_if_empty()
        else:
            self.drop(graceful=False)

    def end_if_empty(self) -> None:
        """End a session without connections."""
        if not self.connections and not self._end_begun:
            self.closing = True
            self._end_begun = True
            self._background.spawn(self._end())

    async def _end(self) -> None:
        try:
            self.plane_session.close()
            await self._service.close_nexus(self.nexus, self.plane_nexus, lost=self.lost)
            about = {"initiator": self.initiator, "address": self.nexus.address}
            told = (self.nexus.who, self.tsih)
            tell(log, logging.INFO, "session-end", "%s: session %d ended", *told, **about)
        finally:
            self._table.remove(self)
            self.ended.set()


class Place(Enum):
    """What a login means for the sessions that there are. Spec: RFC 7143 6.3.1."""

    NEW_SESSION = auto()
    REINSTATE_SESSION = auto()  # end the old one, then look again
    ADD_CONNECTION = auto()
    REINSTATE_CONNECTION = auto()  # end the old one, then look again


_Ports = tuple[str, bytes, str, int]
"""The initiator's port and the target's, by what names them. Spec: RFC 7143 4.4.3."""


class SessionTable:
    """The sessions of a portal group."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._between: dict[_Ports, Session] = {}  # but for those of discovery
        self._of_initiator: dict[str, dict[int, Session]] = {}  # by TSIH, likewise
        self._last_tsih = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Enter a session under its TSIH."""
        assert session.tsih not in self._sessions
        self._sessions[session.tsih] = session
        if not session.discovery:
            self._between[_ports(session)] = session
            self._of_initiator.setdefault(session.initiator, {})[session.tsih] = session

    def remove(self, session: Session) -> None:
        """Forget a session that has ended."""
        del self._sessions[session.tsih]
        if self._between.get(ports := _ports(session)) is session:
            del self._between[ports]
        theirs = self._of_initiator.get(session.initiator, {})
        theirs.pop(session.tsih, None)
        if not theirs:
            self._of_initiator.pop(session.initiator, None)

    def of_initiator(self, name: str) -> list[Session]:
        """Return an initiator's sessions, but for those of discovery."""
        return list(self._of_initiator.get(name, {}).values())

    def free_tsih(self) -> int | None:
        """Return a TSIH that is not in use, None if there is none."""
        for offset in range(MAXIMUM_TSIH):
            tsih = (self._last_tsih + offset) % MAXIMUM_TSIH + 1
            if tsih not in self._sessions:
                self._last_tsih = tsih
                return tsih
        return None

    def place(self, login: LoginResult) -> tuple[Place, Session | None] | LoginStatus:
        """Return what an accepted login is to do, and the session that it meets."""
        if login.tsih == 0:
            # Discovery sessions never clash.
            old = None if login.node is None else self._between.get(_ports(login))
            return (Place.REINSTATE_SESSION, old) if old else (Place.NEW_SESSION, None)
        session = self._sessions.get(login.tsih)
        if session is None or session.closing or session.discovery:
            return LoginStatus.SESSION_DOES_NOT_EXIST
        if _ports(session) != _ports(login):
            return LoginStatus.SESSION_DOES_NOT_EXIST
        if login.cid in session.connections:
            return (Place.REINSTATE_CONNECTION, session)
        if len(session.connections) >= int(session.values["MaxConnections"]):
            return LoginStatus.TOO_MANY_CONNECTIONS
        return (Place.ADD_CONNECTION, session)


def _ports(one: Session | LoginResult) -> _Ports:
    node = one.node
    if node is None:
        return one.initiator, one.isid, "", 0
    return one.initiator, one.isid, node.iqn, node.portal_group_tag


def nexus_of(login: LoginResult, address: str = "") -> Nexus:
    """Return the I_T nexus that a login from `address` opens, with what it may see."""
    initiator = PortName(login.initiator, login.isid)
    node = login.node
    if node is None:
        return Nexus(initiator, PortName(""), address=address)
    target = PortName(node.iqn, portal_group_tag=node.portal_group_tag)
    delivery = ServiceDelivery(
        VERSION_DESCRIPTOR,
        task_management.functions(protocol_level(login)),
        ATTRIBUTES,
        protection=True,
    )
    return Nexus(
        initiator,
        target,
        node.visible(login.initiator) or {},
        delivery,
        address=address,
        visible=partial(node.visible, login.initiator),
    )


def protocol_level(login: LoginResult | Session) -> int:
    """Return the iSCSIProtocolLevel that was negotiated. Spec: RFC 7144 7.1.1."""
    return int(login.values["iSCSIProtocolLevel"])
