"""The control API for programs in Python: ask a running daemon.

from scsi2nvme.api import methods
from scsi2nvme.client import Client

with Client("/var/lib/scsi2nvme/control.sock") as daemon:
    for session in daemon.call(methods.SESSIONS):
        print(session.initiator, session.target)
    for event in daemon.subscribe(SUBSCRIBE):  # of scsi2nvme.api.events: until one hangs up
        print(event)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scsi2nvme.api import rpc
from scsi2nvme.api.method import Method, N, P, R, Subscription
from scsi2nvme.api.rpc import RpcError as RpcError  # what a daemon refuses with

TIMEOUT_S = 60.0
SOCKET_PATH_BYTES = 108  # of sockaddr_un, with a NUL


class NoDaemon(Exception):
    """Nobody listens on the socket."""


class NoAnswer(Exception):
    """Who listens is not a daemon, or has hung up; the message says which."""


class Client:
    """A connection to a daemon's control socket.

    NoDaemon if nobody listens, NoAnswer for other failures of the socket. Of one thread.
    """

    def __init__(self, path: Path | str, timeout_s: float | None = TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stream = self._socket.makefile("rb")
        self._requests = 0
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(short(Path(path)))
        except (FileNotFoundError, ConnectionRefusedError):
            self.close()
            raise NoDaemon(f"{path}") from None
        except PermissionError as error:
            self.close()
            raise NoAnswer(
                f"{error.strerror}; that is for root and the daemon's user, or, to look, for "
                "members of its control_group"
            ) from None
        except OSError as error:
            self.close()
            raise NoAnswer(error.strerror or str(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()

    def call(self, method: Method[P, R], params: P | None = None) -> R:
        """Return what the daemon answers.

        RpcError if it refuses: its code is one of `scsi2nvme.api.rpc`, its message one line.
        NoAnswer if it does not answer as a daemon does. `params` None: all that has a default.
        """
        self._requests += 1
        request = {
            "jsonrpc": "2.0",
            "id": self._requests,
            "method": method.name,
            "params": {} if params is None else rpc.plain(params),
        }
        try:
            # Who is refused as he comes, or asks too much, is told so before all of it is read.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(rpc.line_of(request))
            line = self._stream.readline()
        except ConnectionResetError:
            line = b""
        except OSError as error:
            raise NoAnswer(str(error)) from None
        if not line:
            raise NoAnswer("the daemon hung up; see its messages")
        try:
            result: R = rpc.result_of(line, self._requests, method.result)
        except ValueError as error:
            raise NoAnswer(f"no answer of a daemon: {error}") from None
        return result

    def subscribe(
        self, method: Subscription[P, R, N], params: P | None = None
    ) -> Generator[N, None, None]:
        """Yield what the daemon tells, as it comes; the connection is for nothing else then.

        Errors are those of `call`, and NoAnswer where the daemon ends.
        """
        self.call(method, params)
        self._socket.settimeout(None)
        while True:
            try:
                line = self._stream.readline()
            except OSError as error:
                raise NoAnswer(str(error)) from None
            if not line:
                raise NoAnswer("the daemon has ended")
            try:
                told: N = rpc.told_by(line, method.tells)
            except ValueError as error:
                raise NoAnswer(f"no word of a daemon: {error}") from None
            yield told


def short(path: Path) -> str:
    """Return a spelling of a socket's path that fits sockaddr_un, if there is one."""
    whole = str(path)
    if len(os.fsencode(whole)) < SOCKET_PATH_BYTES:
        return whole
    return min(whole, os.path.relpath(path), key=len)
