"""The iSCSI portal: listens, logs initiators in, and hands their sockets to the data plane."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scsi2nvme.background import Background
from scsi2nvme.native.iscsi import ConnectionParameters, PlaneConnection, PlaneSession
from scsi2nvme.target.iscsi.full_feature import FullFeature, Surroundings
from scsi2nvme.target.iscsi.keys import Value
from scsi2nvme.target.iscsi.login import (
    Accepted,
    Login,
    LoginResult,
    LoginSettings,
    NotALogin,
    Refused,
    Reply,
)
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.pdu import (
    BHS_BYTES,
    DEFAULT_DATA_SEGMENT_LENGTH,
    HEADER,
    LoginStatus,
    padding,
)
from scsi2nvme.target.iscsi.sendtargets import reachable
from scsi2nvme.target.iscsi.sessions import Connection, Place, Session, SessionTable, nexus_of
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.task_service import TaskService

log = logging.getLogger(__name__)

_LINGER_SECONDS = 2.0
_BACKOFF_SECONDS = 0.1  # when the system has no descriptor or memory for a connection
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """How a portal behaves. Times are in seconds.

    `half_open` caps connections that have not logged in yet, also from one
    address; `window` is how many commands a session may have outstanding;
    `cold_reset` is whether initiators may end each other's sessions.
    """

    login: LoginSettings = field(default_factory=LoginSettings)
    login_timeout: float = 30.0
    half_open: int = 128
    half_open_per_address: int = 32
    maximum_connections: int = 1024
    window: int = 128
    ping: float = 30.0
    ping_timeout: float = 30.0
    cold_reset: bool = False


def connection_parameters(
    values: Mapping[str, Value], maximum_recv: int, settings: PortalSettings
) -> ConnectionParameters:
    """Return what the data plane must know of the keys that were negotiated."""
    return ConnectionParameters(
        header_digest=values["HeaderDigest"] == "CRC32C",
        data_digest=values["DataDigest"] == "CRC32C",
        maximum_recv=maximum_recv,
        maximum_send=int(values["MaxRecvDataSegmentLength"]),
        maximum_burst=int(values["MaxBurstLength"]),
        first_burst=min(int(values["FirstBurstLength"]), int(values["MaxBurstLength"])),
        initial_r2t=bool(values["InitialR2T"]),
        immediate_data=bool(values["ImmediateData"]),
        maximum_r2t=int(values["MaxOutstandingR2T"]),
        discovery=values["SessionType"] == "Discovery",
        ping_ms=round(settings.ping * 1000),
        ping_timeout_ms=round(settings.ping_timeout * 1000),
    )


class Portal:
    """One portal group: its addresses, targets and sessions.

    `targets` are the nodes by iSCSI name; more may be added while it runs.
    """

    def __init__(
        self,
        service: TaskService,
        targets: Mapping[str, TargetNode],
        settings: PortalSettings | None = None,
    ) -> None:
        self.settings = settings if settings is not None else PortalSettings()
        self.sessions = SessionTable()
        self._service = service
        self._targets = targets
        self._background = Background()
        self._acceptors = Background()
        self._surroundings = Surroundings(
            service, self.sessions, targets, self._background, self.settings.cold_reset
        )
        self._listeners: list[socket.socket] = []
        self._half_open: Counter[str] = Counter()
        self._served: dict[Connection, FullFeature] = {}

    # Listening

    @property
    def addresses(self) -> list[PortalAddress]:
        """The addresses on which it listens, with their actual ports."""
        return [PortalAddress.of_socket(one.getsockname()) for one in self._listeners]

    @property
    def _told(self) -> list[PortalAddress]:
        """What SendTargets may tell: [::] twice if it takes IPv4, too."""
        told = self.addresses
        for listener, address in zip(self._listeners, self.addresses, strict=True):
            if address.host == "::" and not _ipv6_only(listener):
                told.append(PortalAddress("0.0.0.0", address.port))
        return told

    async def listen(self, addresses: Iterable[PortalAddress]) -> None:
        """Listen on every address; OSError if one cannot be had, and then on none."""
        wanted = list(addresses)
        ipv4_ports = {one.port for one in wanted if not one.ipv6}
        try:
            for address in wanted:
                # Unless IPv4 has an address of its own, [::] takes it too.
                self._listeners.append(_listener(address, ipv6_only=address.port in ipv4_ports))
        except OSError:
            self._close_listeners()
            raise
        for listener in self._listeners:
            self._acceptors.spawn(self._accept(listener))

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, name = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("accepting a connection failed: %s", error)
                if error.errno in _EXHAUSTED:
                    await asyncio.sleep(_BACKOFF_SECONDS)
                continue
            peer = str(name[0])
            if self._full(peer):
                log.warning("%s: too many connections", peer)
                sock.close()
                continue
            self._half_open[peer] += 1
            self._acceptors.spawn(self._serve(sock, peer))

    def _full(self, peer: str) -> bool:
        half_open = self._half_open.total()
        return (
            half_open >= self.settings.half_open
            or self._half_open[peer] >= self.settings.half_open_per_address
            or half_open + len(self._served) >= self.settings.maximum_connections
        )

    # The login phase

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        """Log one connection in; the socket is closed unless the data plane has it."""
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self.settings.login_timeout):
                await self._log_in(sock, peer)
        except TimeoutError:
            log.warning("%s: login took too long", peer)
        except (OSError, EOFError) as error:
            log.info("%s: connection ended during login: %s", peer, error)
        finally:
            self._half_open[peer] -= 1
            if not self._half_open[peer]:
                del self._half_open[peer]
            sock.close()

    async def _log_in(self, sock: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        login = Login(self._targets, self.settings.login, self.settings.window)
        while True:
            bhs = await receive_exactly(sock, BHS_BYTES)
            header = HEADER.parse(bhs)
            length = header.data_segment_length
            # What is refused by its header is not waited for.
            if header.total_ahs_length or length > DEFAULT_DATA_SEGMENT_LENGTH:
                length = 0
            data = await receive_exactly(sock, length + padding(length))
            match login.feed(bhs, data[:length]):
                case NotALogin():
                    log.info("%s: the first PDU is not a Login Request", peer)
                    return
                case Reply(pdu):
                    await loop.sock_sendall(sock, pdu)
                case Refused(pdu, status, reason):
                    log.info("%s: login refused (%04x): %s", peer, status, reason)
                    await _say_goodbye(sock, pdu)
                    return
                case Accepted(result):
                    status = await self._admit(sock, login, result)
                    if status is not LoginStatus.SUCCESS:
                        log.info("%s: login refused (%04x)", peer, status)
                        await _say_goodbye(sock, login.refuse(status))
                    return

    async def _admit(self, sock: socket.socket, login: Login, result: LoginResult) -> LoginStatus:
        """Find the login's place among the sessions, and begin its full feature phase."""
        while True:
            found = self.sessions.place(result)
            if isinstance(found, LoginStatus):
                return found
            place, session = found
            if session is None:
                break
            if place is Place.REINSTATE_SESSION:
                await session.kill()
            elif place is Place.REINSTATE_CONNECTION:
                await self._replace(session, result.cid)
            else:
                break
        # From here on nothing is awaited: the place cannot be lost again.
        try:
            if session is None:
                session = self._open_session(result)
                if session is None:
                    return LoginStatus.OUT_OF_RESOURCES
                values, exp_cmd_sn = result.values, result.cmd_sn
            else:
                values = session.joined_values(result)
                exp_cmd_sn = session.plane_session.expected_cmd_sn
            self._begin(
                sock, login.accept(session.tsih, exp_cmd_sn), login, result, values, session
            )
        finally:
            if session is not None:
                session.end_if_empty()
        return LoginStatus.SUCCESS

    async def _replace(self, session: Session, cid: int) -> None:
        """End a connection that is reinstated, and keep its session."""
        old = session.connections[cid]
        old.replaced = True
        old.disconnect(graceful=False)
        try:
            await old.closed.wait()
        except asyncio.CancelledError:
            # The login gave up: then this is the loss of a connection.
            old.replaced = False
            if old.closed.is_set():
                session.drop(graceful=False)
            raise

    def _open_session(self, result: LoginResult) -> Session | None:
        tsih = self.sessions.free_tsih()
        if tsih is None:
            return None
        service = self._service
        nexus = nexus_of(result)
        plane_nexus = None
        try:
            plane_nexus = service.open_nexus(nexus)
            plane_session = PlaneSession(
                service.plane, plane_nexus, result.cmd_sn, self.settings.window
            )
        except OSError as error:
            log.error("no session for %s: %s", result.initiator, error)
            if plane_nexus is not None:
                self._background.spawn(service.close_nexus(nexus, plane_nexus, lost=False))
            return None
        session = Session(
            tsih,
            result,
            nexus,
            plane_nexus,
            plane_session,
            service,
            self.sessions,
            self._background,
        )
        self.sessions.add(session)
        return session

    def _begin(
        self,
        sock: socket.socket,
        response: bytes,
        login: Login,
        result: LoginResult,
        values: Mapping[str, Value],
        session: Session,
    ) -> None:
        """Send the last response and hand the socket over."""
        connected = PortalAddress.of_socket(sock.getsockname())
        parameters = connection_parameters(values, result.maximum_recv, self.settings)
        # At most one PDU: the peer has read everything before, so there is room.
        if sock.send(response) != len(response):
            raise ConnectionError("no room for the last Login Response")
        connection = Connection(session, result.cid, parameters.maximum_send)
        addresses = reachable(self._told, connected)
        served = FullFeature(connection, self._surroundings, addresses)
        cookie = self._service.cookie(served.handle)
        try:
            connection.plane = PlaneConnection(
                session.plane_session,
                sock.fileno(),
                parameters,
                login.stat_sn,
                b"",
                cookie,
            )
        except OSError:
            self._service.release(cookie)
            raise
        sock.detach()
        connection.cookie = cookie
        session.connections[result.cid] = connection
        self._served[connection] = served
        self._background.spawn(self._forget(connection))
        log.info("%s: logged in, session %d", session.initiator, session.tsih)

    async def _forget(self, connection: Connection) -> None:
        await connection.closed.wait()
        del self._served[connection]

    # The end

    async def drain(self, seconds: float) -> None:
        """Take no more logins, ask for logouts, and end what is left after `seconds`."""
        await self._acceptors.cancel()
        self._close_listeners()
        for served in list(self._served.values()):
            served.request_logout(round(seconds))
        sessions = list(self.sessions)
        if sessions:
            ended = [asyncio.ensure_future(one.ended.wait()) for one in sessions]
            await asyncio.wait(ended, timeout=seconds)
        await self.close()

    async def close(self) -> None:
        """End everything at once; returns when all sessions have ended."""
        await self._acceptors.cancel()
        self._close_listeners()
        await asyncio.gather(*(session.kill() for session in self.sessions))
        await self._background.wait()


def _listener(address: PortalAddress, *, ipv6_only: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if address.ipv6 else socket.AF_INET)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.ipv6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, ipv6_only)
        listener.bind(address.socket_name)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _ipv6_only(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


async def receive_exactly(sock: socket.socket, length: int) -> bytes:
    """Receive exactly `length` bytes; EOFError if the peer closes before."""
    received = bytearray()
    while len(received) < length:
        part = await _receive_some(sock, length - len(received))
        if not part:
            raise EOFError("closed by the peer")
        received += part
    return bytes(received)


async def _receive_some(sock: socket.socket, maximum: int) -> bytes:
    # sock_recv does not suspend while there is data: a peer that never stops
    # sending would have the loop to itself.
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(sock, maximum)


async def _say_goodbye(sock: socket.socket, pdu: bytes) -> None:
    """Send a last PDU and let the peer read it.

    To close over unread bytes resets the connection, and the PDU may be lost.
    """
    await asyncio.get_running_loop().sock_sendall(sock, pdu)
    sock.shutdown(socket.SHUT_WR)
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while await _receive_some(sock, 65536):
                pass
    except TimeoutError:
        return
