"""What the data plane leaves to Python in the full feature phase.

Text, logout and task management requests; every one is answered exactly once.
Spec: RFC 7143 11.5, 11.10, 11.14.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial

from scsi2nvme.background import Background
from scsi2nvme.fields import Values
from scsi2nvme.native.plane import Event, EventType
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.task_management import TaskManagement, TaskManagementResponse
from scsi2nvme.target.iscsi import task_management
from scsi2nvme.target.iscsi.negotiation import FULL_FEATURE, Negotiation, NegotiationError, Pairs
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.pdu import (
    ASYNC_MESSAGE,
    HEADER,
    LOGOUT_REQUEST,
    LOGOUT_RESPONSE,
    REJECT,
    RESERVED_TAG,
    TASK_MANAGEMENT_REQUEST,
    TASK_MANAGEMENT_RESPONSE,
    AsyncEvent,
    LogoutReason,
    LogoutResponse,
    Opcode,
    RejectReason,
)
from scsi2nvme.target.iscsi.requests import Requests
from scsi2nvme.target.iscsi.sendtargets import send_targets
from scsi2nvme.target.iscsi.sessions import Connection, SessionTable, protocol_level
from scsi2nvme.target.iscsi.text import TextExchange
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.task_service import TaskService

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the connections of one portal share."""

    service: TaskService
    sessions: SessionTable
    targets: Mapping[str, TargetNode]
    background: Background
    requests: Requests
    cold_reset: bool = False  # whether initiators may ask for TARGET COLD RESET


