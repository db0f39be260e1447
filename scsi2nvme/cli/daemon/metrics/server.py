"""The metrics' HTTP server: whoever is slow there keeps nobody waiting.

The event loop takes connections, and gives each to a thread. There are a few of these at most, and
each ends in time. One at a time makes an answer: the event loop shares the interpreter's lock with
no more of them, however many ask.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO, StringIO
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.target.portal_address import PortalAddress

MOST = 8  # connections at a time; others are closed at once
IDLE_S, WHOLE_S = 5.0, 30.0  # that one may take for each step, and in all
MOST_HEAD = 16384  # bytes of a request line and headers
PAUSE_S = 0.25  # until there may be a descriptor again
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S  # of each call of the socket's

    def handle(self) -> None:
        """Read the head, of which the library would take megabytes, and answer."""
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > MOST_HEAD or not (more := self.connection.recv(4096)):
                return
            head += more
        self.rfile.close()
        self.rfile = BytesIO(head)
        super().handle()

    def get_stderr(self) -> StringIO:
        """Return where the library's words go of those who did not take their answer."""
        return StringIO()

    def log_message(self, format: str, *args: Any) -> None:
        """Tell nobody: who asks is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: PortalAddress, application: Application) -> None:
        self.address_family = socket.AF_INET6 if address.ipv6 else socket.AF_INET
        self._free = threading.BoundedSemaphore(MOST)
        super().__init__(address.socket_name[:2], _Handler)
        self.set_app(_one_at_a_time(application))
        self.socket.setblocking(False)

    def server_bind(self) -> None:
        """Bind, and ask no name server for our name."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def take(self) -> bool:
        """Give a connection to a thread, if there is one that is free.

        False if the system has no descriptor for it, so that it waits on.
        """
        try:
            request, client = self.get_request()
        except OSError as error:  # or it has gone meanwhile
            return error.errno not in _EXHAUSTED
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return True
        try:
            self.process_request(request, client)
        except RuntimeError:  # the system has no thread for it
            self._free.release()
            self.shutdown_request(request)
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, for a bounded time."""
        end = threading.Timer(WHOLE_S, _cut, (request,))
        end.daemon = True
        try:
            end.start()
            super().process_request_thread(request, client_address)
        except RuntimeError:  # the system has no thread for the end
            self.shutdown_request(request)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it: whoever asked has gone, or was too slow."""


def _one_at_a_time(application: Application) -> Application:
    turn = threading.Lock()

    def serve(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        with turn:
            return application(environ, start)

    return serve


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        request.shutdown(socket.SHUT_RDWR)


class MetricsServer:
    """Serves an application at an address, until it is stopped. Of the asyncio loop's thread."""

    def __init__(self, address: PortalAddress, application: Application) -> None:
        try:
            self._server = _Server(address, application)
        except OSError as error:
            raise OperationError(f"metrics {address}: {error.strerror}") from None
        self.address = PortalAddress.of_socket(self._server.server_address)  # type: ignore[arg-type]
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._server.fileno(), self._take)

    def _take(self) -> None:
        if not self._server.take():
            # Whoever waits there would have the loop come here without end.
            self._loop.remove_reader(self._server.fileno())
            self._again = self._loop.call_later(PAUSE_S, self._listen)

    def stop(self) -> None:
        """Take no more connections; those that there are end by themselves."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._server.fileno())
        self._server.server_close()
