"""Text requests of the full feature phase, without I/O. Spec: RFC 7143 11.10, 11.11."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.records import dataclass
from scsi2nvme.target.iscsi.negotiation import (
    MAXIMUM_SEQUENCE_BYTES,
    NegotiationError,
    Pairs,
    format_pairs,
    parse_pairs,
)
from scsi2nvme.target.iscsi.pdu import (
    DEFAULT_DATA_SEGMENT_LENGTH,
    RESERVED_TAG,
    TEXT_REQUEST,
    TEXT_RESPONSE,
    Opcode,
)


@dataclass(frozen=True, slots=True)
class TextResponse:
    """A response; sequence numbers and length are filled in by whoever sends it."""

    bhs: bytes
    data: bytes


class TextExchange:
    """A connection's text exchange, of which there is one at a time.

    `answer` turns one sequence of the initiator's keys into the answers.
    """

    def __init__(self, answer: Callable[[Pairs], Pairs]) -> None:
        self._answer = answer
        self._tag: int | None = None  # our TTT while the exchange goes on
        self._next_tag = 0
        self._gathered = b""
        self._output = b""

    def feed(self, bhs: bytes, data: bytes, maximum: int) -> TextResponse:
        """Answer one Text Request with at most `maximum` bytes of data.

        Raises NegotiationError, which ends the exchange.
        """
        try:
            return self._feed(bhs, data, min(maximum, DEFAULT_DATA_SEGMENT_LENGTH))
        except NegotiationError:
            self._reset()
            raise

    def _reset(self) -> None:
        self._tag = None
        self._gathered = b""
        self._output = b""

    def _feed(self, bhs: bytes, data: bytes, maximum: int) -> TextResponse:
        request = TEXT_REQUEST.parse(bhs)
        if request.final and request.continued:
            raise NegotiationError("both F and C are set")
        if request.ttt == RESERVED_TAG:
            self._reset()
        elif request.ttt != self._tag:
            raise NegotiationError("unknown Target Transfer Tag")
        if self._output:
            if data or request.continued:
                raise NegotiationError("keys before our own are all sent")
        else:
            self._gathered += data
            if len(self._gathered) > MAXIMUM_SEQUENCE_BYTES:
                raise NegotiationError(f"more than {MAXIMUM_SEQUENCE_BYTES} bytes of keys")
            if not request.continued:
                pairs = parse_pairs(self._gathered)
                self._gathered = b""
                self._output = format_pairs(self._answer(pairs))
        chunk, self._output = self._output[:maximum], self._output[maximum:]
        final = bool(request.final) and not self._output
        if final:
            self._reset()
        elif self._tag is None:
            self._tag = self._next_tag
            self._next_tag = (self._next_tag + 1) % RESERVED_TAG
        response = TEXT_RESPONSE.build(
            opcode=Opcode.TEXT_RESPONSE,
            final=final,
            continued=bool(self._output),
            lun=request.lun,
            itt=request.itt,
            ttt=RESERVED_TAG if self._tag is None else self._tag,
        )
        return TextResponse(response, chunk)