class FullFeature:
    """Serves the events of one connection. `addresses` returns what SendTargets reports."""

    def __init__(
        self,
        connection: Connection,
        surroundings: Surroundings,
        addresses: Callable[[], list[PortalAddress]],
    ) -> None:
        self._connection = connection
        self._session = connection.session
        self._surroundings = surroundings
        self._addresses = addresses
        self._requests = surroundings.requests
        self._text = TextExchange(self._answer)

    def handle(self, event: Event) -> None:
        """Take one event of this connection's cookie."""
        if event.type is EventType.CONN_CLOSED:
            self._requests.finish(self._connection)
            self._tell_end(event.count)
            self._session.connection_closed(self._connection)
            return
        match HEADER.parse(event.bhs).opcode:
            case Opcode.TEXT_REQUEST:
                self._in_turn(partial(self._text_request, event.bhs, event.data))
            case Opcode.LOGOUT_REQUEST:
                self._requests.finish(self._connection)
                self._logout(event.bhs)
            case Opcode.TASK_MANAGEMENT_REQUEST if not self._session.discovery:
                self._begin_task_management(event)
            case _:
                self._reject(event.bhs, RejectReason.PROTOCOL_ERROR)

    def _in_turn(self, take: Callable[[], None]) -> None:
        self._requests.add(self._connection, take)

    def _tell_end(self, error: int) -> None:
        """Log why a connection has ended, by errno; 0 is nobody's fault."""
        if error:
            usual = error in (errno.ECONNRESET, errno.EPIPE)
            level = logging.INFO if usual else logging.WARNING
            log.log(level, "%s: connection lost: %s", self._session.nexus.who, os.strerror(error))

    def _reject(self, bhs: bytes, reason: RejectReason) -> None:
        reject = REJECT.build(opcode=Opcode.REJECT, final=1, reason=reason, itt=RESERVED_TAG)
        self._connection.send(reject, bhs)

    # Text

    def _text_request(self, bhs: bytes, data: bytes) -> None:
        try:
            response = self._text.feed(bhs, data, self._connection.maximum_send)
        except NegotiationError as error:
            log.info("%s: text request refused: %s", self._session.nexus.who, error)
            self._reject(bhs, RejectReason.PROTOCOL_ERROR)
            return
        self._connection.send(response.bhs, response.data)

    def _answer(self, pairs: Pairs) -> Pairs:
        negotiation = Negotiation({})
        replies = negotiation.answer(pairs, FULL_FEATURE)
        keys = dict(pairs)
        if "SendTargets" in keys:
            replies += send_targets(
                keys["SendTargets"],
                self._surroundings.targets.values(),
                self._session.initiator,
                self._addresses(),
                self._session.node,
            )
        name = "MaxRecvDataSegmentLength"
        if name in keys and name not in dict(replies):
            connection = self._connection
            connection.maximum_send = int(negotiation.values[name])
            if connection.plane is not None:
                connection.plane.set_maximum_send(connection.maximum_send)
        return replies

    # Logout

    def _logout(self, bhs: bytes) -> None:
        request = LOGOUT_REQUEST.parse(bhs)
        session, own = self._session, self._connection
        named = session.connections.get(request.cid)
        whole = request.reason == LogoutReason.CLOSE_SESSION
        if session.discovery and not whole:
            self._reject(bhs, RejectReason.PROTOCOL_ERROR)
            return
        if request.reason > LogoutReason.REMOVE_FOR_RECOVERY:
            self._reject(bhs, RejectReason.INVALID_PDU_FIELD)
            return
        response = LogoutResponse.CLOSED
        if request.reason == LogoutReason.REMOVE_FOR_RECOVERY:
            response = LogoutResponse.RECOVERY_NOT_SUPPORTED
        elif not whole and named is None:
            response = LogoutResponse.CID_NOT_FOUND
        if whole:
            # The response tells that the session is over: nothing of it is held then.
            for lu in session.nexus.luns.values():
                lu.release(session.nexus)
        own.send(
            LOGOUT_RESPONSE.build(
                opcode=Opcode.LOGOUT_RESPONSE, final=1, response=response, itt=request.itt
            )
        )
        if response is not LogoutResponse.CLOSED:
            return
        if whole:
            session.log_out()
        elif named is not None:
            named.logged_out = True
            named.disconnect(graceful=True)

    def request_logout(self, seconds: int) -> None:
        """Ask the initiator to log out within `seconds`. Spec: RFC 7143 11.9.1."""
        self._connection.send(
            ASYNC_MESSAGE.build(
                opcode=Opcode.ASYNC_MESSAGE,
                final=1,
                itt=RESERVED_TAG,
                event=AsyncEvent.LOGOUT_REQUESTED,
                parameter3=min(seconds, 0xFFFF),
            )
        )

    # Task management

    def _begin_task_management(self, event: Event) -> None:
        request = TASK_MANAGEMENT_REQUEST.parse(event.bhs)

        def begin() -> None:
            self._surroundings.background.spawn(self._task_management(request, event.arrived))

        if not event.count and task_management.ends_tasks(request, self._session.nexus):
            begin()  # it may take two seconds, however many there are
        else:
            self._in_turn(begin)

    async def _task_management(self, request: Values, arrived: int) -> None:
        """Carry out a request; what came after `arrived` came after it."""
        session = self._session
        outcome = task_management.Outcome(task_management.Response.FUNCTION_REJECTED)
        level = protocol_level(session)
        try:
            outcome = await task_management.perform(
                request,
                session.nexus,
                level,
                partial(self._run, arrived),
                cold_reset=self._surroundings.cold_reset,
            )
        finally:
            self._connection.send(
                TASK_MANAGEMENT_RESPONSE.build(
                    opcode=Opcode.TASK_MANAGEMENT_RESPONSE,
                    final=1,
                    itt=request.itt,
                    response=outcome.response,
                    additional_response_information=outcome.additional,
                )
            )
        cold = request.function == task_management.Function.TARGET_COLD_RESET
        if cold and outcome.response is task_management.Response.FUNCTION_COMPLETE:
            self._drop_all()

    async def _run(
        self, arrived: int, function: TaskManagement, lun: int | None, itt: int
    ) -> TaskManagementResponse:
        session, service = self._session, self._surroundings.service
        return await service.task_management(
            function, session.nexus, session.plane_nexus, lun, itt, arrived
        )

    def _drop_all(self) -> None:
        """End the connections to the target, as a cold reset does. Spec: RFC 7143 11.5.1.

        A session that sees logical units beyond those of who asks is none of its business.
        """
        own = set(self._session.nexus.luns.values())
        for session in self._surroundings.sessions:
            if session.node is self._session.node and own.issuperset(session.nexus.luns.values()):
                session.drop(graceful=True)
