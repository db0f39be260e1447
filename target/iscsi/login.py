"""The login phase as a state machine without I/O. Spec: RFC 7143 6.3, 11.12, 11.13.

`Login.feed` takes one request at a time and returns what to do. Its last word
is `Accepted`: the caller then finds the login's place among the sessions and
sends what `accept` or `refuse` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.chap import AuthenticationError, Chap, ChapAuthentication
from scsi2nvme.target.iscsi.keys import Value
from scsi2nvme.target.iscsi.negotiation import (
    MAXIMUM_SEQUENCE_BYTES,
    OPERATIONAL,
    REJECT,
    SECURITY,
    Negotiation,
    NegotiationError,
    Pairs,
    format_pairs,
    parse_pairs,
)
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.pdu import (
    DEFAULT_DATA_SEGMENT_LENGTH,
    LOGIN_REQUEST,
    LOGIN_RESPONSE,
    LoginStatus,
    Opcode,
    Stage,
    padding,
)

MAXIMUM_REQUESTS = 256  # of one login; more is not a login but a nuisance
# What a login's first keys say, and no later ones: it decides on access and authentication.
_IDENTITY = ("SessionType", "InitiatorName", "TargetName")

_NEXT_STAGES: Mapping[int, tuple[Stage, ...]] = {
    Stage.SECURITY_NEGOTIATION: (Stage.OPERATIONAL_NEGOTIATION, Stage.FULL_FEATURE_PHASE),
    Stage.OPERATIONAL_NEGOTIATION: (Stage.FULL_FEATURE_PHASE,),
}


Claim = tuple[str, str]
"""An initiator's name and that of a target, empty in a discovery session: they have one secret."""


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """What every login of a portal is held to.

    `ours` overrides this target's values in the key table, by name. Unless the list of targets
    is `complete`, one that is not there may come: the initiator is to try again.
    """

    ours: Mapping[str, Value] = field(default_factory=dict)
    discovery_chap: ChapAuthentication | None = None
    complete: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class LoginResult:
    """What a login asks for and has agreed on. `node` is None in a discovery session."""

    initiator: str
    isid: bytes
    tsih: int
    cid: int
    node: TargetNode | None
    values: Mapping[str, Value]
    maximum_recv: int
    cmd_sn: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this PDU; the login goes on."""

    pdu: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Send this PDU, then close the connection."""

    pdu: bytes
    status: LoginStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """Nothing is wrong on this connection: `accept` or `refuse` it."""

    result: LoginResult


@dataclass(frozen=True, slots=True)
class NotALogin:
    """The first PDU was something else: close without a word."""


Step = Reply | Refused | Accepted | NotALogin


