"""The iSCSI portal: listens, logs initiators in, and hands their sockets to the data plane."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from functools import partial

from scsi2nvme.background import Background
from scsi2nvme.happenings import tell
from scsi2nvme.native.iscsi import (
    ConnectionParameters,
    PlaneConnection,
    PlaneSession,
    close_if_left,
)
from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.admission import (
    Admission,
    CrowdedError,
    HalfOpen,
    Limits,
    ProofPace,
    first_of_heaviest,
    source_of,
)
from scsi2nvme.target.iscsi.full_feature import FullFeature, Surroundings
from scsi2nvme.target.iscsi.keys import Value
from scsi2nvme.target.iscsi.listeners import Listeners
from scsi2nvme.target.iscsi.login import (
    Accepted,
    Login,
    LoginResult,
    LoginSettings,
    NotALogin,
    Refused,
    Reply,
    Step,
)
from scsi2nvme.target.iscsi.login_socket import has_gone, receive_pdu, say_goodbye
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.pdu import LoginStatus
from scsi2nvme.target.iscsi.requests import Requests
from scsi2nvme.target.iscsi.sendtargets import reachable
from scsi2nvme.target.iscsi.sessions import Connection, Place, Session, SessionTable, nexus_of
from scsi2nvme.target.portal_address import PortalAddress, SocketName
from scsi2nvme.target.task_service import TaskService

log = logging.getLogger(__name__)

_LEAVING_SECONDS = 2.0  # as long as an abort may take


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """How a portal behaves. Times are in seconds.

    A peer has `first_pdu_timeout` to begin its login, and `login_timeout` for all of it; after
    a wrong proof, no other one of its address is looked at for `wrong_proof_pause`, but of who is
    trusted (`admission.Trust`). `window` is how many commands a session may have outstanding;
    `cold_reset` is whether initiators may end each other's sessions.
    """

    login: LoginSettings = field(default_factory=LoginSettings)
    limits: Limits = field(default_factory=Limits)
    first_pdu_timeout: float = 5.0
    login_timeout: float = 30.0
    wrong_proof_pause: float = 1.0
    window: int = 128
    ping: float = 30.0
    ping_timeout: float = 30.0
    cold_reset: bool = False


class Peer:
    """Who has connected: the socket, which is detached once the data plane has it."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self.host = host
        self.source = source_of(host)


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
        self._logins = Background()
        self._surroundings = Surroundings(
            service,
            self.sessions,
            targets,
            self._background,
            Requests(),
            self.settings.cold_reset,
        )
        self._listeners = Listeners(self._connected)
        self._admission = Admission(self.settings.limits)
        self._proofs = ProofPace(self.settings.wrong_proof_pause)
        self._served: dict[Connection, FullFeature] = {}

    @property
    def addresses(self) -> list[PortalAddress]:
        """The addresses on which it listens, with their actual ports."""
        return self._listeners.addresses

    def limit(self, limits: Limits) -> None:
        """Let so many connections come from now on; those that there are may stay."""
        self._admission.limits = limits

    async def listen(self, addresses: Iterable[PortalAddress]) -> None:
        """Listen on every address, too; OSError if one cannot be had, and then on none of them."""
        await self._listeners.listen(addresses)

    def check(self, new: Collection[PortalAddress], going: Collection[PortalAddress]) -> None:
        """See that new addresses could be had, were others listened on no more; OSError if not."""
        self._listeners.check(new, going)

    async def unlisten(self, addresses: Collection[PortalAddress]) -> None:
        """Listen on these addresses no more; who has logged in by one of them stays."""
        await self._listeners.unlisten(addresses)

    def _connected(self, sock: socket.socket, name: SocketName) -> None:
        peer = Peer(sock, PortalAddress.of_socket(name).host)
        if has_gone(sock):
            log.info("%s: connection ended before its login", peer.host)
            sock.close()
            return
        try:
            half_open = self._admission.enter(peer.source)
        except CrowdedError as error:
            log.warning("%s: connection refused: %s", peer.host, error)
            sock.close()
            return
        login = self._logins.spawn(self._serve(peer, half_open))
        half_open.drop = partial(self._make_room, peer, login)
        # Not by the task itself: it may be cancelled before it has begun.
        login.add_done_callback(lambda _: self._left(peer, half_open))

    def _make_room(self, peer: Peer, login: asyncio.Task[None]) -> None:
        log.warning("%s: dropped before its login, to make room for others", peer.host)
        login.cancel()

    def _left(self, peer: Peer, half_open: HalfOpen) -> None:
        self._admission.leave(half_open)
        peer.sock.close()

    # The login phase

    async def _serve(self, peer: Peer, half_open: HalfOpen) -> None:
        """Log one connection in; its socket is the data plane's then."""
        sock, timeout = peer.sock, "sent no login in time"
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self.settings.login_timeout):
                async with asyncio.timeout(self.settings.first_pdu_timeout):
                    first = await receive_pdu(sock)
                timeout = "login took too long"
                await self._log_in(peer, half_open, *first)
        except TimeoutError:
            log.warning("%s: %s", peer.host, timeout)
        except (OSError, EOFError) as error:
            log.info("%s: connection ended during login: %s", peer.host, error)

    async def _log_in(self, peer: Peer, half_open: HalfOpen, bhs: bytes, data: bytes) -> None:
        """Answer a login from its first PDU on."""
        login = Login(self._targets, self.settings.login, self.settings.window)
        while True:
            self._admission.hear(half_open)
            match await self._step(peer, login, bhs, data):
                case NotALogin():
                    log.info("%s: the first PDU is not a Login Request", peer.host)
                    return
                case Reply(pdu):
                    await asyncio.get_running_loop().sock_sendall(peer.sock, pdu)
                case Refused(pdu, status, reason):
                    _tell_refusal(peer, login, status, reason)
                    await say_goodbye(peer.sock, pdu)
                    return
                case Accepted(result):
                    half_open.logged_in = True
                    refusal = await self._admit(peer, login, result)
                    if refusal is not None:
                        _tell_refusal(peer, login, *refusal)
                        await say_goodbye(peer.sock, login.refuse(refusal[0]))
                    return
            bhs, data = await receive_pdu(peer.sock)

    async def _step(self, peer: Peer, login: Login, bhs: bytes, data: bytes) -> Step:
        """Have a login take a PDU, when it is the peer's turn."""
        if not login.awaits_proof:
            return login.feed(bhs, data)
        async with self._proofs.turn(peer.source, login.claim):
            step = login.feed(bhs, data)
            if isinstance(step, Refused) and step.status is LoginStatus.AUTHENTICATION_FAILURE:
                self._proofs.failed(peer.source, login.claim)
            elif login.proved:
                self._proofs.proved(peer.source, login.claim)
        return step

    async def _admit(
        self, peer: Peer, login: Login, result: LoginResult
    ) -> tuple[LoginStatus, str] | None:
        """Find the login's place among the sessions, and begin its full feature phase.

        Returns the status of a refusal, and its reason.
        """
        if result.node is not None and not result.tsih:
            await self._let_leave(result.initiator)
        while True:
            found = self.sessions.place(result)
            if isinstance(found, LoginStatus):
                return found, found.name.replace("_", " ").lower()
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
            if result.node is not None and self._targets.get(result.node.iqn) is not result.node:
                return LoginStatus.REMOVED, "the target was removed meanwhile"
            if result.node is not None and not result.node.admits(result.initiator):
                return LoginStatus.AUTHORIZATION_FAILURE, "it was denied meanwhile"
            if result.node is None:
                self._make_room_for_discovery(peer.source)
            elif crowd := self._admission.crowd(result.initiator, peer.source):
                return LoginStatus.OUT_OF_RESOURCES, crowd
            if session is None:
                session = self._open_session(result, peer)
                if session is None:
                    return LoginStatus.OUT_OF_RESOURCES, "no session can be had"
                values, exp_cmd_sn = result.values, result.cmd_sn
            else:
                values = session.joined_values(result)
                exp_cmd_sn = session.plane_session.expected_cmd_sn
            self._begin(
                peer, login.accept(session.tsih, exp_cmd_sn), login, result, values, session
            )
        finally:
            if session is not None:
                session.end_if_empty()
        return None

    async def _let_leave(self, initiator: str) -> None:
        """Have those sessions ended that the initiator has left by closing a connection.

        Else whoever comes back by another port (ISID) would meet what it held by the first one:
        reservations, PREVENT. A disk that keeps its commands does not keep the login. Not for who
        goes on with a session (TSIH): what is left may be the connection that is reinstated.
        """
        theirs = self.sessions.of_initiator(initiator)
        if not theirs:
            return
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                for session in await self._left_ones(theirs):
                    await session.ended.wait()
        except TimeoutError:
            log.warning("%s: the session that it left has not ended yet", initiator)

    async def _left_ones(self, sessions: Iterable[Session]) -> list[Session]:
        """Have those connections ended that were left; return the sessions that end by that.

        A reactor may not have come to read that yet, or what was sent before waits for the disk;
        the kernel knows it. It is asked once for all, however many there are.
        """
        connections = [
            one.plane
            for session in sessions
            for one in session.connections.values()
            if one.plane is not None
        ]
        if connections and await self._service.drained(partial(close_if_left, connections)):
            return [one for one in sessions if one.has_left]
        return [one for one in sessions if one.closing and not one.connections]

    def _make_room_for_discovery(self, source: str) -> None:
        """End the oldest discovery session, of who has most of them, if there are enough."""
        there = [one for one in self.sessions if one.discovery and not one.closing]
        if len(there) >= self._admission.limits.discovery:
            first_of_heaviest(there, there, source).drop(graceful=False)

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

    def _open_session(self, result: LoginResult, peer: Peer) -> Session | None:
        tsih = self.sessions.free_tsih()
        if tsih is None:
            return None
        service = self._service
        nexus = nexus_of(result, peer.host)
        plane_nexus = None
        try:
            plane_nexus = service.open_nexus(nexus)
            plane_session = PlaneSession(
                service.plane, plane_nexus, result.cmd_sn, self.settings.window
            )
        except OSError as error:
            log.error("%s: no session for %s: %s", peer.host, result.initiator, error)
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
        peer: Peer,
        response: bytes,
        login: Login,
        result: LoginResult,
        values: Mapping[str, Value],
        session: Session,
    ) -> None:
        """Send the last response and hand the socket over."""
        sock = peer.sock
        connected = PortalAddress.of_socket(sock.getsockname())
        parameters = connection_parameters(values, result.maximum_recv, self.settings)
        # At most one PDU: the peer has read everything before, so there is room.
        if sock.send(response) != len(response):
            raise ConnectionError("no room for the last Login Response")
        connection = Connection(session, result.cid, parameters.maximum_send)
        served = FullFeature(
            connection,
            self._surroundings,
            lambda: reachable(self._listeners.by_family, connected),
        )
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
        if not session.discovery:
            self._admission.begin(session.initiator, peer.source)
        self._background.spawn(self._forget(connection, peer.source))
        told = (peer.host, login.purpose, session.tsih)
        about = {"initiator": session.initiator, "address": peer.host}
        if session.node is not None:
            about["target"] = session.node.iqn
        tell(log, logging.INFO, "login", "%s: login of %s: session %d", *told, **about)

    async def _forget(self, connection: Connection, source: str) -> None:
        await connection.closed.wait()
        del self._served[connection]
        if not connection.session.discovery:
            self._admission.end(connection.session.initiator, source)

    # The end

    async def drain(self, seconds: float) -> None:
        """Take no more logins, ask for logouts, and end what is left after `seconds`."""
        await self._listeners.close()
        await self._logins.cancel()
        await self.dismiss(lambda _: True, seconds)
        await self.close()

    async def dismiss(self, which: Callable[[Session], bool], seconds: float) -> None:
        """Ask some sessions to log out, and end what is left of them after `seconds`.

        Spec: RFC 7143 11.9.1 (AsyncEvent 1).
        """
        sessions = [one for one in self.sessions if which(one)]
        for connection, served in list(self._served.items()):
            if connection.session in sessions:
                served.request_logout(round(seconds))
        if sessions:
            ended = [asyncio.ensure_future(one.ended.wait()) for one in sessions]
            await asyncio.wait(ended, timeout=seconds)
            await asyncio.gather(*(one.kill() for one in sessions))

    async def close(self) -> None:
        """End everything at once; returns when all sessions have ended."""
        await self._listeners.close()
        await self._logins.cancel()
        await asyncio.gather(*(session.kill() for session in self.sessions))
        await self._background.wait()


def _tell_refusal(peer: Peer, login: Login, status: LoginStatus, reason: str) -> None:
    told = (peer.host, login.purpose, status, reason)
    words = "%s: login of %s refused (%04x): %s"
    tell(log, logging.WARNING, "refusal", words, *told, address=peer.host)
