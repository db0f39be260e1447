"""iSCSI's sessions and connections: the binding of target/iscsi/csrc/iscsi_session.h."""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle
from scsi2nvme.native.plane import Plane, PlaneNexus
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionParameters:
    """The result of a login, as the full-feature phase needs it. See s2n_conn_params."""

    header_digest: bool = False
    data_digest: bool = False
    maximum_recv: int = 262144
    maximum_send: int = 8192
    maximum_burst: int = 262144
    first_burst: int = 65536
    initial_r2t: bool = True
    immediate_data: bool = True
    maximum_r2t: int = 1
    discovery: bool = False
    ping_ms: int = 30000
    ping_timeout_ms: int = 30000


class PlaneSession(Handle):
    """An iSCSI session in the data plane: one reactor, one or more connections.

    It is closed after its last connection.
    """

    def __init__(self, plane: Plane, nexus: PlaneNexus, cmd_sn: int, window: int) -> None:
        native = lib.s2n_session_new(plane.native, nexus.native, cmd_sn, window)
        super().__init__(lib.s2n_session_free, native, "session")

    @property
    def expected_cmd_sn(self) -> int:
        """ExpCmdSN."""
        return int(lib.s2n_session_expected_cmd_sn(self.native))


class PlaneConnection(Handle):
    """A connection in full-feature phase. CONN_CLOSED tells its end; then `close` it."""

    def __init__(
        self,
        session: PlaneSession,
        fd: int,
        parameters: ConnectionParameters,
        stat_sn: int,
        received: bytes,
        cookie: int,
    ) -> None:
        native = ffi.new(
            "s2n_conn_params *",
            {name: int(getattr(parameters, name)) for name in parameters.__slots__},
        )
        super().__init__(
            lib.s2n_conn_free,
            lib.s2n_conn_new(session.native, fd, native, stat_sn, received, len(received), cookie),
            "connection",
        )

    def send(self, bhs: bytes, data: bytes = b"", *, consumes: bool = True) -> None:
        """Send a PDU; sequence numbers, length and digests are filled in."""
        assert len(bhs) == 48
        lib.s2n_conn_send(self.native, bhs, data, len(data), consumes)

    def set_maximum_send(self, length: int) -> None:
        """The initiator declared another MaxRecvDataSegmentLength."""
        lib.s2n_conn_set_maximum_send(self.native, length)

    def disconnect(self, *, graceful: bool) -> None:
        """End the connection, after what is queued or at once."""
        lib.s2n_conn_close(self.native, graceful)

    @property
    def left(self) -> bool:
        """Whether it was among those that had ended, or were left, when `close_if_left` asked."""
        return bool(lib.s2n_conn_left(self.native))


def close_if_left(connections: Sequence[PlaneConnection], token: int) -> None:
    """End those of one or more connections at once whose peers have left.

    DRAINED with `token` follows, whose count is how many of them end, or have ended.
    """
    natives = ffi.new("s2n_conn *[]", [one.native for one in connections])
    lib.s2n_conns_close_if_left(natives, len(connections), token)