class Login:
    """One connection's login. `targets` are the nodes by iSCSI name."""

    def __init__(
        self,
        targets: Mapping[str, TargetNode],
        settings: LoginSettings,
        window: int,
        chap: Callable[[ChapAuthentication], Chap] = Chap,
    ) -> None:
        self._targets = targets
        self._settings = settings
        self._window = window
        self._new_chap = chap
        self._first: Values | None = None
        self._request = LOGIN_REQUEST.parse(bytes(LOGIN_REQUEST.size))
        self._stage = Stage.SECURITY_NEGOTIATION
        self._requests = 0
        self._stat_sn = 0
        self._gathered = b""  # of a sequence that the initiator continues
        self._output = b""  # what is left of an answer longer than one PDU
        self._negotiation = Negotiation(settings.ours)
        self._named = False
        self._initiator = ""
        self._node: TargetNode | None = None
        self._authentication: ChapAuthentication | None = None
        self._chap: Chap | None = None
        self._authenticated = False
        self._declared = False  # our MaxRecvDataSegmentLength
        self._described = False  # the target

    @property
    def purpose(self) -> str:
        """Who asks for which target, as far as that is known: unproved, but printable."""
        initiator = self._initiator or "an unnamed initiator"
        return initiator if self._node is None else f"{initiator} to {self._node.iqn}"

    @property
    def awaits_proof(self) -> bool:
        """Whether the initiator's next keys are to prove who it is."""
        return self._chap is not None and self._chap.awaits_response

    @property
    def proved(self) -> bool:
        """Whether the initiator has proved who it is, rather than that nobody asked."""
        return self._chap is not None and self._chap.done

    @property
    def claim(self) -> Claim:
        """What the initiator proves: that this is its name, to this target."""
        return self._initiator, self._node.iqn if self._node is not None else ""

    @property
    def stat_sn(self) -> int:
        """StatSN of the next response."""
        return self._stat_sn

    def feed(self, bhs: bytes, data: bytes) -> Step:
        """Take one PDU, its data without padding.

        `data` may be left out where the header says that it has an AHS or more than
        8192 bytes of data: that is refused anyway.
        """
        request = LOGIN_REQUEST.parse(bhs)
        if request.opcode != Opcode.LOGIN_REQUEST:
            if self._first is None:
                return NotALogin()
            status = LoginStatus.INVALID_DURING_LOGIN
            return Refused(self.refuse(status), status, "not a Login Request")
        try:
            self._take(request)
            return self._proceed(request, data)
        except NegotiationError as error:
            return Refused(self.refuse(error.status), error.status, str(error))

    def accept(self, tsih: int, exp_cmd_sn: int) -> bytes:
        """Return the response that ends the login; the session is `tsih`."""
        transit, nsg = True, Stage.FULL_FEATURE_PHASE
        return self._response(self._output, transit=transit, nsg=nsg, tsih=tsih, cmd_sn=exp_cmd_sn)

    def refuse(self, status: LoginStatus) -> bytes:
        """Return the response that refuses the login."""
        return self._response(b"", status=status)

    def _take(self, request: Values) -> None:
        """Check a request's header, and that it belongs to this login."""
        first = self._first
        self._request = request
        if first is None:
            self._first = first = request
            self._stat_sn = request.exp_stat_sn
            self._negotiation = Negotiation(self._settings.ours, joining=request.tsih != 0)
            if request.csg in _NEXT_STAGES:
                self._stage = Stage(request.csg)
        self._requests += 1
        if self._requests > MAXIMUM_REQUESTS:
            raise NegotiationError("too many requests")
        if request.version_min > 0:
            raise NegotiationError("unknown version", LoginStatus.UNSUPPORTED_VERSION)
        if not request.immediate or request.total_ahs_length:
            raise NegotiationError("a Login Request is immediate and has no AHS")
        if request.data_segment_length > DEFAULT_DATA_SEGMENT_LENGTH:
            raise NegotiationError("the data segment is too long")
        if request.csg != self._stage:
            raise NegotiationError(f"CSG {request.csg} in stage {self._stage.value}")
        if request.transit and request.continued:
            raise NegotiationError("both T and C are set")
        if request.transit and request.nsg not in _NEXT_STAGES[self._stage]:
            raise NegotiationError(f"NSG {request.nsg} after stage {self._stage.value}")
        if any(request[name] != first[name] for name in ("isid", "tsih", "cid")):
            raise NegotiationError("ISID, TSIH or CID changed during the login")

    def _proceed(self, request: Values, data: bytes) -> Step:
        if self._output:
            if data or request.continued:
                raise NegotiationError("keys before our own are all sent")
            return self._flush()
        self._gathered += data
        if len(self._gathered) > MAXIMUM_SEQUENCE_BYTES:
            raise NegotiationError(f"more than {MAXIMUM_SEQUENCE_BYTES} bytes of keys")
        if request.continued:
            return Reply(self._response(b""))
        pairs = parse_pairs(self._gathered)
        self._gathered = b""
        self._output = format_pairs(self._answer(pairs))
        return self._flush()

    def _flush(self) -> Step:
        """Send the next part of the answer, and change stage with the last."""
        chunk = self._output[:DEFAULT_DATA_SEGMENT_LENGTH]
        rest = self._output[DEFAULT_DATA_SEGMENT_LENGTH:]
        if rest:
            self._output = rest
            return Reply(self._response(chunk, continued=True))
        if not self._request.transit or not self._authenticated:
            self._output = b""
            return Reply(self._response(chunk))
        if self._request.nsg == Stage.FULL_FEATURE_PHASE:
            self._output = chunk
            return Accepted(self._result())
        self._output = b""
        pdu = self._response(chunk, transit=True, nsg=Stage(self._request.nsg))
        self._stage = Stage(self._request.nsg)
        return Reply(pdu)

    def _answer(self, pairs: Pairs) -> Pairs:
        """Answer one whole sequence of keys."""
        keys = dict(pairs)
        declarations = self._confirm(keys) if self._named else self._identify(keys)
        security = self._stage is Stage.SECURITY_NEGOTIATION
        replies = self._negotiation.answer(pairs, SECURITY if security else OPERATIONAL)
        if security:
            replies += self._authenticate(keys, dict(replies))
        declarations += self._describe()
        if not security and not self._declared:
            self._declared = True
            name = "MaxRecvDataSegmentLength"
            declarations.append((name, str(self._negotiation.ours[name])))
        return declarations + replies

    def _describe(self) -> Pairs:
        """Tell of the target what only those may know who have proved themselves."""
        if not self._authenticated or self._described:
            return []
        self._described = True
        alias = self._node.alias if self._node is not None else ""
        return [("TargetAlias", alias)] if alias else []

    def _confirm(self, keys: Mapping[str, str]) -> Pairs:
        """See that later keys leave the login what its first have made it."""
        values = self._negotiation.values
        for name in _IDENTITY:
            if keys.get(name, values[name]) != values[name]:
                raise NegotiationError(f"{name} is not among the login's first keys")
        return []

    def _identify(self, keys: Mapping[str, str]) -> Pairs:
        """Find out who asks for what, from the login's first keys. Spec: RFC 7143 6.3."""
        self._named = True
        # iSCSI names that differ in case only are equal (RFC 7143 4.2.7.2).
        initiator = keys.get("InitiatorName", "").lower()
        if not initiator.isprintable() or " " in initiator:
            raise NegotiationError("InitiatorName is no iSCSI name")
        if not initiator:
            raise NegotiationError("no InitiatorName", LoginStatus.MISSING_PARAMETER)
        self._initiator = initiator
        # globalSAN may leave SessionType out, in accordance with its default.
        match keys.get("SessionType", "Normal"):
            case "Discovery":
                self._authentication = self._settings.discovery_chap
                declarations = []
            case "Normal":
                self._node = self._find(keys.get("TargetName", "").lower(), initiator)
                self._authentication = self._node.authentication(initiator)
                declarations = [("TargetPortalGroupTag", str(self._node.portal_group_tag))]
            case other:
                status = LoginStatus.SESSION_TYPE_NOT_SUPPORTED
                raise NegotiationError(f"SessionType {other!r}", status)
        method = "None" if self._authentication is None else "CHAP"
        self._negotiation.ours["AuthMethod"] = method
        if self._stage is Stage.OPERATIONAL_NEGOTIATION:
            if self._authentication is not None:
                raise AuthenticationError("the security stage is left out")
            self._authenticated = True
        return declarations

    def _find(self, name: str, initiator: str) -> TargetNode:
        if not name:
            raise NegotiationError("no TargetName", LoginStatus.MISSING_PARAMETER)
        node = self._targets.get(name)
        if node is None and not self._settings.complete():
            reason = f"no target {name!r} yet"
            raise NegotiationError(reason, LoginStatus.SERVICE_UNAVAILABLE)
        if node is None:
            raise NegotiationError(f"no target {name!r}", LoginStatus.NOT_FOUND)
        if not node.admits(initiator):
            reason = f"it may not use {node.iqn}"
            raise NegotiationError(reason, LoginStatus.AUTHORIZATION_FAILURE)
        return node

    def _authenticate(self, keys: Mapping[str, str], replies: Mapping[str, str]) -> Pairs:
        """Take the security stage's keys; AuthMethod is answered in `replies` already."""
        if replies.get("AuthMethod") == REJECT:
            raise AuthenticationError("no common authentication method")
        chosen = replies.get("AuthMethod") == "CHAP"
        if chosen and self._authentication is not None:
            self._chap = self._new_chap(self._authentication)
        if self._chap is not None:
            answer = self._chap.step(keys) if not chosen or "CHAP_A" in keys else []
            self._authenticated = self._chap.done
            return answer
        self._authenticated = self._authentication is None
        if self._request.transit and not self._authenticated:
            raise AuthenticationError("the initiator does not authenticate itself")
        return []

    def _result(self) -> LoginResult:
        assert self._first is not None
        values = self._negotiation.values
        declared = int(self._negotiation.ours["MaxRecvDataSegmentLength"])
        return LoginResult(
            initiator=self._initiator,
            isid=self._first.bytes("isid"),
            tsih=self._first.tsih,
            cid=self._first.cid,
            node=self._node,
            values=values,
            maximum_recv=declared if self._declared else DEFAULT_DATA_SEGMENT_LENGTH,
            cmd_sn=self._request.cmd_sn,
        )

    def _response(
        self,
        data: bytes,
        *,
        transit: bool = False,
        continued: bool = False,
        nsg: Stage = Stage.SECURITY_NEGOTIATION,
        tsih: int | None = None,
        cmd_sn: int | None = None,
        status: LoginStatus = LoginStatus.SUCCESS,
    ) -> bytes:
        request = self._request
        exp_cmd_sn = request.cmd_sn if cmd_sn is None else cmd_sn
        # The window of a session that is joined is not this connection's to open:
        # told as closed, it leaves the initiator with what it knows already.
        window = 0 if request.tsih else self._window
        bhs = LOGIN_RESPONSE.build(
            opcode=Opcode.LOGIN_RESPONSE,
            transit=transit,
            continued=continued,
            csg=request.csg,
            nsg=nsg,
            data_segment_length=len(data),
            isid=request.isid,
            tsih=request.tsih if tsih is None else tsih,
            itt=request.itt,
            stat_sn=self._stat_sn,
            exp_cmd_sn=exp_cmd_sn,
            max_cmd_sn=(exp_cmd_sn + window - 1) & 0xFFFFFFFF,
            status=status,
        )
        self._stat_sn = (self._stat_sn + 1) & 0xFFFFFFFF
        return bhs + data + bytes(padding(len(data)))
